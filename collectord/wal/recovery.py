"""From a directory as a crash left it to a log that can be read and written again.

Promises: what was acknowledged is either readable afterwards or reported as damage, with a copy in quarantine; what was
reported as failed stays void once a later segment says so; damaged content never raises. Nothing is changed before every
header has been looked at, so a spool of a later version is left as it is. One thread, before the writer starts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectord import files
from collectord.errors import SpoolUnusable
from collectord.model import EntryKind, Lsn
from collectord.wal.counts import UNKNOWN_STREAM, Tally
from collectord.wal.damage import Damage, Loss, SetAside
from collectord.wal.disk import NO_SPACE, Disk, Window, read_into, write_all
from collectord.wal.framing import Head
from collectord.wal.quarantine import Quarantine
from collectord.wal.scan import Extent, Scan, first_entry_without_header, scan
from collectord.wal.segment import (
    HEADER_ALIGNMENT,
    SEGMENT_SUFFIX,
    SPARE_SUFFIX,
    UNFINISHED_SUFFIX,
    Segment,
    SegmentHeader,
    align,
    base_of,
    read_header,
)

_WINDOW_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the log holds at a start."""

    segments: tuple[Segment, ...]
    """Oldest first, all sealed."""
    end: Lsn
    """Where the last entry ends that counts; the first segment of this run names it."""
    next_base: Lsn
    """Base of the first segment of this run: exceeds every LSN in the log and the floor."""
    counts: Tally
    damages: tuple[Damage, ...]
    losses: tuple[Loss, ...]
    """What `damages` means in rows per stream. Complete but for the newest segment, of which it holds what is known."""
    set_aside: tuple[SetAside, ...]
    spares: tuple[Path, ...]
    entries: int
    """Entries that can be read, declarations included."""

    @property
    def schemas(self) -> dict[bytes, bytes]:
        """Raw schemas by id, of all segments."""
        return {key: raw for segment in self.segments for key, raw in segment.schemas.items()}


@dataclass(slots=True)
class _File:
    """A segment's file while it is judged."""

    path: Path
    base: Lsn
    size: int
    header: SegmentHeader | None
    first: Lsn
    marker: bytes

    @property
    def capacity(self) -> int:
        return self.header.capacity if self.header else align(self.size, HEADER_ALIGNMENT)


def recover(
    directory: Path, spool_id: bytes, floor: int = 0, *, disk: Disk | None = None, quarantine: Path | None = None
) -> Recovered:
    """Reads the whole log in `directory` (SPOOL/log, made if absent), which belongs to the spool `spool_id`.

    `floor` is the highest LSN known elsewhere (the ledger's). Raises FormatTooNew, before anything is changed, and
    SpoolUnusable if the directory or the disk does not let itself be read and synced.
    """
    disk = disk or Disk()
    store = Quarantine(quarantine or directory.parent / "quarantine" / "log")
    try:
        files.make_private_directory(directory)
        return _recover(directory, spool_id, floor, disk, store)
    except OSError as error:
        raise SpoolUnusable(f"the log in {directory} cannot be recovered: {error}") from error


def _recover(directory: Path, spool_id: bytes, floor: int, disk: Disk, store: Quarantine) -> Recovered:
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    candidates = [path for path in paths if path.suffix == SEGMENT_SUFFIX]
    headers = {path: _read_header(path) for path in candidates}
    judged, refused = _judge(candidates, headers, spool_id)
    walk = _Walk(judged)
    walk.run()
    damages = tuple(store.copy(damage, walk.path_of(damage)) for damage in walk.damages)
    if judged:
        _make_tail_durable(judged[-1], walk.scans[-1], disk)
    set_aside = tuple(SetAside(store.move(path), reason) for path, reason in refused)
    for path in paths:
        if path.suffix == UNFINISHED_SUFFIX:
            disk.remove(path)
    highest = max([floor + 1, *(file.base + file.capacity for file in judged), *_named(refused)])
    end = walk.end if judged else Lsn(0)
    return Recovered(
        segments=walk.segments,
        end=end,
        next_base=Lsn(align(max(highest, end + 1), HEADER_ALIGNMENT)),
        counts=walk.counts,
        damages=damages,
        losses=tuple(walk.losses),
        set_aside=set_aside,
        spares=tuple(path for path in paths if path.suffix == SPARE_SUFFIX),
        entries=sum(found.entries for found in walk.scans),
    )


