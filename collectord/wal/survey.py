"""What a log's directory holds, judged and walked through, nothing changed: the same for a start, `verify` and `repair`."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectord.model import EntryKind, Lsn, Place, Stored
from collectord.wal.counts import UNKNOWN_STREAM, Tally
from collectord.wal.damage import Damage, Loss
from collectord.wal.disk import Window
from collectord.wal.framing import Head
from collectord.wal.scan import Extent, Scan, first_entry, scan
from collectord.wal.segment import (
    HEADER_ALIGNMENT,
    HIGHEST_BASE,
    SEGMENT_BYTES,
    SEGMENT_SUFFIX,
    Declared,
    Segment,
    SegmentHeader,
    align,
    base_of,
    read_header,
)

_WINDOW_BYTES = 1 << 20
_BROKEN = frozenset({errno.EIO, errno.EUCLEAN, errno.ELOOP, errno.ENXIO})
"""What opening a file may fail with that nobody can mend by a permission or a limit: the file is set aside."""


@dataclass(slots=True)
class SegmentFile:
    """A segment's file while it is judged."""

    path: Path
    base: Lsn
    size: int
    header: SegmentHeader | None
    first: Lsn
    marker: bytes
    previous_end: Lsn | None
    """Where the log before it ends; None if neither its header nor an entry of its first group tells any more."""
    capacity: int


@dataclass(frozen=True, slots=True)
class Refused:
    """What bears a segment's suffix and is no segment of this log."""

    path: Path
    reason: str
    """See `SetAside.reason`."""
    size: int

    @property
    def reaches(self) -> int:
        """Where positions end that this file may once have used; 0 if its name is none of ours."""
        base = base_of(self.path)
        return base + max(HEADER_ALIGNMENT, self.size) if base and base < HIGHEST_BASE else 0


@dataclass(frozen=True, slots=True)
class Survey:
    """A directory's segments, what was found in them, and what does not belong there."""

    files: tuple[SegmentFile, ...]
    """By base."""
    refused: tuple[Refused, ...]
    walk: Walk
    spool_id: bytes
    """As given, or the one that most headers name; empty if there are none."""

    @property
    def highest(self) -> int:
        """No position at or above it was ever used by what is here."""
        reached = [file.base + max(file.capacity, 0 if file.header else SEGMENT_BYTES) for file in self.files]
        return max([0, *reached, *(one.reaches for one in self.refused if one.reason != "duplicate")])


def survey(
    paths: Sequence[Path], spool_id: bytes | None, *, live: bool = False, needed_from: Lsn | None = None
) -> Survey:
    """Looks at the segments among `paths`. Without a `spool_id`, the spool that most headers name is taken for ours.

    `live`: a daemon may retire segments meanwhile; those are left out of damages and losses, and named in `walk.vanished`.
    `needed_from`: where the first segment that has to be there may begin, as the ledger says; None if nobody knows.
    Raises FormatTooNew, and OSError if a file can be neither read nor called broken.
    """
    candidates = [path for path in sorted(paths) if path.suffix == SEGMENT_SUFFIX]
    files, refused, ours = _judge(candidates, spool_id)
    walk = Walk(files, [one.reaches for one in refused if one.reason in ("foreign", "unreadable")], live)
    walk.run()
    _miss_first(walk, files, needed_from)
    return Survey(tuple(files), tuple(refused), walk, ours)


def _miss_first(walk: Walk, files: Sequence[SegmentFile], needed_from: Lsn | None) -> None:
    """Segments before the first one that is there: no segment says that they ought to be, but the ledger does."""
    end = files[0].previous_end if files and files[0].path not in walk.vanished else None
    if needed_from is not None and end is not None and end > needed_from:
        walk.damages.insert(0, Damage(files[0].base, needed_from, end, "missing segment"))


def _judge(paths: Sequence[Path], spool_id: bytes | None) -> tuple[list[SegmentFile], list[Refused], bytes]:
    """Sorts files into segments of this log, by base, and files to be set aside."""
    refused: list[Refused] = []
    looked: list[tuple[Path, int, tuple[SegmentHeader, int] | None]] = []
    for path in paths:
        if not path.is_file():
            if os.path.lexists(path):
                refused.append(Refused(path, "no file", 0))
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _BROKEN:
                raise
            refused.append(Refused(path, "unreadable", path.stat().st_size))
            continue
        try:
            one = (path, os.fstat(fd).st_size, read_header(fd))
        finally:
            os.close(fd)
        # A file that is used again between opening and reading shows the header of another segment.
        if os.path.lexists(path):
            looked.append(one)
    ours = spool_id or _most_named(looked)
    kept: dict[Lsn, SegmentFile] = {}
    # A file under its own name goes first, so that of two files with one base the copy is the one set aside.
    for path, size, read in sorted(looked, key=lambda one: (_misnamed(one[0], one[2]), one[0])):
        if read is None:
            found = _adopt(path, size)
            if isinstance(found, str):
                refused.append(Refused(path, found, size))
                continue
        else:
            header, length = read
            if header.spool_id != ours:
                refused.append(Refused(path, "other spool", size))
                continue
            first = Lsn(header.base + length)
            found = SegmentFile(
                path, header.base, size, header, first, header.marker, header.previous_end, header.capacity
            )
        if found.base in kept:
            refused.append(Refused(path, "duplicate", size))
        else:
            kept[found.base] = found
    return _apart([kept[base] for base in sorted(kept)], refused), refused, ours


