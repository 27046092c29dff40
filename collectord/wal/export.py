"""Everything that can still be read, for people and scripts: batches of the log, parked ones, and what of the log stands in
quarantine. Rows that the daemon itself has set aside are not the log's: `collectord quarantine` shows those.

One pass, batch by batch; rows are never looked at here. What a batch means as text is the caller's business: the encoder
belongs to another room.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectord.model import EntryKind, Lsn, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.loose import Loose, loose_entries, loose_files
from collectord.wal.parkedfile import parked_batches, parked_paths
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
    """`log`, or the name of the parked file or of that in quarantine. Of the latter nothing says whether it was acknowledged,
    or has landed."""


Progress = Callable[[int], object]
"""Told how many bytes of entries have been looked at since the last call."""


def batches_of_spool(log: Path, quarantine: Path, progress: Progress = lambda _: None) -> Iterator[Exported]:
    """Batches of the log in order, then those that only parked files, or only quarantine still has. Read only.

    Raises FormatTooNew, and OSError where a directory cannot be read.
    """
    walk = survey(list(log.iterdir()), None, live=True).walk
    parked = _parked_files(log)
    loose = loose_files(quarantine)
    # What was handed out, as far as another file may hold it a second time: of a long log that must stay little.
    seen: set[tuple[Lsn, bytes, int]] = set()
    spans = _spans(parked, loose)
    catalog = Catalog([one for one in walk.segments if one.path not in walk.vanished], walk.end)
    reader = LogReader(catalog, Lsn(0))
    page = bytearray(1 << 20)
    schemas = dict(_schemas(catalog))
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
                if _within(spans, stored.lsn):
                    seen.add((stored.lsn, stored.client, stored.sequence))
                yield Exported(stored, schemas.get(stored.schema_id), payload, "log")
    finally:
        catalog.close()
    for path in parked:
        try:
            for stored, raw, whole in parked_batches(path):
                progress(len(whole))
                key = (stored.lsn, stored.client, stored.sequence)
                if key not in seen:
                    seen.add(key)
                    schema = raw if raw is not None else schemas.get(stored.schema_id)
                    yield Exported(stored, schema, memoryview(whole), path.name)
        except FileNotFoundError:
            # Discarded by a running daemon meanwhile: it has landed.
            continue
    for path in loose:
        yield from _batches(path, schemas, seen, progress)


def batches_of_file(path: Path, progress: Progress = lambda _: None) -> Iterator[Exported]:
    """Batches of one segment or one file from quarantine, by what its entries prove. Raises OSError."""
    yield from _batches(path, {}, set(), progress)


def bytes_of(log: Path, quarantine: Path) -> int:
    """Roughly how many bytes there are to look at."""
    return sum(path.stat().st_size for path in [*log.glob("*.seg"), *_parked_files(log), *loose_files(quarantine)])


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


def _schemas(catalog: Catalog) -> Iterator[tuple[bytes, bytes]]:
    for schema_id in {one for segment in catalog.segments() for one in segment.schemas}:
        try:
            yield schema_id, catalog.schema(schema_id)
        except DamagedEntry:
            # Its segments were retired by a running daemon since the survey.
            continue


def _declared(one: Loose) -> bytes:
    return one.declared or b""


def _parked_files(log: Path) -> list[Path]:
    return parked_paths(log.parent / "parked")


def _spans(parked: Sequence[Path], loose: Sequence[Path]) -> list[tuple[int, int]]:
    """Positions that these files may hold, in order and apart."""
    spans: list[tuple[int, int]] = []
    for path in parked:
        try:
            found = [stored.lsn for stored, _, _ in parked_batches(path)]
        except FileNotFoundError:
            continue
        spans += [(min(found), max(found) + 1)] if found else []
    for path in loose:
        # Copied as they stood: no position of such a file is further from its first than it is long.
        first = next((one.stored.lsn for one in loose_entries(path)), None)
        spans += [(first, first + path.stat().st_size)] if first is not None else []
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            begin, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((begin, end))
    return merged


def _within(spans: Sequence[tuple[int, int]], lsn: int) -> bool:
    at = bisect_right(spans, (lsn, 1 << 64)) - 1
    return at >= 0 and lsn < spans[at][1]
