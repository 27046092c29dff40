"""What of a stream will never be accepted: told, counted, kept in its place, and bounded."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.batch import MAX_ROWS
from collectord.ingest.session import MAX_UNREAD_REJECTS
from collectord.model import ColumnType, EntryKind
from collectord.schema import schema_id
from tests.ingest.fakes import SCHEMA, World, bad, dropped, in_loop, send, turn, words
from tests.reference_batch import make_schema, schema_message, simple

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


REFUSED = {
    "time_out_of_window": bad(2, rows=3),
    "unknown_schema": send(2, OTHER, rows=3),
    "length_mismatch": pb.ClientMessage(
        batch=pb.Batch.FromString(simple(SCHEMA, 3, 2).SerializeToString() + b"\x32\x00")
    ).SerializeToString(),
    "malformed": pb.ClientMessage(batch=pb.Batch(sequence=2, rows=3)).SerializeToString(),
    "no_rows": pb.ClientMessage(batch=pb.Batch(sequence=2, schema_id=SCHEMA.id)).SerializeToString(),
    "too_many_rows": pb.ClientMessage(
        batch=pb.Batch(sequence=2, schema_id=SCHEMA.id, rows=1 << 31)
    ).SerializeToString(),
}


@pytest.mark.parametrize("reason", REFUSED)
@in_loop
async def test_a_refused_batch_loses_none_of_its_neighbours(reason: str) -> None:
    """It is written down as rejected, the client is told why, the mark passes it, and what follows is taken."""
    world = World(eager=True)
    session = await world.greeted()
    for raw in (send(1), REFUSED[reason], send(3)):
        await session.receive(raw)
    await turn()
    rows = {"no_rows": 0, "too_many_rows": MAX_ROWS}.get(reason, 3)
    assert words(session) == [f"reject 2 {reason} {rows}", "ack 3"]
    assert world.log.stored() == [(BATCH, 1), (REJECT, 2), (BATCH, 3)]
    entry = world.log.entries[1]
    assert (bytes(entry.payload), entry.rows) == (reason.encode(), rows)
    known = reason not in ("unknown_schema", "malformed")
    assert entry.schema == (SCHEMA if known else None), "it counts for the stream that it names"
    assert world.counted("collectord_records_rejected_total", reason=reason) == rows
    assert world.counted("collectord_records_received_total") == 2
    world.at_rest()


@in_loop
async def test_a_rejection_is_told_only_when_it_is_durable() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(bad(1))
    await turn()
    assert words(session) == []
    await world.commit()
    assert words(session) == ["reject 1 time_out_of_window 1", "ack 1"]


@in_loop
async def test_no_ack_comes_before_the_rejection_that_it_passes() -> None:
    """The log moves the mark from its own thread; whatever the loop says before it hears of that, the client would count the rows
    as acknowledged."""
    world = World()
    session = await world.greeted()
    for raw in (send(1), bad(2), send(3), bad(4)):
        await session.receive(raw)
    world.log.commit(3)
    assert words(session) == ["ack 1"]
    await turn()
    assert words(session) == ["reject 2 time_out_of_window 1", "ack 3"]
    world.log.commit()
    assert words(session) == []
    await turn()
    assert words(session) == ["reject 4 time_out_of_window 1", "ack 4"]
    world.at_rest()


@in_loop
async def test_batches_of_a_refused_schema_are_refused_for_its_reason() -> None:
    world = World(eager=True)
    message = schema_message(ColumnType.INT8, ColumnType.INT8, names=["a", "a"])
    raw = message.SerializeToString()
    session = await world.greeted()
    await session.receive(pb.ClientMessage(declare=pb.Declare(schema=raw)).SerializeToString())
    batch = simple(OTHER, 2, 1)
    batch.schema_id = schema_id(raw)
    await session.receive(pb.ClientMessage(batch=batch).SerializeToString())
    await session.receive(send(2))
    await turn()
    assert words(session) == ["reject 1 duplicate_column 2", "ack 2"]


@in_loop
async def test_rows_of_one_more_partition_than_allowed_are_rejected() -> None:
    world = World(eager=True)
    session = await world.greeted()
    world.room.full = True
    await session.receive(send(1))
    world.room.full = False
    await session.receive(send(2))
    await turn()
    assert words(session) == ["reject 1 too_many_streams 1", "ack 2"]


@in_loop
async def test_rows_of_a_blocked_stream_for_which_no_more_may_wait_are_rejected() -> None:
    """They take no place among the open partitions; when its blob takes rows again, they are let in."""
    world = World(eager=True)
    session = await world.greeted()
    world.room.blocked = True
    await session.receive(send(1))
    assert world.room.coming == 0
    world.room.blocked = False
    await session.receive(send(2))
    await turn()
    assert words(session) == ["reject 1 stream_blocked 1", "ack 2"]


@in_loop
async def test_a_client_that_does_not_read_its_rejections_is_not_read_further() -> None:
    """What it has not been told is bounded; when it reads, everything goes on."""
    world = World(eager=True)
    session = await world.greeted()
    for sequence in range(1, MAX_UNREAD_REJECTS + 1):
        await session.receive(bad(sequence))
    await turn()
    more = asyncio.create_task(session.receive(bad(MAX_UNREAD_REJECTS + 1)))
    await turn()
    assert not more.done()
    assert len(words(session)) == MAX_UNREAD_REJECTS + 1
    await more
    await turn()
    assert words(session)[-1] == f"ack {MAX_UNREAD_REJECTS + 1}"
    world.at_rest()


@in_loop
async def test_rejections_that_the_log_has_not_written_count_as_unread() -> None:
    world = World()
    session = await world.greeted()
    for sequence in range(1, MAX_UNREAD_REJECTS + 1):
        await session.receive(bad(sequence))
    more = asyncio.create_task(session.receive(bad(MAX_UNREAD_REJECTS + 1)))
    await turn()
    assert not more.done()
    assert len(world.log.queue) == MAX_UNREAD_REJECTS
    await world.fail()
    assert more.done(), "a failing log must not leave it waiting"


@in_loop
async def test_refused_payloads_are_not_kept() -> None:
    """Neither by the list of what is still to be told, nor by an exception that is raised again and again."""
    world = World(eager=True)
    session = await world.greeted()
    bad_schema = schema_message(ColumnType.INT8, ColumnType.INT8, names=["a", "a"]).SerializeToString()
    await session.receive(pb.ClientMessage(declare=pb.Declare(schema=bad_schema)).SerializeToString())
    named = simple(OTHER, sequence=3)
    named.schema_id = schema_id(bad_schema)
    gc.disable()
    try:
        for raw in (bad(1), send(2, OTHER), pb.ClientMessage(batch=named).SerializeToString()):
            references = sys.getrefcount(raw)
            await session.receive(raw)
            await turn()
            assert sys.getrefcount(raw) == references
    finally:
        gc.enable()
    assert [text.split()[0] for text in words(session)] == ["reject"] * 3 + ["ack"]


@in_loop
async def test_a_report_of_drops_is_written_to_the_log_and_takes_no_number() -> None:
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(dropped(("m", "outbox_full", 5)))
    await session.receive(send(1))
    await turn()
    assert world.log.stored() == [(DROPPED, 0), (BATCH, 1)]
    assert pb.Dropped.FromString(bytes(world.log.entries[0].payload)).counts[0].rows == 5
    assert world.counted("collectord_records_received_total") == 1
    assert words(session) == ["ack 1"]


@in_loop
async def test_counts_of_impossible_streams_are_left_out_and_the_others_kept() -> None:
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(dropped(("good", "r", 1), ("a\nb", "r", 2), ("x" * 256, "r", 3), ("good too", "r", 4)))
    await session.receive(dropped(("m", "r", 1), more=2000))
    kept = [pb.Dropped.FromString(bytes(entry.payload)).counts for entry in world.log.entries]
    assert [count.rows for count in kept[0]] == [1, 4]
    assert len(kept[1]) == 1000
