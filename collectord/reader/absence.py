"""Why an id may be nowhere: rows that a daemon's books know and that never landed, stream by stream, of any id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import takewhile
from typing import Any

from collectord.books import StreamBooks
from collectord.model import MINUTES_PER_DAY, MINUTES_PER_HOUR, Partition, stream_of_key
from collectord.upload.naming import Layout

_UNLIKE = tuple(
    tuple(
        Partition.of(b"", int(moment.timestamp()) * 1_000_000_000, minutes)
        for moment in (datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(2222, 12, 22, 22, tzinfo=timezone.utc))
    )
    for minutes in (MINUTES_PER_HOUR, MINUTES_PER_DAY)
)
"""Two hours, and two days, whose year, month, day and hour all begin with another digit."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Rows of a stream that never landed and are held nowhere."""

    stream: str
    rejected: dict[str, int]
    """Refused for good, by reason."""
    dropped_by_clients: dict[str, int]
    """Given up before they were sent, by reason."""
    lost: int
    """Acknowledged, and cannot be read back."""
    expired: int
    dropped_from_quarantine: int

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any((self.rejected, self.dropped_by_clients, self.lost, self.expired, self.dropped_from_quarantine))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """For people."""
        return f"{self.stream or '(stream unknown)'}: {'; '.join(self._parts())}"

    def _parts(self) -> Iterator[str]:
        for what, counts in (("rejected", self.rejected), ("dropped by clients", self.dropped_by_clients)):
            if counts:
                yield f"{what} {', '.join(f'{rows:,} ({reason})' for reason, rows in sorted(counts.items()))}"
        for what, rows in (
            ("lost", self.lost), ("expired", self.expired), ("dropped from quarantine", self.dropped_from_quarantine)
        ):  # fmt: skip
            if rows:
                yield f"{what} {rows:,}"


def absences(books: Iterable[StreamBooks], held: Mapping[str, int], layout: Layout, prefix: str) -> list[Absence]:
    """One for each stream whose blobs' names may begin with `prefix`, also where nothing is absent.

    `held`: rows in the quarantine by stream. The books count them together with those that are lost.
    """
    return [
        Absence(
            one.stream, dict(one.rejected), dict(one.dropped_by_clients),
            max(0, one.quarantined - held.get(one.stream, 0)), one.expired, one.dropped_from_quarantine,
        )
        for one in books
        if _may_begin(layout, one.stream, prefix)
    ]  # fmt: skip


def _may_begin(layout: Layout, stream: str, prefix: str) -> bool:
    """Whether the blobs of a stream, of any day, may have names that begin so. Of rows whose stream nobody could tell, such as those
    of a refused schema, anything may be."""
    if not stream:
        return True
    for periods in _UNLIKE:
        one, other = (layout.base(stream_of_key(stream), period) for period in periods)
        same = "".join(left for left, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        if same.startswith(prefix) or prefix.startswith(same):
            return True
    return False
