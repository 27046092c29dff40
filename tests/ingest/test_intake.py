"""While the door is shut nothing reaches the log, and when it opens nothing overtakes what was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from collectord.ingest.admission import FIRST_CREDIT
from collectord.ingest.intake import Draining, Intake
from collectord.model import Entry, EntryKind
from tests.ingest.fakes import World, hello, in_loop, said, send, turn, words


class Log:
    def __init__(self) -> None:
        self.taken: list[Entry] = []

    def append(
        self, entries: Sequence[Entry], done: Callable[[Exception | None], None], *, urgent: bool = False
    ) -> None:
        self.taken += entries
        done(None)


def entry(sequence: int) -> Entry:
    return Entry(EntryKind.BATCH, b"c" * 16, sequence, 1, b"x")


def test_a_shut_door_refuses_later_and_not_at_once() -> None:
    """Whoever appends holds a lock that the answer takes."""

    async def scenario() -> None:
        log = Log()
        intake = Intake(log, asyncio.get_running_loop())
        answers: list[Exception | None] = []
        intake.append([entry(1)], answers.append)
        intake.shut()
        intake.append([entry(2)], answers.append)
        assert answers == [None]
        await asyncio.sleep(0)
        assert [type(answer) for answer in answers] == [type(None), Draining]
        assert [one.sequence for one in log.taken] == [1]

    asyncio.run(scenario())


def test_an_opened_door_lets_nothing_through_before_the_last_refusal_is_known() -> None:
    """A later batch of the same client in the log, without the one before it, would be a loss."""

    async def scenario() -> None:
        log = Log()
        intake = Intake(log, asyncio.get_running_loop())
        answers: list[Exception | None] = []
        intake.shut()
        intake.append([entry(1)], answers.append)
        intake.open()
        intake.append([entry(2)], answers.append)
        assert log.taken == []
        for _ in range(3):
            await asyncio.sleep(0)
        assert [type(answer) for answer in answers] == [Draining, Draining]
        intake.append([entry(1)], answers.append)
        assert [one.sequence for one in log.taken] == [1]

    asyncio.run(scenario())


def shut(world: World, why: str = "the daemon is draining") -> Intake:
    """As the daemon drains."""
    intake = Intake(world.log, asyncio.get_running_loop())
    world.gate.log = intake
    intake.shut()
    world.gate.close(why)
    return intake


@in_loop
async def test_clients_are_told_at_once_that_nothing_is_taken_in_and_why() -> None:
    """Those that are here and idle, and those that come."""
    world = World(eager=True)
    session = await world.greeted()
    shut(world)
    assert session.wake.is_set()
    assert words(session) == ["credit 0 the daemon is draining"]
    late = world.session()
    await late.receive(hello(b"another client.."))
    assert words(late)[-1] == "credit 0 the daemon is draining"


@in_loop
async def test_what_is_sent_meanwhile_is_asked_for_when_the_door_opens_and_not_before() -> None:
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(send(1))
    await turn()
    said(session)
    intake = shut(world)
    said(session)
    await session.receive(send(2))
    await session.receive(send(3))
    await turn()
    for _ in range(3):
        world.gate.expire()
        assert words(session) == []
    assert world.log.stored() == [(EntryKind.BATCH, 1)]
    intake.open()
    world.gate.close("")
    world.gate.expire()
    assert words(session) == ["resume 2", f"credit {FIRST_CREDIT}"]
    await session.receive(send(2))
    await session.receive(send(3))
    await turn()
    assert words(session) == ["ack 3"]
    assert world.log.stored() == [(EntryKind.BATCH, number) for number in (1, 2, 3)]
    world.at_rest()


@in_loop
async def test_a_stream_that_ends_while_the_door_is_shut_leaves_no_timer() -> None:
    world = World(eager=True)
    session = await world.greeted()
    shut(world)
    await session.receive(send(1))
    await turn()
    assert world.gate.timers
    world.gate.leave(session)
    world.gate.expire()
    assert not world.gate.timers
