"""The thread of a process that has rows made of what was told.

Ringing for it takes no lock: whoever tells an event may be anywhere, also in the middle of what this package does, where a
collection of garbage ends an object that logs.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import process
from ..notices import accident

if TYPE_CHECKING:
    from .feed import Feed

PAUSE = 0.1
"""Seconds between an event and its row: so that many are made at once, and the thread wakes seldom."""


class Scribe:
    """One per process."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Another process has no such thread yet."""
        self._bell: queue.SimpleQueue[Feed] | None = None
        self._starting = threading.RLock()

    def ring(self, feed: Feed) -> None:
        """Has `feed` write its rows, soon."""
        bell = self._bell
        (self._start() if bell is None else bell).put(feed)

    def _start(self) -> queue.SimpleQueue[Feed]:
        with self._starting:
            if self._bell is None:
                # Made with the thread, and found where it is now: gevent may have put its own in the place of both since this was
                # imported, and its threads are one, which a bell of the other kind would stop for good.
                self._bell = queue.SimpleQueue()
                # Else the interpreter is shutting down, or has no daemon threads: what ends the process takes what was told.
                with suppress(RuntimeError):
                    threading.Thread(
                        target=_work, args=(self._bell,), name="collectord-client-events", daemon=True
                    ).start()
            return self._bell


def _work(bell: queue.SimpleQueue[Feed]) -> None:
    while True:
        rung = {bell.get()}
        time.sleep(PAUSE)
        try:
            while True:
                rung.add(bell.get_nowait())
        except queue.Empty:
            pass
        for feed in rung:
            try:
                feed.write()
            except Exception as error:  # noqa: BLE001
                accident(error)
        # A client may end: it is not held here while the bell is silent.
        del feed, rung


scribe = Scribe()
process.begin_in_child(scribe.after_fork)
