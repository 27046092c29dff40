"""Streams that are written as Azure ML's Model Data Collector writes them, instead of as CSV: which, and what it calls them.

A stream has one output, so that one cursor says what of it has landed. Azure ML keeps an hour to a folder; that is why the
choice is made where a batch gets its period, at the door, and stays with it: rows that were acknowledged under the boundary
of a day land as CSV, also where their stream is chosen afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from collectord.model import MINUTES_PER_HOUR, Partition, Stream


class MdcOutput:
    """The streams that some patterns name. Immutable; from any thread."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """`patterns`: `webservice/model/designation`, where `*`, `?` and `[…]` stand for what they do in a shell, but for no
        slash. Raises ValueError if one has not three parts."""
        self._patterns = [_parts(pattern) for pattern in patterns]
        self._chosen = lru_cache(4096)(self._matches)

    def __bool__(self) -> bool:
        """Whether any stream may be chosen."""
        return bool(self._patterns)

    def takes(self, stream: Stream) -> bool:
        """Whether the rows of a stream that come now are written so."""
        return bool(self._patterns) and self._chosen(stream)

    def boundary(self, stream: Stream, boundary_minutes: int) -> int:
        """Minutes of the period of a stream's batches, where it is `boundary_minutes` for all others."""
        return MINUTES_PER_HOUR if self.takes(stream) else boundary_minutes

    def holds(self, stream: Stream, partition: Partition) -> bool:
        """Whether these rows of a stream are written so."""
        return partition.boundary_minutes == MINUTES_PER_HOUR and self.takes(stream)

    def _matches(self, stream: Stream) -> bool:
        parts = (stream.webservice, stream.model, stream.designation)
        named = [(part or "default").replace("%", "%25").replace("/", "%2F") for part in parts]
        return any(all(map(fnmatchcase, named, pattern)) for pattern in self._patterns)


def collection_of(stream: Stream) -> str:
    """What Azure ML calls the rows of a stream: its collection name if it has one, else its designation."""
    return stream.designation or "default" if stream.collection in ("", "default") else stream.collection


def _parts(pattern: str) -> list[str]:
    parts = pattern.split("/")
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{pattern!r} is not webservice/model/designation; */*/* names all streams")
    return parts
