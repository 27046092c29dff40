"""Streams that are written as Azure ML's Model Data Collector writes them, instead of as CSV: which, and what it calls them.

A stream has one output, so that one cursor says what of it has landed. Azure ML keeps an hour to a folder; that is why the
choice is made where a batch gets its period, at the door, and stays with it: rows that were acknowledged under the boundary
of a day land as CSV, also where their stream is chosen afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from collectord.model import MINUTES_PER_HOUR, Partition, Stream
from collectord.patterns import StreamPatterns


class MdcOutput:
    """The streams that some patterns name. Immutable; from any thread."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """`patterns`: as `StreamPatterns` takes them. Raises ValueError."""
        self._chosen = StreamPatterns(patterns)

    def __bool__(self) -> bool:
        """Whether any stream may be chosen."""
        return bool(self._chosen)

    def takes(self, stream: Stream) -> bool:
        """Whether the rows of a stream that come now are written so."""
        return stream in self._chosen

    def boundary(self, stream: Stream, boundary_minutes: int) -> int:
        """Minutes of the period of a stream's batches, where it is `boundary_minutes` for all others."""
        return MINUTES_PER_HOUR if self.takes(stream) else boundary_minutes

    def holds(self, stream: Stream, partition: Partition) -> bool:
        """Whether these rows of a stream are written so."""
        return partition.boundary_minutes == MINUTES_PER_HOUR and self.takes(stream)


def collection_of(stream: Stream) -> str:
    """What Azure ML calls the rows of a stream: its collection name if it has one, else its designation."""
    return stream.designation or "default" if stream.collection in ("", "default") else stream.collection