def _named(refused: Sequence[tuple[Path, str]]) -> list[int]:
    """Bases of files of ours that were set aside: their positions were in use once."""
    return [base + HEADER_ALIGNMENT for path, reason in refused if reason == "empty" and (base := base_of(path))]


def _read_header(path: Path) -> tuple[SegmentHeader, int] | None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_header(fd)
    finally:
        os.close(fd)


def _judge(
    paths: Sequence[Path], headers: dict[Path, tuple[SegmentHeader, int] | None], spool_id: bytes
) -> tuple[list[_File], list[tuple[Path, str]]]:
    """Sorts files into segments of this log, by base, and files to be set aside."""
    kept: dict[Lsn, _File] = {}
    refused: list[tuple[Path, str]] = []
    # A file under its own name goes first, so that of two files with one base the copy is the one set aside.
    for path in sorted(paths, key=lambda path: (_misnamed(path, headers[path]), path)):
        read, size = headers[path], path.stat().st_size
        if read is None:
            found = _adopt(path, size)
            if isinstance(found, str):
                refused.append((path, found))
                continue
        else:
            header, length = read
            if header.spool_id != spool_id:
                refused.append((path, "foreign"))
                continue
            found = _File(path, header.base, size, header, Lsn(header.base + length), header.id[:8])
        if found.base in kept:
            refused.append((path, "duplicate"))
        else:
            kept[found.base] = found
    return [kept[base] for base in sorted(kept)], refused


def _misnamed(path: Path, read: tuple[SegmentHeader, int] | None) -> bool:
    return read is not None and base_of(path) != read[0].base


def _adopt(path: Path, size: int) -> _File | str:
    """A file without a valid header: ours if its entries prove it, else the reason for setting it aside."""
    base = base_of(path)
    if base is None:
        return "name"
    if size == 0:
        return "empty"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        proof = first_entry_without_header(Window(fd, _WINDOW_BYTES), base, size)
    finally:
        os.close(fd)
    return _File(path, base, size, None, *proof) if proof else "foreign"


