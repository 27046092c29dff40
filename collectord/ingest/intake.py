"""The way into the log, which may be shut: while a daemon is being emptied, nothing gets through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from collectord.errors import TryAgain
from collectord.ingest.gate import Log
from collectord.model import Entry


class Draining(TryAgain):
    """The daemon takes nothing new; what is sent now is not acknowledged, and is welcome elsewhere or later."""


class Intake:
    """A `Log` in front of the log. Belongs to the event loop."""

    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop
        self._shut = self._opening = False
        self._pending = 0
        """Refusals that have not been told yet."""

    def append(
        self, entries: Sequence[Entry], done: Callable[[Exception | None], None], *, urgent: bool = False
    ) -> None:
        """See `Log.append`. While it is shut, `done` gets `Draining`, from the loop."""
        if not self._shut:
            self._log.append(entries, done, urgent=urgent)
            return
        # Not at once: whoever appends holds a lock that `done` takes.
        self._pending += 1
        self._loop.call_soon(self._refuse, done)

    def shut(self) -> None:
        """From now on everything is refused. What the log has already is not touched. May be repeated."""
        self._shut, self._opening = True, False

    def open(self) -> None:
        """Takes in again, as soon as everything that was refused knows of it: none may overtake it. May be repeated."""
        self._opening = True
        self._open()

    def _refuse(self, done: Callable[[Exception | None], None]) -> None:
        try:
            done(Draining("the daemon is draining and takes nothing new"))
        finally:
            self._pending -= 1
            self._open()

    def _open(self) -> None:
        if self._opening and not self._pending:
            self._shut = self._opening = False
