"""Which segments are free, and which of their files are worth keeping. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectord.model import Lsn
from collectord.wal.segment import Segment

MAX_SPARES = 2


@dataclass(frozen=True, slots=True)
class Disposal:
    """What becomes of the files of free segments."""

    recycle: tuple[Segment, ...]
    unlink: tuple[Segment, ...]


def free(segments: Sequence[Segment], before: Lsn) -> list[Segment]:
    """Of `segments`, oldest first, those that end at or before `before`, or have no entries.

    Never the newest, written to or not: its header and entries carry the cumulative counts, and its name how far positions
    have come.
    """
    return [s for s in segments[:-1] if s.end is not None and (s.end <= before or s.end <= s.base)]


def dispose(freed: Sequence[Segment], spares: int, segment_bytes: int, used: int, budget: int) -> Disposal:
    """Sorts free segments into files to keep as spares and files to unlink.

    A file is kept if it has the usual size and never failed, while there are fewer than MAX_SPARES and the budget holds
    with it. `used` counts the bytes of all files, the freed ones included.
    """
    recycle: list[Segment] = []
    unlink: list[Segment] = []
    for segment in freed:
        usual = segment.recyclable and segment.size == segment.capacity == segment_bytes
        if usual and spares + len(recycle) < MAX_SPARES and used <= budget:
            recycle.append(segment)
        else:
            unlink.append(segment)
            used -= segment.size
    return Disposal(tuple(recycle), tuple(unlink))
