"""Whether a daemon lets anybody in, and who is in: starting, ready, draining, stopping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from collectord.ingest.gate import Gate, Party
from collectord.ingest.intake import Intake
from collectord.logs import event

STARTING, READY, DRAINING, STOPPING = "starting", "ready", "draining", "stopping"

_log = logging.getLogger("collectord.daemon")


Tell = Callable[[bool], Awaitable[None]]
"""Told whether clients are let in, each time that changes."""


class Door:
    """Shut until `open`, and after `shut` for good; `drain` shuts it for a while. Threads: what asks may come from any;
    `lead_to`, `open` and `shut` belong to the event loop."""

    def __init__(self) -> None:
        self._tell: Tell | None = None
        self._gate: Gate | None = None
        self._intake: Intake | None = None
        self._opened = self._shut = False
        self.draining = False
        """Whether it was told to drain, also while it is stopping."""

    # ------------------------------------------------------------------ the event loop's

    def lead_to(self, gate: Gate, intake: Intake) -> None:
        """What clients come to, once they are let in; `intake` is the gate's log."""
        self._gate, self._intake = gate, intake

    async def open(self, tell: Tell | None = None) -> None:
        """All listeners are there. `tell` hears from now on whether clients are let in."""
        self._opened = True
        self._tell = tell
        await self._say()

    async def shut(self) -> None:
        """The daemon stops."""
        self._shut = True
        await self._say()

    async def _say(self) -> None:
        if self._tell is not None:
            await self._tell(self.why_closed is None)

    async def _drain(self, on: bool) -> None:
        assert self._gate is not None
        assert self._intake is not None
        self.draining = on
        if on:
            self._intake.shut()
        else:
            self._intake.open()
        self._gate.close("the daemon is draining" if on else "")
        await self._say()

    # ------------------------------------------------------------------ from any other thread

    def drain(self, on: bool) -> bool:
        """Takes nothing new from now on, or takes in again. Returns whether that is news. Only while `can_drain`."""
        assert self._gate is not None
        if on == self.draining:
            return False
        asyncio.run_coroutine_threadsafe(self._drain(on), self._gate.loop).result()
        event(_log, logging.INFO, "draining: nothing new is taken in" if on else "taking in again")
        return True

    @property
    def can_drain(self) -> bool:
        return self._gate is not None and not self._shut

    @property
    def state(self) -> str:
        """One of the four words."""
        if self._shut:
            return STOPPING
        if not self._opened:
            return STARTING
        return DRAINING if self.draining else READY

    @property
    def why_closed(self) -> str | None:
        """None if clients are let in."""
        state = self.state
        return None if state == READY else state

    def sessions(self) -> list[Party]:
        """The clients' streams that are open."""
        return [] if self._gate is None else list(self._gate.sessions)

    def connected(self) -> frozenset[bytes]:
        """The clients of these."""
        return frozenset(session.client for session in self.sessions())

    @property
    def unacknowledged(self) -> int:
        """Bytes received and not yet durable."""
        return 0 if self._gate is None else self._gate.admission.used