def _most_named(looked: Sequence[tuple[Path, int, tuple[SegmentHeader, int] | None]]) -> bytes:
    ids = [read[0].spool_id for _, _, read in looked if read is not None]
    return max(sorted(set(ids)), key=ids.count, default=b"")


def _misnamed(path: Path, read: tuple[SegmentHeader, int] | None) -> bool:
    return read is not None and base_of(path) != read[0].base


def _adopt(path: Path, size: int) -> SegmentFile | str:
    """A file without a valid header: ours if its entries prove it, else the reason for setting it aside."""
    base = base_of(path)
    if base is None:
        return "name"
    if size == 0:
        return "empty"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        proof = first_entry(Window(fd, _WINDOW_BYTES), base, size)
    finally:
        os.close(fd)
    if proof is None:
        return "foreign"
    first, marker, durable = proof
    # Entries of the first group name what was durable when the segment was begun: where the log before it ended.
    previous_end = durable if durable <= base else None
    return SegmentFile(path, base, size, None, first, marker, previous_end, align(size, HEADER_ALIGNMENT))


def _apart(files: list[SegmentFile], refused: list[Refused]) -> list[SegmentFile]:
    """Sets aside what claims positions of the file before it; where a header is lost, the next file bounds the positions."""
    kept: list[SegmentFile] = []
    for file in files:
        before = kept[-1] if kept else None
        if before is not None and before.header is None:
            # Lengthened or cut as it may be, its positions ended where the next segment began.
            before.capacity = file.base - before.base
        if before is not None and file.base < before.base + before.capacity:
            refused.append(Refused(file.path, "overlap", file.size))
        else:
            kept.append(file)
    return kept


