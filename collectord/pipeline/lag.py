"""How far an exporter may lie behind the log, in bytes and in hours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectord.model import Lsn
from collectord.upload.exported import Mark
from collectord.wal.segment import Segment

SHARE = 0.4
"""Of what the log may use: the most that it keeps for exporters alone. Below the low-water mark of parking, so that what it
keeps for them moves nobody's rows."""
MARKS = 64
"""So many per maximum lag: its accuracy."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings."""

    seconds: float
    bytes: int

    def bytes_of(self, budget: int) -> int:
        """The most bytes, of a log that may use `budget`."""
        return min(self.bytes, int(SHARE * budget))


def marked(marks: Sequence[Mark], durable: Lsn, wall_ns: int, position: Lsn, limits: Limits) -> tuple[Mark, ...]:
    """The marks with a further one where it is due; those that `position` has passed are not needed any more."""
    kept = tuple(one for one in marks if one.lsn > position)
    if durable <= position:
        return ()
    newest = kept[-1] if kept else None
    due = newest is None or wall_ns - newest.wall_ns >= limits.seconds * 1e9 / MARKS
    if due and (newest is None or durable > newest.lsn):
        kept += (Mark(durable, wall_ns),)
    return kept


def shifted(marks: Sequence[Mark], ns: int) -> tuple[Mark, ...]:
    """The marks after the clock was set: what has waited an hour has waited an hour by the other clock, too."""
    return tuple(Mark(one.lsn, one.wall_ns + ns) for one in marks)


def too_old(marks: Sequence[Mark], wall_ns: int, limits: Limits) -> Lsn:
    """What lies before this was received too long ago; 0: nothing was."""
    old = [one.lsn for one in marks if wall_ns - one.wall_ns > limits.seconds * 1e9]
    return max(old, default=Lsn(0))


def oldest_seconds(marks: Sequence[Mark], wall_ns: int) -> float:
    """For how long the oldest event that is not settled has waited, at least."""
    return max(0.0, (wall_ns - marks[0].wall_ns) / 1e9) if marks else 0.0


def held_bytes(segments: Sequence[Segment], position: Lsn, durable: Lsn) -> int:
    """Bytes of the log at and behind `position`."""
    return sum(
        max(0, min(durable if one.end is None else one.end, durable) - max(one.base, position)) for one in segments
    )


def floor_of(segments: Sequence[Segment], durable: Lsn, most: int) -> Lsn:
    """From where on the log holds at most so many bytes; 0: it does not hold more."""
    for one in reversed(segments):
        end = min(durable if one.end is None else one.end, durable)
        size = max(0, end - one.base)
        if size > most:
            return Lsn(end - most)
        most -= size
    return Lsn(0)
