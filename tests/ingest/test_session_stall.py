"""A stream while the log fails: credit is withheld, and afterwards everything is taken in order, once."""

from __future__ import annotations

import asyncio

import pytest

from collectord.errors import LogUnavailable, SpoolFull
from collectord.ingest.admission import FIRST_CREDIT
from collectord.ingest.stall import STALL_SECONDS
from collectord.model import ColumnType, EntryKind
from tests.ingest.fakes import World, dropped, in_loop, send, turn, words
from tests.reference_batch import make_schema

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


@pytest.mark.parametrize(
    ("error", "why"), [(SpoolFull("full"), "the spool is full"), (LogUnavailable("EIO"), "the log cannot write")]
)
@in_loop
async def test_while_the_log_fails_credit_is_withheld_and_afterwards_everything_is_taken_in_order_once(
    error: Exception, why: str
) -> None:
    world = World()
    session = await world.greeted()
    for sequence in (1, 2, 3):
        await session.receive(send(sequence))
    world.log.commit(1)
    await world.fail(error)
    assert words(session) == ["ack 1", f"credit 0 {why}"]
    await session.receive(send(4))
    await turn()
    assert words(session) == [], "what lies behind is not asked for while the log cannot take it"
    assert [seconds for seconds, _ in world.gate.timers] == [STALL_SECONDS]
    world.gate.expire()
    assert words(session) == ["resume 2", f"credit {FIRST_CREDIT}"]
    for sequence in (2, 3, 4):
        await session.receive(send(sequence))
    await world.commit()
    assert words(session) == ["ack 4"]
    assert world.log.stored() == [(BATCH, sequence) for sequence in (1, 2, 3, 4)]
    world.at_rest()


@in_loop
async def test_a_client_may_try_one_batch_without_credit_and_a_success_ends_the_stall() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(send(1))
    await world.fail()
    assert words(session) == ["credit 0 the log cannot write"]
    await session.receive(send(1))
    await world.commit()
    assert words(session) == ["ack 1", f"credit {FIRST_CREDIT}"]


@in_loop
async def test_a_log_that_goes_on_failing_is_tried_at_the_pace_of_one_timer() -> None:
    world = World()
    world.log.error = SpoolFull("full")
    session = await world.greeted()
    for _ in range(5):
        await session.receive(send(1))
        await session.receive(send(2))
        await turn()
        words(session)
        assert len(world.gate.timers) == 1
        world.gate.expire()
        assert "resume 1" in words(session)
    world.log.error = None
    await session.receive(send(1))
    await world.commit()
    assert "ack 1" in words(session)
    world.at_rest()


@in_loop
async def test_a_late_failure_does_not_take_back_what_is_already_on_its_way_again() -> None:
    """2 and 3 are queued; 2 fails. The client sends 2 again before the log has refused 3. Were the mark set back by the
    second failure, 2 could be asked for and stored a third time."""
    world = World()
    session = await world.greeted()
    for sequence in (1, 2, 3):
        await session.receive(send(sequence))
    world.log.commit(1)
    await world.fail(count=1)
    await session.receive(send(2))
    await world.fail(count=1)
    world.gate.expire()
    await session.receive(send(2))
    await session.receive(send(3))
    await world.commit()
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2), (BATCH, 3)]
    assert words(session)[0] == "ack 3"


@in_loop
async def test_a_failed_report_of_drops_does_not_move_the_mark() -> None:
    """It has no number, so what follows it in the log need not fail."""
    world = World()
    session = await world.greeted()
    await session.receive(dropped(("m", "outbox_full", 5)))
    await session.receive(send(1))
    await world.fail(count=1)
    await session.receive(send(1))
    await world.commit()
    assert world.log.stored() == [(BATCH, 1)]
    world.gate.expire()
    assert "resume 2" in words(session)


@in_loop
async def test_a_batch_that_waits_for_the_budget_while_the_log_fails_is_asked_for_in_order() -> None:
    world = World(budget=1500)
    session = await world.greeted()
    await session.receive(send(1))
    waiting = asyncio.create_task(session.receive(send(2)))
    await turn()
    assert not waiting.done()
    await world.fail()
    assert waiting.done()
    assert not world.log.queue, "2 must not overtake 1"
    world.gate.expire()
    assert "resume 1" in words(session)
    world.at_rest()


@in_loop
async def test_a_log_that_refuses_to_be_called_costs_nothing() -> None:
    """An error of ours ends the stream; budget and mark are as before."""
    world = World()
    session = await world.greeted()
    append = world.log.append
    world.log.append = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError):
        await session.receive(send(1))
    world.log.append = append  # type: ignore[method-assign]
    world.at_rest()
    await session.receive(send(1))
    await world.commit()
    assert words(session) == ["ack 1"]
