"""The entries of one partition that wait: a queue of numbers in flat arrays.

An outage of hours leaves millions of small batches waiting, and an object for each would need more memory than the daemon
may have. Here an entry costs `BYTES_PER_ENTRY`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

from collectord.model import Lsn, Place

BYTES_PER_ENTRY = 24
_SHRINK_AT = 1024


class Entries:
    """First in, first out; each entry is its place in the log, its rows, and when it came (monotonic seconds)."""

    __slots__ = ("_came", "_first", "_lengths", "_lsns", "_rows")

    def __init__(self) -> None:
        self._lsns = array("q")
        self._lengths = array("I")
        self._rows = array("I")
        self._came = array("d")
        self._first = 0
        """Index of the oldest entry; what lies before it has left."""

    def __len__(self) -> int:
        return len(self._lsns) - self._first

    def append(self, lsn: Lsn, length: int, rows: int, came: float) -> None:
        """Adds the newest entry."""
        self._lsns.append(lsn)
        self._lengths.append(length)
        self._rows.append(rows)
        self._came.append(came)

    @property
    def lsn(self) -> Lsn:
        """Of the oldest entry, as all the following. Raises IndexError if there is none."""
        return Lsn(self._lsns[self._first])

    @property
    def length(self) -> int:
        return self._lengths[self._first]

    @property
    def rows(self) -> int:
        return self._rows[self._first]

    @property
    def came(self) -> float:
        return self._came[self._first]

    def leave(self) -> None:
        """Removes the oldest entry. Its memory is given back from time to time, at a cost that does not grow."""
        self._first += 1
        if self._first >= _SHRINK_AT and 2 * self._first >= len(self._lsns):
            for column in (self._lsns, self._lengths, self._rows, self._came):
                del column[: self._first]
            self._first = 0

    def copy(self) -> Entries:
        """The same entries, to be kept while this one changes."""
        other = Entries()
        other._lsns, other._lengths = self._lsns[self._first :], self._lengths[self._first :]
        other._rows, other._came = self._rows[self._first :], self._came[self._first :]
        return other

    def __iter__(self) -> Iterator[tuple[Place, int]]:
        """`(place, rows)` of each entry, oldest first."""
        for at in range(self._first, len(self._lsns)):
            yield Place(Lsn(self._lsns[at]), self._lengths[at]), self._rows[at]

    def __reversed__(self) -> Iterator[tuple[Place, int]]:
        """Newest first."""
        for at in range(len(self._lsns) - 1, self._first - 1, -1):
            yield Place(Lsn(self._lsns[at]), self._lengths[at]), self._rows[at]

    def between(self, begin: Lsn, end: Lsn) -> Iterator[tuple[Place, int]]:
        """`(place, rows)` of each entry at a position in [begin, end), oldest first."""
        for at in range(self._at(begin), self._at(end)):
            yield Place(Lsn(self._lsns[at]), self._lengths[at]), self._rows[at]

    def first_from(self, begin: Lsn) -> Lsn | None:
        """The position of the oldest entry at or behind `begin`."""
        at = self._at(begin)
        return Lsn(self._lsns[at]) if at < len(self._lsns) else None

    def rows_before(self, end: Lsn) -> int:
        """Rows of all entries before `end`."""
        return sum(self._rows[self._first : self._at(end)])

    def bytes_from(self, begin: Lsn) -> tuple[int, int]:
        """Entries at or behind `begin`, and the bytes of their payloads."""
        at = self._at(begin)
        return len(self._lsns) - at, sum(self._lengths[at:])

    def _at(self, lsn: Lsn) -> int:
        return bisect_left(self._lsns, lsn, self._first)