class Walk:
    """Scans the segments in order and keeps the books."""

    def __init__(self, files: Sequence[SegmentFile], successors: Sequence[int], live: bool) -> None:
        """`successors`: ends of files that are no segments any more; one behind the last segment says that it was not the last."""
        self._files = files
        self._successors = successors
        self._live = live
        self.vanished: set[Path] = set()
        self.segments: tuple[Segment, ...] = ()
        self.scans: list[Scan] = []
        self.held: list[tuple[int, int]] = []
        """Batches and their rows that can be read, per segment."""
        self.damages: list[Damage] = []
        self.losses: list[Loss] = []
        self.counts = Tally()
        self.end = Lsn(0)
        self._keys: dict[bytes, str] = {}

    def path_of(self, damage: Damage) -> tuple[Path, Lsn] | None:
        """File and base of the segment that a damage lies in, None if there is nothing to copy."""
        if damage.reason in ("missing segment", "truncated"):
            return None
        return next((file.path, file.base) for file in self._files if file.base == damage.segment)

    def run(self) -> None:
        limits = self._limits()
        baselines = [self._baseline(index) for index in range(len(self._files))]
        last = max((index for index, counts in enumerate(baselines) if counts is not None), default=0)
        segments: list[Segment] = []
        since, since_base = Tally(), Lsn(0)
        reliable = False
        for index, file in enumerate(self._files):
            counts, limit = baselines[index], limits[index]
            if counts is not None:
                if reliable:
                    self._settle_books(since_base, counts, since)
                else:
                    self._tell_known(0, index)
                reliable, since_base = True, file.base
                # What is found from here on is added to what this header says.
                since = Tally()
                since.merge(counts)
            if file.previous_end is not None:
                self.end = max(self.end, min(file.previous_end, limit if limit is not None else file.previous_end))
            # Of entries before the last header that can be read, that header tells.
            segment, found, tally = self._scan(file, limit, index >= last)
            if self._live and not os.path.lexists(file.path):
                # What was read may belong to the segment that its file was used for next. It had landed.
                self.vanished.add(file.path)
                self.damages = [damage for damage in self.damages if damage.segment != file.base]
                found.damages.clear()
                reliable = False
            since.merge(tally)
            segments.append(segment)
            self.scans.append(found)
            if segment.end is not None and segment.end > segment.base:
                self.end = max(self.end, segment.end)
            if file.path not in self.vanished:
                self._note_end(index, limit, found)
        self.segments = tuple(segments)
        self.counts = since
        self._tell_known(last, len(self._files))

    def _baseline(self, index: int) -> Tally | None:
        """Cumulative counts of all before a segment, where they are known."""
        file = self._files[index]
        if file.header is not None:
            return file.header.counts
        # The first segment of all: an entry says that nothing was durable before it.
        return Tally() if index == 0 and file.previous_end == 0 else None

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
            if file.previous_end is not None:
                lowest = file.previous_end if lowest is None else min(lowest, file.previous_end)
        limits.reverse()
        return limits

    def _scan(self, file: SegmentFile, limit: Lsn | None, count_damaged: bool) -> tuple[Segment, Scan, Tally]:
        on_disk = Lsn(file.base + file.size)
        stated = _stated(file, limit)
        stop = min(on_disk, stated) if stated is not None else on_disk
        extent = Extent(file.base, file.first, file.marker, Lsn(max(stop, file.first)), stated or Lsn(0))
        segment = Segment(file.path, file.base, file.first, file.capacity, file.marker, size=file.size)
        tally = Tally()
        batches = rows = 0

        def visit(head: Head, payload: memoryview | None) -> None:
            nonlocal batches, rows
            stored = head.stored
            if payload is None:
                if count_damaged:
                    tally.add(stored.kind, self._keys.get(stored.schema_id, UNKNOWN_STREAM), stored.rows, b"damaged")
            elif stored.kind is EntryKind.DECLARE:
                self._declare(segment, stored, bytes(payload))
            else:
                if stored.kind is EntryKind.BATCH:
                    batches, rows = batches + 1, rows + stored.rows
                key = self._keys.get(stored.schema_id, UNKNOWN_STREAM)
                tally.add(stored.kind, key, stored.rows, payload if stored.kind is EntryKind.REJECT else b"")

        found = Scan(end=file.first, durable=stated or Lsn(0), beyond=file.first)
        if stated is None or stated > file.first:
            try:
                fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if not self._live:
                    raise
            else:
                try:
                    found = scan(Window(fd, _WINDOW_BYTES), extent, visit)
                finally:
                    os.close(fd)
        self.held.append((batches, rows))
        if stated is not None and stated > on_disk:
            found.damages.append(Damage(file.base, max(on_disk, found.end), stated, "truncated"))
            found.end = stated
        segment.gaps = tuple((damage.from_lsn, damage.to_lsn) for damage in found.damages)
        segment.recyclable = not found.damages and file.header is not None and not file.path.is_symlink()
        segment.end = found.end if found.end > file.first else file.base
        if file.header is None:
            self.damages.append(Damage(file.base, file.base, file.first, "header"))
        self.damages += found.damages
        return segment, found, tally

    def _declare(self, segment: Segment, stored: Stored, payload: bytes) -> None:
        schema_id, length = stored.schema_id, stored.sequence
        if hashlib.sha256(payload[:length]).digest()[:16] != schema_id:
            return
        segment.schemas[schema_id] = Declared(Place(stored.lsn, stored.length), length)
        self._keys[schema_id] = payload[length:].decode("utf-8", "replace")

    def _note_end(self, index: int, limit: Lsn | None, found: Scan) -> None:
        """What may have stood behind the last entry of a segment whose end nobody states, though others came after it."""
        file = self._files[index]
        if _stated(file, limit) is not None:
            return
        following = self._files[index + 1] if index + 1 < len(self._files) else None
        if following is None:
            # What came after it is no segment any more. A clean end needs no mention.
            if found.beyond > found.end and any(end > file.base + file.capacity for end in self._successors):
                self.damages.append(Damage(file.base, found.end, found.beyond, "unknown end"))
        elif following.previous_end is None:
            self.damages.append(Damage(file.base, found.end, following.base, "unknown end"))
        elif following.previous_end > file.base + file.capacity:
            if found.beyond > found.end:
                self.damages.append(Damage(file.base, found.end, found.beyond, "unknown end"))
            begin = max(found.end, found.beyond)
            self.damages.append(Damage(file.base, begin, following.previous_end, "missing segment"))

    def _settle_books(self, base: Lsn, stated: Tally, found: Tally) -> None:
        """Rows that a later header counts and that the entries up to it do not show are lost."""
        for key in stated:
            rows = stated.rows(key) - found.rows(key)
            if rows > 0:
                self.losses.append(Loss(base, key, rows))


def _stated(file: SegmentFile, limit: Lsn | None) -> Lsn | None:
    """Where a segment ends by what later ones say. A limit beyond its positions belongs to a missing segment."""
    return limit if limit is not None and limit <= file.base + file.capacity else None