class _Walk:
    """Scans the segments in order and keeps the books."""

    def __init__(self, judged: Sequence[_File]) -> None:
        self._files = judged
        self.segments: tuple[Segment, ...] = ()
        self.scans: list[Scan] = []
        self.damages: list[Damage] = []
        self.losses: list[Loss] = []
        self.counts = Tally()
        self.end = Lsn(0)
        self._keys: dict[bytes, str] = {}
        self._raws: dict[bytes, bytes] = {}

    def path_of(self, damage: Damage) -> tuple[Path, Lsn] | None:
        """File and base of the segment that a damage lies in, None if there is nothing to copy."""
        if damage.reason in ("missing segment", "truncated"):
            return None
        return next((file.path, file.base) for file in self._files if file.base == damage.segment)

    def run(self) -> None:
        limits = self._limits()
        segments: list[Segment] = []
        since, since_base = Tally(), Lsn(0)
        reliable, last_header = False, 0
        for index, file in enumerate(self._files):
            if file.header is not None:
                if reliable:
                    self._settle_books(since_base, file.header.counts, since)
                else:
                    self._tell_known(0, index)
                reliable, since_base, last_header = True, file.base, index
                # What is found from here on is added to what this header says.
                since = Tally()
                since.merge(file.header.counts)
            limit = limits[index]
            segment, found, tally = self._scan(file, limit)
            since.merge(tally)
            segments.append(segment)
            self.scans.append(found)
            if segment.end is not None and segment.end > segment.base:
                self.end = segment.end
            self._note_missing(file, limit, found)
        self.segments = tuple(segments)
        self.counts = since
        self._tell_known(last_header, len(self._files))

    def _tell_known(self, begin: int, end: int) -> None:
        """Losses of segments that no two headers enclose: what the damaged entries themselves still say."""
        for file, found in zip(self._files[begin:end], self.scans[begin:end], strict=True):
            known = Tally()
            for damage in found.damages:
                if damage.stored is not None and damage.stored.kind is EntryKind.BATCH:
                    key = self._keys.get(damage.stored.schema_id, UNKNOWN_STREAM)
                    known.add(EntryKind.BATCH, key, damage.stored.rows, b"")
            self.losses += [Loss(file.base, key, known.rows(key)) for key in known]

    def _limits(self) -> list[Lsn | None]:
        """Per segment where later ones say that the log before them ends; None if none says so."""
        limits: list[Lsn | None] = []
        lowest: Lsn | None = None
        for file in reversed(self._files):
            limits.append(lowest)
            if file.header is not None:
                lowest = file.header.previous_end if lowest is None else min(lowest, file.header.previous_end)
        limits.reverse()
        return limits

    def _scan(self, file: _File, limit: Lsn | None) -> tuple[Segment, Scan, Tally]:
        on_disk = Lsn(file.base + file.size)
        # A limit beyond the file's capacity belongs to a missing segment: this one's end is then not known.
        stated = limit if limit is not None and limit <= file.base + file.capacity else None
        stop = min(on_disk, stated) if stated is not None else on_disk
        extent = Extent(file.base, file.first, file.marker, Lsn(max(stop, file.first)), stated or Lsn(0))
        segment = Segment(file.path, file.base, file.first, file.capacity, file.marker, size=file.size)
        tally = Tally()

        def visit(head: Head, payload: memoryview | None) -> None:
            stored = head.stored
            if payload is None:
                # Only the newest segment's books need it: of older ones the next header tells.
                if limit is None:
                    tally.add(stored.kind, self._keys.get(stored.schema_id, UNKNOWN_STREAM), stored.rows, b"damaged")
            elif stored.kind is EntryKind.DECLARE:
                self._declare(segment, stored.schema_id, bytes(payload), stored.sequence)
            else:
                key = self._keys.get(stored.schema_id, UNKNOWN_STREAM)
                tally.add(stored.kind, key, stored.rows, payload if stored.kind is EntryKind.REJECT else b"")

        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if stated is not None and stated <= file.first:
                found = Scan(end=file.first, durable=stated)
            else:
                found = scan(Window(fd, _WINDOW_BYTES), extent, visit)
        finally:
            os.close(fd)
        if stated is not None and stated > on_disk:
            found.damages.append(Damage(file.base, max(on_disk, found.end), stated, "truncated"))
            found.end = stated
        segment.gaps = tuple((damage.from_lsn, damage.to_lsn) for damage in found.damages)
        segment.recyclable = not found.damages and file.header is not None
        segment.end = found.end if found.end > file.first else file.base
        self.damages += found.damages
        return segment, found, tally

    def _declare(self, segment: Segment, schema_id: bytes, payload: bytes, raw_bytes: int) -> None:
        raw = payload[:raw_bytes]
        if hashlib.sha256(raw).digest()[:16] != schema_id:
            return
        segment.schemas[schema_id] = self._raws.setdefault(schema_id, raw)
        self._keys[schema_id] = payload[raw_bytes:].decode("utf-8", "replace")

    def _note_missing(self, file: _File, limit: Lsn | None, found: Scan) -> None:
        following = next((other for other in self._files if other.base > file.base), None)
        if following is None or following.header is None:
            return
        begin, to = Lsn(file.base + file.capacity), following.header.previous_end
        if to > begin:
            self.damages.append(Damage(file.base, begin, to, "missing segment"))

    def _settle_books(self, base: Lsn, stated: Tally, found: Tally) -> None:
        """Rows that a later header counts and that the entries up to it do not show are lost."""
        for key in stated:
            rows = stated.rows(key) - found.rows(key)
            if rows > 0:
                self.losses.append(Loss(base, key, rows))


def _make_tail_durable(file: _File, found: Scan, disk: Disk) -> None:
    """Writes the last group once more and syncs it.

    After a failed sync, or a kill before it, the page cache may show what the disk does not hold; marks are rebuilt and
    answered from these entries, so they must be on disk before anybody hears of them.
    """
    fd = disk.open(file.path)
    try:
        begin = max(file.first, found.durable)
        if found.end > begin:
            buffer = memoryview(bytearray(found.end - begin))
            read_into(fd, buffer, begin - file.base)
            try:
                write_all(disk, fd, [buffer], begin - file.base)
            except OSError as error:
                # A copy-on-write file system may have no room even for that; the sync below still tells.
                if error.errno not in NO_SPACE:
                    raise
        disk.sync(fd)
    finally:
        disk.close(fd)
