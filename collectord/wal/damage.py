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
    """Base of the segment it lies in, or of the one before a missing segment, or behind it if it was the first; or of the parked file."""
    from_lsn: Lsn
    to_lsn: Lsn
    reason: str
    """One of:

    header: a segment's header, and what stood between it and the first entry that proves itself.
    entry, payload: an entry's header, or only its payload.
    truncated: the end of a file is missing.
    missing segment: positions that were in use, and no file.
    declaration: of a schema, in a parked file; its entries can be used where another declaration survives.
    unknown end: behind the last entry of a segment, where nothing says any more whether that was the last.
    """
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
    """One of:

    foreign: no header, and no entry that proves itself. other spool: a header of another spool.
    duplicate: another file has the same base. overlap: it claims positions of the segment before it.
    empty: of no bytes. unreadable: the disk does not open it. no file: a directory, or a link to nothing.
    name: no header, and a name that says no base.
    """
