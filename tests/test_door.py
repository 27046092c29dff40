"""The four states of the door, and what is told to whom when it is shut for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from collectord.door import DRAINING, READY, STARTING, STOPPING, Door
from collectord.ingest.admission import Admission
from collectord.ingest.gate import Gate
from collectord.ingest.intake import Draining, Intake
from collectord.ingest.marks import Marks
from collectord.ingest.validate import Window
from collectord.metrics import Metrics
from collectord.model import Entry
from collectord.switches import Rules
from collectord.testing.clock import ManualClock

Done = Callable[[Exception | None], None]


class Log:
    def append(self, entries: Sequence[Entry], done: Done, *, urgent: bool = False) -> None:
        done(None)


def lead(door: Door) -> Gate:
    """Puts a gate and its intake behind the door. To be called on a running loop."""
    loop = asyncio.get_running_loop()
    intake = Intake(Log(), loop)
    streams: Any = None
    gate = Gate(
        log=intake, streams=streams, marks=Marks(), admission=Admission(1 << 20), window=Window(0, 0, 60),
        spool_id=bytes(16), rules=Rules(), clock=ManualClock(), metrics=Metrics(), loop=loop,
    )  # fmt: skip
    door.lead_to(gate, intake)
    return gate


def test_a_door_that_leads_nowhere_yet_is_shut_and_nobody_is_in() -> None:
    door = Door()
    assert (door.state, door.why_closed) == (STARTING, STARTING)
    assert (door.can_drain, door.draining, door.sessions(), door.unacknowledged) == (False, False, [], 0)
    assert door.connected() == frozenset()


def test_it_opens_drains_takes_in_again_and_shuts_for_good() -> None:
    async def scenario() -> None:
        door = Door()
        gate = lead(door)
        assert door.state == STARTING
        await door.open()
        assert (door.state, door.why_closed) == (READY, None)
        assert await asyncio.to_thread(door.drain, True)
        assert not await asyncio.to_thread(door.drain, True), "it is no news"
        assert (door.state, door.why_closed, gate.closed) == (DRAINING, DRAINING, "the daemon is draining")
        told: list[Exception | None] = []
        gate.log.append([], told.append)
        await asyncio.sleep(0)
        assert [type(error) for error in told] == [Draining]
        assert await asyncio.to_thread(door.drain, False)
        assert (door.state, gate.closed) == (READY, "")
        gate.log.append([], told.append)
        assert told[1:] == [None]
        await door.shut()
        assert (door.state, door.why_closed, door.can_drain) == (STOPPING, STOPPING, False)

    asyncio.run(scenario())


@pytest.mark.parametrize("opens", [True, False])
def test_a_drain_is_remembered_through_opening_and_shutting(opens: bool) -> None:
    """The admin socket may ask for it before the last listener is there."""

    async def scenario() -> None:
        door = Door()
        lead(door)
        assert door.can_drain
        await asyncio.to_thread(door.drain, True)
        assert door.state == STARTING
        if opens:
            await door.open()
            assert door.state == DRAINING
        await door.shut()
        assert (door.state, door.draining) == (STOPPING, True)

    asyncio.run(scenario())


class Health:
    """What a door has told, in order."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    async def tell(self, open_: bool) -> None:
        self.told.append(open_)


def test_it_tells_whether_clients_are_let_in_each_time_that_changes() -> None:
    """What gRPC's health says follows this: also while it stops, and after a drain that was cancelled."""

    async def scenario() -> None:
        door, health = Door(), Health()
        lead(door)
        await door.open(health.tell)
        assert health.told == [True]
        await asyncio.to_thread(door.drain, True)
        assert health.told == [True, False]
        await asyncio.to_thread(door.drain, False)
        assert health.told == [True, False, True]
        await door.shut()
        assert health.told == [True, False, True, False]

    asyncio.run(scenario())


def test_a_drain_that_was_asked_for_before_it_opened_is_told() -> None:
    async def scenario() -> None:
        door, health = Door(), Health()
        lead(door)
        await asyncio.to_thread(door.drain, True)
        await door.open(health.tell)
        assert health.told == [False]

    asyncio.run(scenario())
