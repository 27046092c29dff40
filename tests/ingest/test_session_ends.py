"""How a stream ends, and what becomes of what it sent; two streams of one client."""

from __future__ import annotations

import asyncio

import pytest

from collectord.ingest import gate as gate_module
from collectord.ingest.admission import FIRST_CREDIT
from collectord.ingest.gate import SchemasFull
from collectord.ingest.validate import weight
from collectord.model import ColumnType, EntryKind
from tests.ingest.fakes import CLIENT, World, bad, declare, in_loop, send, turn, words
from tests.reference_batch import make_schema

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


@in_loop
async def test_a_client_that_hangs_up_still_gets_its_acks() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(send(1))
    session.hang_up()
    assert words(session) == []
    assert not session.finished
    await world.commit()
    assert not session.finished
    assert words(session) == ["ack 1"]
    assert session.finished


@in_loop
async def test_what_the_log_says_after_the_stream_has_ended_is_still_counted() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(send(1))
    await session.receive(bad(2))
    world.gate.leave(session)
    await world.commit()
    world.at_rest()
    assert world.counted("collectord_records_received_total") == 1
    assert world.counted("collectord_records_rejected_total", reason="time_out_of_window") == 1
    assert world.gate.marks.durable(CLIENT) == 2


@in_loop
async def test_a_failure_after_the_stream_has_ended_sets_no_timer_off_on_it() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(send(1))
    world.gate.leave(session)
    await world.fail()
    world.gate.expire()
    assert words(session) == ["credit 0 the log cannot write"]
    world.at_rest()


@in_loop
async def test_a_cancelled_stream_gives_its_place_in_the_budget_back() -> None:
    world = World(budget=1500)
    first, second = await world.greeted(), await world.greeted(b"another client..")
    await first.receive(send(1))
    cancelled = asyncio.create_task(first.receive(send(2)))
    waiting = asyncio.create_task(second.receive(send(1)))
    await turn()
    cancelled.cancel()
    await turn()
    await world.commit()
    assert waiting.done()
    await world.commit()
    world.at_rest()
    assert world.log.stored() == [(BATCH, 1)]


@in_loop
async def test_a_second_stream_of_a_client_takes_over_and_is_told_what_the_first_one_sent() -> None:
    """A client reconnects while the log still writes what came before: it must not wait for acks for ever."""
    world = World()
    first = await world.greeted()
    await first.receive(send(1))
    second = await world.greeted()
    assert first.over.done()
    assert not second.over.done()
    await second.receive(send(1))
    assert words(second) == ["ack 0"]
    await world.commit()
    assert words(second) == ["ack 1"]
    assert world.log.stored() == [(BATCH, 1)]
    world.gate.leave(first)
    await second.receive(send(2))
    await world.commit()
    assert words(second) == ["ack 2"]


@in_loop
async def test_a_failure_of_what_the_first_stream_sent_reaches_the_second() -> None:
    """The client believes that its repeat was enough; only Resume tells it otherwise."""
    world = World()
    first = await world.greeted()
    await first.receive(send(1))
    second = await world.greeted()
    await second.receive(send(1))
    words(second)
    await world.fail()
    assert words(second) == ["credit 0 the log cannot write"]
    world.gate.expire()
    assert words(second) == ["resume 1", f"credit {FIRST_CREDIT}"]
    await second.receive(send(1))
    await world.commit()
    assert words(second) == ["ack 1"]
    world.at_rest()


@in_loop
async def test_a_batch_of_the_first_stream_that_waited_is_not_stored_after_the_second_began() -> None:
    world = World(budget=1500)
    first = await world.greeted()
    await first.receive(send(1))
    late = asyncio.create_task(first.receive(send(2)))
    await turn()
    second = await world.greeted()
    await world.commit()
    assert late.done()
    world.at_rest()
    await second.receive(send(2))
    await world.commit()
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]


@in_loop
async def test_when_the_schemas_of_all_need_too_much_the_stream_with_the_most_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not the one that comes last with a little. What the ended one still sends is not judged, so nothing of it is refused
    for a schema that it had declared; it comes again."""
    wide, narrow = make_schema(*[ColumnType.INT8] * 50), make_schema(ColumnType.INT64)
    monkeypatch.setattr(gate_module, "MAX_SCHEMA_BYTES", weight(wide) + weight(narrow))
    world = World(eager=True)
    greedy = await world.greeted(b"greedy client...", wide)
    modest = await world.greeted(b"modest client...", narrow)
    assert not greedy.over.done()
    last = await world.greeted(b"the last client.", make_schema(ColumnType.INT8))
    assert [one.over.done() for one in (greedy, modest, last)] == [True, False, False]
    assert isinstance(greedy.over.result(), SchemasFull)
    assert world.gate.schemas.bytes == modest.schema_bytes + last.schema_bytes
    await greedy.receive(declare(wide))
    await greedy.receive(send(1, wide))
    assert world.log.stored(b"greedy client...") == []
    again = await world.greeted(b"greedy client...", narrow)
    await again.receive(send(1, narrow))
    await turn()
    assert words(again) == ["ack 1"]
    for one in (greedy, modest, last, again):
        world.gate.leave(one)
    assert (len(world.gate.schemas), world.gate.schemas.bytes) == (0, 0)
    world.at_rest()


@in_loop
async def test_a_batch_whose_stream_ends_while_it_waits_leaves_its_place_among_the_open_partitions() -> None:
    """Whether it is taken over or cancelled: `at_rest` counts."""
    world = World(budget=1500)
    first = await world.greeted()
    await first.receive(send(1))
    late = asyncio.create_task(first.receive(send(2)))
    cancelled_client = await world.greeted(b"another client..")
    cancelled = asyncio.create_task(cancelled_client.receive(send(1)))
    await turn()
    assert world.room.coming == 3
    await world.greeted()
    cancelled.cancel()
    await world.commit()
    assert late.done()
    world.at_rest()
    third = await world.greeted(b"a third client..")
    await third.receive(send(1))
    await world.fail()
    world.at_rest()
