"""The books of every stream, in rows: received = landed + in the log + parked + quarantined + expired + dropped from
quarantine, and beside it what was refused or never sent. Kept as rows pass, so that at any moment they balance; `collectord ledger` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LOST = "lost"
"""Name of the ledger's count of acknowledged rows that the log no longer holds."""


@dataclass(slots=True)
class StreamBooks:
    """One stream."""

    stream: str
    received: int = 0
    landed: int = 0
    in_log: int = 0
    parked: int = 0
    quarantined: int = 0
    expired: int = 0
    dropped_from_quarantine: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    dropped_by_clients: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Rows that were received and are nowhere: 0, or the books do not balance."""
        held = self.in_log + self.parked + self.quarantined
        return self.received - self.landed - held - self.expired - self.dropped_from_quarantine


Drop = tuple[bytes, str, str]
"""Client, stream key, reason."""


class Books:
    """Counts by stream key. Not thread-safe: whoever owns it has a lock."""

    def __init__(
        self, received: Mapping[str, int], landed: Mapping[str, int], quarantined: Mapping[str, int],
        lost: Mapping[str, int], dropped: Mapping[Drop, int], discarded: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self._received = dict(received)
        self._landed = dict(landed)
        self._quarantined = dict(quarantined)
        self._lost = dict(lost)
        self._dropped = dict(dropped)
        self._discarded = dict(discarded or {})
        self._fresh: set[Drop] = set()

    def receive(self, stream: str, rows: int) -> None:
        """Rows were read from the log for the first time."""
        _add(self._received, stream, rows)

    def land(self, stream: str, rows: int) -> None:
        """Rows are in their blob."""
        _add(self._landed, stream, rows)

    def presume_landed(self, in_log: Iterable[tuple[str, int]]) -> None:
        """The ledger was lost: what was received, is not in the log and is not known to be lost has landed."""
        for book in self.view(in_log):
            if book.missing > 0:
                self.land(book.stream, book.missing)

    def quarantine(self, stream: str, rows: int) -> None:
        """Rows were set aside."""
        _add(self._quarantined, stream, rows)

    def take_out(self, stream: str, rows: int) -> None:
        """Rows have left the quarantine and wait in the log again."""
        _add(self._quarantined, stream, -rows)

    def discard(self, stream: str, rows: int) -> None:
        """Rows were dropped from the quarantine."""
        _add(self._quarantined, stream, -rows)
        _add(self._discarded, stream, rows)

    def lost(self, stream: str) -> int:
        """A stream's rows that cannot be read back."""
        return self._lost.get(stream, 0)

    def lose(self, stream: str, rows: int) -> None:
        """Rows cannot be read back from the log."""
        _add(self._lost, stream, rows)

    def drop(self, drop: Drop, total: int) -> int:
        """A client says how many rows it has ever dropped. Returns how many of them are news."""
        more = total - self._dropped.get(drop, 0)
        if more <= 0:
            return 0
        self._dropped[drop] = total
        self._fresh.add(drop)
        return more

    def take_fresh_drops(self) -> list[tuple[Drop, int]]:
        """The totals that changed since the last call."""
        fresh, self._fresh = self._fresh, set()
        return [(drop, self._dropped[drop]) for drop in fresh]

    def forget_clients(self, clients: Iterable[bytes]) -> None:
        """What they have dropped stays, under no client."""
        gone = set(clients)
        for drop in [drop for drop in self._dropped if drop[0] in gone]:
            self._fresh.discard(drop)
            nobodys = (b"", drop[1], drop[2])
            self._dropped[nobodys] = self._dropped.get(nobodys, 0) + self._dropped.pop(drop)

    def view(self, in_log: Iterable[tuple[str, int]], parked: Iterable[tuple[str, int]] = ()) -> list[StreamBooks]:
        """All streams, sorted by key; `in_log` and `parked` are `(stream key, rows)` of what waits there."""
        books: dict[str, StreamBooks] = {}

        def of(stream: str) -> StreamBooks:
            return books.setdefault(stream, StreamBooks(stream))

        for stream, rows in self._received.items():
            of(stream).received = rows
        for stream, rows in self._landed.items():
            of(stream).landed = rows
        for stream, rows in in_log:
            of(stream).in_log += rows
        for stream, rows in parked:
            of(stream).parked += rows
        for stream, rows in self._discarded.items():
            of(stream).dropped_from_quarantine = rows
        for counts in (self._quarantined, self._lost):
            for stream, rows in counts.items():
                of(stream).quarantined += rows
        for (_, stream, reason), rows in self._dropped.items():
            _add(of(stream).dropped_by_clients, reason, rows)
        return sorted(books.values(), key=lambda one: one.stream)


def _add(counts: dict[str, int], key: str, rows: int) -> None:
    counts[key] = counts.get(key, 0) + rows
