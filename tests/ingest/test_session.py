"""One client's stream: stored in order, once, and nobody pays for a neighbour's mistake."""

from __future__ import annotations

from typing import Any

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError
from collectord.ingest.admission import FIRST_CREDIT
from collectord.model import ColumnType, EntryKind
from tests.ingest.fakes import CLIENT, SCHEMA, SPOOL, World, declare, hello, in_loop, said, send, turn, words
from tests.reference_batch import make_schema, simple

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


@in_loop
async def test_hello_is_answered_with_what_the_client_needs_to_know() -> None:
    world = World()
    session = world.session()
    await session.receive(hello())
    (message,) = said(session)
    welcome = message.welcome
    assert (welcome.spool_id, welcome.next_sequence, welcome.credit_bytes) == (SPOOL, 1, FIRST_CREDIT)
    assert (welcome.max_message_bytes, welcome.settings.collect) == (4 << 20, True)
    assert (session.client, session.pid, session.sdk) == (CLIENT, 1, "test 1")
    assert words(session) == []


@in_loop
async def test_a_batch_right_behind_hello_is_taken() -> None:
    """Before anything was answered."""
    world = World(eager=True)
    session = world.session()
    for raw in (hello(), declare(SCHEMA), send(1)):
        await session.receive(raw)
    await turn()
    assert words(session) == ["welcome 2"]


@in_loop
async def test_a_message_counts_with_all_that_it_keeps_in_memory() -> None:
    """A batch of some bytes beside a megabyte that a later version would know what to do with."""
    world = World()
    session = world.session()
    for raw in (hello(), declare(SCHEMA)):
        await session.receive(raw)
    padding = bytes(100_000)
    # Field 15 of ClientMessage, length-delimited.
    await session.receive(send(1) + b"\x7a\xa0\x8d\x06" + padding)
    assert len(padding) < world.gate.admission.used < len(padding) + 2048
    world.log.commit()
    await turn()
    world.at_rest()
    assert world.log.stored() == [(BATCH, 1)]


@pytest.mark.parametrize(
    "raw", [send(1), declare(SCHEMA), pb.ClientMessage(dropped=pb.Dropped()).SerializeToString(), b"\x78\x01"]
)
@in_loop
async def test_anything_before_hello_ends_the_stream(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="first message must be Hello"):
        await World().session().receive(raw)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (hello(), "second Hello"),
        (b"", "empty"),
        (b"\x1a\x05ab", "cut"),
        (b"\x0a\x02\x0a\x05", "not a"),
        (b"\xff" * 20, "torn"),
        (hello() + send(1), "exactly one"),
        (send(1) + send(2), "exactly one"),
        (pb.ClientMessage(batch=pb.Batch(rows=1)).SerializeToString(), "sequence number"),
        (pb.ClientMessage(batch=simple(SCHEMA, sequence=1 << 63)).SerializeToString(), "sequence number"),
        (b"\x22" + b"\x82\x80\x40" + b"\x0a\x00" * ((1 << 19) + 1), "1048576 are allowed"),
    ],
)
@in_loop
async def test_what_cannot_be_understood_ends_the_stream(raw: bytes, what: str) -> None:
    """But only that stream; the session has a clear word for it."""
    world = World()
    session = await world.greeted()
    with pytest.raises(ProtocolError, match=what):
        await session.receive(raw)
    world.at_rest()


@pytest.mark.parametrize(
    "fields", [{"client_id": b"short"}, {"client_id": b""}, {"sdk": "x" * 101}, {"version": "x" * 101}]
)
@in_loop
async def test_a_hello_with_wrong_fields_ends_the_stream(fields: dict[str, Any]) -> None:
    message = pb.Hello(**({"client_id": CLIENT} | fields))
    with pytest.raises(ProtocolError, match="hello"):
        await World().session().receive(pb.ClientMessage(hello=message).SerializeToString())


@in_loop
async def test_fields_of_a_later_protocol_are_ignored() -> None:
    """Alone, before and behind what is known."""
    world = World(eager=True)
    session = await world.greeted()
    for raw in (b"\x7a\x03abc", b"\x78\x01" + send(1) + b"\x7a\x00", send(2)):
        await session.receive(raw)
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]


@in_loop
async def test_a_batch_is_acknowledged_when_it_is_durable_and_not_before() -> None:
    world = World()
    session = await world.greeted()
    raw = send(1, rows=3)
    await session.receive(raw)
    await turn()
    assert words(session) == []
    await world.commit()
    assert words(session) == ["ack 1"]
    (entry,) = world.log.entries
    assert bytes(entry.payload) == simple(SCHEMA, 3, 1).SerializeToString()
    assert (entry.rows, entry.schema, entry.client) == (3, SCHEMA, CLIENT)
    assert entry.partition is not None
    assert entry.partition.schema_id == SCHEMA.id
    assert world.counted("collectord_records_received_total") == 3
    assert world.counted("collectord_batches_received_total") == 1
    assert world.counted("collectord_bytes_received_total") == len(entry.payload)
    assert session.rows == 3
    world.at_rest()


@in_loop
async def test_one_ack_speaks_for_a_whole_group() -> None:
    world = World()
    session = await world.greeted()
    for sequence in range(1, 6):
        await session.receive(send(sequence))
    await world.commit()
    assert words(session) == ["ack 5"]


@in_loop
async def test_a_gap_is_asked_for_once_and_everything_behind_it_is_refused_until_it_comes() -> None:
    world = World(eager=True)
    session = await world.greeted()
    for sequence in (1, 3, 4, 5):
        await session.receive(send(sequence))
    await turn()
    assert words(session) == ["ack 1", "resume 2"]
    for sequence in (2, 3):
        await session.receive(send(sequence))
    await session.receive(send(9))
    await turn()
    assert words(session) == ["ack 3", "resume 4"]
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2), (BATCH, 3)]
    world.at_rest()


@in_loop
async def test_a_repeat_is_answered_and_not_stored() -> None:
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(send(1, rows=5))
    await turn()
    assert words(session) == ["ack 1"]
    await session.receive(send(1, rows=5))
    assert words(session) == ["ack 1"]
    assert world.log.stored() == [(BATCH, 1)]
    assert world.counted("collectord_records_repeated_total") == 5


@in_loop
async def test_a_returning_client_is_told_where_it_stopped() -> None:
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(send(1))
    await turn()
    world.gate.leave(session)
    again = world.session()
    await again.receive(hello())
    assert words(again) == ["welcome 2"]
    await again.receive(send(2))
    await turn()
    assert words(again) == ["reject 2 unknown_schema 1", "ack 2"], "schemas are declared on each stream"
