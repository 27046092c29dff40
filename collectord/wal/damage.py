"""What cannot be read, as values; and the exception for a single entry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collectord.errors import NeverAgain
from collectord.model import Lsn, Stored


class DamagedEntry(NeverAgain):
    """An entry's bytes are no longer what was written, or its segment is gone."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A range of the log that was durable and cannot be read."""

    segment: Lsn
    """Base of the segment it lies in, or of the one before a missing segment."""
    from_lsn: Lsn
    to_lsn: Lsn
    reason: str
    """One of: entry, payload, truncated, missing segment, unreadable segment."""
    stored: Stored | None = None
    """The entry, where its header survived: rows, client and sequence are then known."""
    copy: Path | None = None
    """Where recovery put a copy of the bytes; None if there is nothing to copy or no room for it."""

    @property
    def rows(self) -> int | None:
        """Rows lost, where known."""
        return self.stored.rows if self.stored else None


@dataclass(frozen=True, slots=True)
class Loss:
    """Rows of a stream that the log once counted as received and no longer holds: exact, from the headers' counts."""

    segment: Lsn
    """Base of the segment they were in; reported again at each start until that segment is retired."""
    stream: str
    rows: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is not part of this log and was moved into quarantine."""

    path: Path
    """Where it is now."""
    reason: str
    """One of: foreign, duplicate, empty, unreadable, name."""
