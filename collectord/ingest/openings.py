"""Which partitions are about to open: their rows were let in, and the index of what waits does not show them yet.

Between the door and the index lie the budget, the disk and the reader of the log. Without this, a flood of streams that
comes in that time would pass a limit that only looks at the index.
"""

from __future__ import annotations

import threading
from typing import Protocol

from collectord.model import Partition


class Open(Protocol):
    """The index: which partitions have rows that wait."""

    def __contains__(self, partition: Partition, /) -> bool: ...

    def __len__(self) -> int: ...


class Openings:
    """At most `limit` partitions, open and about to open. Safe from any thread."""

    def __init__(self, limit: int, open: Open) -> None:
        self._limit = limit
        self._open = open
        self._lock = threading.Lock()
        self._batches: dict[Partition, int] = {}
        """Let in and not yet seen again."""

    def let_in(self, partition: Partition) -> bool:
        """Whether a batch of this partition may come in. If so, `seen` or `gave_up` has to follow."""
        with self._lock:
            if partition not in self._batches and partition not in self._open and self._count() >= self._limit:
                return False
            self._batches[partition] = self._batches.get(partition, 0) + 1
            return True

    def is_open(self, partition: Partition) -> bool:
        """Open, or about to open."""
        with self._lock:
            return partition in self._batches or partition in self._open

    def seen(self, partition: Partition) -> None:
        """A batch is in the index now. Also for one that was let in by an earlier daemon: nothing happens then."""
        with self._lock:
            left = self._batches.pop(partition, 1) - 1
            if left:
                self._batches[partition] = left

    gave_up = seen
    """A batch that was let in will not come: it did not get into the log."""

    def _count(self) -> int:
        if len(self._open) + len(self._batches) < self._limit:
            return 0  # as exact as has to be, and cheaper
        return len(self._open) + sum(partition not in self._open for partition in self._batches)
