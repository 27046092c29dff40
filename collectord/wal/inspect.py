"""What lies in a log's directory, for `collectord wal ls`: read only, also beside a running daemon."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn
from collectord.wal.damage import Damage
from collectord.wal.disk import Window
from collectord.wal.framing import Head
from collectord.wal.scan import Extent, scan
from collectord.wal.segment import SEGMENT_SUFFIX, SegmentHeader, read_header

_WINDOW_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One file of the log."""

    path: Path
    base: Lsn
    end: Lsn
    """Where its last entry ends that counts; `base` if it has none."""
    file_bytes: int
    """The size of the file."""
    entries: int
    batches: int
    rows: int
    created: datetime
    modified: datetime
    """UTC."""
    schemas: tuple[bytes, ...]
    damages: tuple[Damage, ...]
    problem: str = ""
    """Why the file could not be read as a segment; empty if it could."""


def list_segments(directory: Path) -> list[SegmentInfo]:
    """Every segment file, oldest first, all checksums verified. Files that vanish meanwhile are left out.

    Entries that later segments declare void are not counted. Raises OSError if the directory cannot be read.
    """
    infos: list[SegmentInfo] = []
    lowest: Lsn | None = None
    for path in sorted((p for p in directory.iterdir() if p.suffix == SEGMENT_SUFFIX), reverse=True):
        try:
            info, header = _inspect(path, lowest)
        except FileNotFoundError:
            # Retired since the directory was listed.
            continue
        infos.append(info)
        if header is not None:
            lowest = header.previous_end if lowest is None else min(lowest, header.previous_end)
    infos.reverse()
    return infos


def _inspect(path: Path, limit: Lsn | None) -> tuple[SegmentInfo, SegmentHeader | None]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        try:
            read, problem = read_header(fd), "no valid header"
        except FormatTooNew as error:
            read, problem = None, str(error)
        if read is None:
            zero = Lsn(0)
            return SegmentInfo(path, zero, zero, status.st_size, 0, 0, 0, modified, modified, (), (), problem), None
        header, length = read
        stated = limit if limit is not None and limit <= header.base + header.capacity else None
        stop = min(header.base + status.st_size, stated if stated is not None else 1 << 63)
        first = Lsn(header.base + length)
        extent = Extent(header.base, first, header.marker, Lsn(max(first, stop)), stated or Lsn(0))
        batches = rows = 0
        schemas: list[bytes] = []

        def visit(head: Head, payload: memoryview | None) -> None:
            nonlocal batches, rows
            stored = head.stored
            if stored.kind is EntryKind.BATCH and payload is not None:
                batches += 1
                rows += stored.rows
            elif stored.kind is EntryKind.DECLARE:
                schemas.append(stored.schema_id)

        found = scan(Window(fd, _WINDOW_BYTES), extent, visit)
    finally:
        os.close(fd)
    info = SegmentInfo(
        path=path,
        base=header.base,
        end=found.end if found.end > first else header.base,
        file_bytes=status.st_size,
        entries=found.entries,
        batches=batches,
        rows=rows,
        created=datetime.fromtimestamp(header.created_ns / 1e9, timezone.utc),
        modified=modified,
        schemas=tuple(schemas),
        damages=tuple(found.damages),
    )
    return info, header
