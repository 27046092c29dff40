"""Everything that can still be read, for people and scripts: batches of the log, and of what stands in quarantine.

One pass, batch by batch; rows are never looked at here. What a batch means as text is the caller's business: the encoder
belongs to another room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from collectord.model import EntryKind, Lsn, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.loose import Loose, loose_entries, loose_files
from collectord.wal.reader import LogReader
from collectord.wal.survey import survey

_READ_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Exported:
    """One batch. The payload is valid until the next one is taken."""

    stored: Stored
    schema: bytes | None
    """The raw schema; None if no declaration of it survives."""
    payload: memoryview
    source: str
    """`log`, or the name of the file in quarantine. Of the latter nothing says whether it was acknowledged, or has landed."""


Progress = Callable[[int], object]
"""Told how many bytes of entries have been looked at since the last call."""


def batches_of_spool(log: Path, quarantine: Path, progress: Progress = lambda _: None) -> Iterator[Exported]:
    """Batches of the log in order, then those that only quarantine still has. Read only.

    Raises FormatTooNew, and OSError where a directory cannot be read.
    """
    walk = survey(list(log.iterdir()), None, live=True).walk
    loose = loose_files(quarantine)
    # Positions that were handed out; needed only to leave out what quarantine holds a second time.
    seen: set[tuple[Lsn, bytes, int]] = set()
    catalog = Catalog([one for one in walk.segments if one.path not in walk.vanished], walk.end)
    reader = LogReader(catalog, Lsn(0))
    page = bytearray(1 << 20)
    schemas = {schema_id: raw for segment in walk.segments for schema_id, raw in segment.schemas.items()}
    try:
        while entries := reader.read(_READ_ENTRIES):
            for stored in entries:
                progress(stored.end - stored.lsn)
                if stored.kind is not EntryKind.BATCH:
                    continue
                try:
                    payload = reader.read_payload(stored, page)
                except DamagedEntry:
                    # Retired by a running daemon since the survey: it has landed.
                    continue
                if loose:
                    seen.add((stored.lsn, stored.client, stored.sequence))
                yield Exported(stored, schemas.get(stored.schema_id), payload, "log")
    finally:
        catalog.close()
    for path in loose:
        yield from _batches(path, schemas, seen, progress)


def batches_of_file(path: Path, progress: Progress = lambda _: None) -> Iterator[Exported]:
    """Batches of one segment or one file from quarantine, by what its entries prove. Raises OSError."""
    yield from _batches(path, {}, set(), progress)


def bytes_of(log: Path, quarantine: Path) -> int:
    """Roughly how many bytes there are to look at."""
    return sum(path.stat().st_size for path in [*log.glob("*.seg"), *loose_files(quarantine)])


def _batches(
    path: Path, schemas: dict[bytes, bytes], seen: set[tuple[Lsn, bytes, int]], progress: Progress
) -> Iterator[Exported]:
    for one in loose_entries(path):
        progress(len(one.raw))
        stored = one.stored
        if stored.kind is EntryKind.DECLARE:
            schemas.setdefault(stored.schema_id, _declared(one))
        if stored.kind is not EntryKind.BATCH or (stored.lsn, stored.client, stored.sequence) in seen:
            continue
        seen.add((stored.lsn, stored.client, stored.sequence))
        yield Exported(stored, schemas.get(stored.schema_id), one.payload, path.name)


def _declared(one: Loose) -> bytes:
    return one.declared or b""
