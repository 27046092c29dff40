"""How many rows ever came in, per stream: carried from segment to segment, so that deleting segments forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from collectord.model import EntryKind
from collectord.wal.framing import Buffer

UNKNOWN_STREAM = ""
"""Key of what names no schema: rejects of an unknown schema, and drops reported by clients."""


@dataclass(slots=True)
class StreamCounts:
    """Cumulative counts of one stream since the spool was made."""

    rows: int = 0
    """Rows of accepted batches."""
    batches: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Rows by reason."""
    dropped: int = 0
    """Rows that clients reported as dropped before sending."""

    def copy(self) -> StreamCounts:
        return StreamCounts(self.rows, self.batches, dict(self.rejected), self.dropped)


class Tally:
    """Counts by stream key. Not thread-safe."""

    __slots__ = ("_streams",)

    def __init__(self, streams: dict[str, StreamCounts] | None = None) -> None:
        self._streams = streams if streams is not None else {}

    def add(self, kind: EntryKind, key: str, rows: int, reason: Buffer) -> None:
        """Counts one entry; `reason` is the payload and looked at for a REJECT only."""
        if kind is EntryKind.DECLARE:
            return
        counts = self._streams.get(key)
        if counts is None:
            counts = self._streams[key] = StreamCounts()
        if kind is EntryKind.BATCH:
            counts.rows += rows
            counts.batches += 1
        elif kind is EntryKind.REJECT:
            text = bytes(reason).decode("utf-8", "replace")
            counts.rejected[text] = counts.rejected.get(text, 0) + rows
        else:
            counts.dropped += rows

    def merge(self, other: Tally) -> None:
        """Adds all of another tally."""
        for key, theirs in other._streams.items():
            ours = self._streams.setdefault(key, StreamCounts())
            ours.rows += theirs.rows
            ours.batches += theirs.batches
            ours.dropped += theirs.dropped
            for reason, rows in theirs.rejected.items():
                ours.rejected[reason] = ours.rejected.get(reason, 0) + rows

    def rows(self, key: str) -> int:
        """Rows of accepted batches of one stream."""
        counts = self._streams.get(key)
        return counts.rows if counts else 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def snapshot(self) -> dict[str, StreamCounts]:
        """A copy that the caller owns."""
        return {key: counts.copy() for key, counts in self._streams.items()}

    def to_json(self) -> dict[str, Any]:
        """As a segment's header carries it: `{key: [rows, batches, dropped, {reason: rows}]}`."""
        return {
            key: [counts.rows, counts.batches, counts.dropped, counts.rejected]
            for key, counts in sorted(self._streams.items())
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Tally:
        return Tally(
            {
                key: StreamCounts(rows, batches, dict(rejected), dropped)
                for key, (rows, batches, dropped, rejected) in value.items()
            }
        )
