"""The thread of a process that has rows made of what was told.

Ringing for it takes no lock: whoever tells an event may be anywhere, also in the middle of what this package does, where a
collection of garbage ends an object that logs.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

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
        self._bell: SimpleQueue[Feed] = SimpleQueue()
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    def ring(self, feed: Feed) -> None:
        """Has `feed` write its rows, soon."""
        self._bell.put(feed)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            self._thread = threading.Thread(
                target=_work, args=(self._bell,), name="collectord-client-events", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:
                # The interpreter is shutting down: what ends the process takes what was told.
                return


def _work(bell: SimpleQueue[Feed]) -> None:
    while True:
        rung = {bell.get()}
        time.sleep(PAUSE)
        try:
            while True:
                rung.add(bell.get_nowait())
        except Empty:
            pass
        for feed in rung:
            try:
                feed.write()
            except Exception as error:  # noqa: BLE001
                accident(error)
        # A client may end: it is not held here while the bell is silent.
        del feed, rung


scribe = Scribe()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=scribe.after_fork)
