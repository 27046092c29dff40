"""Which partitions are about to open: their rows were let in, and the index of what waits does not show them yet.

Between the door and the index lie the budget, the disk and the reader of the log. Without this, a flood of streams that
comes in that time would pass a limit that only looks at the index.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from collectord.ingest.shares import allowed
from collectord.model import Partition

FULL = "the limit of open partitions (max_streams) is reached"


class Open(Protocol):
    """The index: which partitions have rows that wait."""

    def __contains__(self, partition: Partition, /) -> bool: ...

    def __len__(self) -> int: ...

    def held(self, whose: str, /) -> tuple[int, int]:
        """Of a tenant or service: how many of them, and bytes."""
        ...


@dataclass(slots=True)
class _Coming:
    """Batches of one partition."""

    whose: str
    """Who sent the first of them."""
    batches: int = 1


class Openings:
    """At most `limit` partitions, open and about to open, and of one tenant or service its share of them. Safe from any thread."""

    def __init__(self, limit: int, open: Open, share: float = 1.0) -> None:
        self._limit = limit
        self._open = open
        self._share = share
        self._lock = threading.Lock()
        self._coming: dict[Partition, _Coming] = {}
        """Let in and not yet seen again."""

    def let_in(self, partition: Partition, whose: str = "") -> str:
        """Why a batch of this partition may not come in; empty: it may, and `seen` or `gave_up` has to follow."""
        with self._lock:
            coming = self._coming.get(partition)
            if coming is not None:
                coming.batches += 1
                return ""
            if partition not in self._open:
                why_not = self._why_not(whose)
                if why_not:
                    return why_not
            self._coming[partition] = _Coming(whose)
            return ""

    def is_open(self, partition: Partition) -> bool:
        """Open, or about to open."""
        with self._lock:
            return partition in self._coming or partition in self._open

    def whose(self, partition: Partition) -> str:
        """Who has let a partition come that is about to open; empty: an earlier daemon has."""
        with self._lock:
            coming = self._coming.get(partition)
            return coming.whose if coming is not None else ""

    def seen(self, partition: Partition) -> None:
        """A batch is in the index now. Also for one that was let in by an earlier daemon: nothing happens then."""
        with self._lock:
            coming = self._coming.get(partition)
            if coming is not None:
                coming.batches -= 1
                if not coming.batches:
                    del self._coming[partition]

    gave_up = seen
    """A batch that was let in will not come: it did not get into the log."""

    def _why_not(self, whose: str) -> str:
        """Of a partition that is neither open nor about to open."""
        opened, coming = len(self._open), len(self._coming)
        mine, _ = self._open.held(whose)
        # As exact as has to be, and cheaper: all that are coming count as his, and as being nowhere else.
        if opened + coming < self._limit and mine + coming < allowed(
            self._share, self._limit, max(0, opened - mine) + coming
        ):
            return ""
        fresh = [batches.whose for one, batches in self._coming.items() if one not in self._open]
        if opened + len(fresh) >= self._limit:
            return FULL
        mine += fresh.count(whose)
        if mine >= allowed(self._share, self._limit, max(0, opened + len(fresh) - mine)):
            return f"the share of the {whose} in the open partitions (tenant_share of max_streams) is used up"
        return ""
