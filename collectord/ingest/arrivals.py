"""Batches as they become durable, for people who watch. While nobody does, this costs a batch one look at a flag.

Who watches slowly misses rows, and is told how many; nobody waits for him. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from collectord.model import Entry, EntryKind, Stream

MAX_BYTES = 4 << 20
"""Of payloads that wait for one who watches; one batch is always kept."""
MAX_WATCHES = 8


class Watch:
    """One who watches."""

    def __init__(self, wanted: Callable[[Stream], bool]) -> None:
        self._wanted = wanted
        self._batches: deque[Entry] = deque()
        self._bytes = 0
        self._missed = 0
        self.wake = asyncio.Event()
        """Set when there is something to take."""

    def offer(self, entry: Entry) -> None:
        """An entry is durable."""
        if entry.kind is not EntryKind.BATCH or entry.schema is None or not self._wanted(entry.schema.stream):
            return
        size = len(entry.payload)
        if self._batches and self._bytes + size > MAX_BYTES:
            self._missed += entry.rows
        else:
            self._batches.append(entry)
            self._bytes += size
        self.wake.set()

    def take(self) -> tuple[list[Entry], int]:
        """The batches since the last call, and how many rows were missed behind them."""
        self.wake.clear()
        batches, missed = list(self._batches), self._missed
        self._batches.clear()
        self._bytes = self._missed = 0
        return batches, missed


class Arrivals:
    """All who watch."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self.watched = False

    @contextmanager
    def watch(self, wanted: Callable[[Stream], bool]) -> Iterator[Watch | None]:
        """One more who watches the streams that are `wanted`; None if there are enough already."""
        if len(self._watches) >= MAX_WATCHES:
            yield None
            return
        made = Watch(wanted)
        self._watches.append(made)
        self.watched = True
        try:
            yield made
        finally:
            self._watches.remove(made)
            self.watched = bool(self._watches)

    def offer(self, entry: Entry) -> None:
        """An entry is durable."""
        for watch in self._watches:
            watch.offer(entry)
