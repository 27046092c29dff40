"""Entries that were moved out of the log, because they wait for long and would keep its segments: `docs/formats/parked.md`.

A parked file stands for a range of the log's positions and holds what still waited of it: entries as the log has them, each
with its own LSN. Files come in the order of the log and only ever from its oldest end, so what is parked lies before
everything that waits in the log. A file is written whole, synced and renamed before anybody hears of it.

Threads: any, but `write` and `discard` one at a time. The lock guards the list of files, never a read or write.
"""

from __future__ import annotations

import os
import struct
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from collectord import files
from collectord.clock import Clock, SystemClock
from collectord.errors import FormatTooNew, SpoolUnusable
from collectord.model import Entry, EntryKind, IdLayout, Lsn, Partition, Place, Schema, Stored, Stream
from collectord.wal.damage import DamagedEntry
from collectord.wal.disk import Disk, Window, write_all
from collectord.wal.framing import (
    ALIGNMENT,
    ENTRY_HEADER_BYTES,
    MARKER_BYTES,
    OWN_LSN_AT,
    Buffer,
    Head,
    checksum,
    declare_payload,
    entry_bytes,
    pack_declare,
    pack_entry,
    parse,
    seed_of,
)
from collectord.wal.quarantine import Quarantine
from collectord.wal.raw import Raw, read_at

MAGIC = b"COLLPARK"
VERSION = 1
HEADER_BYTES = 128
SUFFIX = ".parked"
UNFINISHED_SUFFIX = ".new"

_FIXED = struct.Struct("<8sII16s16sQQQQIIQ")
"""Magic, version, its complement, id, spool id, base, end, bytes of the file, wall nanoseconds, entries, zero, checksum of all
before it."""
_WINDOW_BYTES = 256 << 10
_WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """An entry to be parked."""

    place: Place
    partition: Partition
    rows: int
    raw: Raw
    """Damaged bytes are taken along and stay damaged: what is lost is told when their turn comes."""


@dataclass(slots=True, eq=False)
class ParkedFile:
    """A file that is in use."""

    path: Path
    base: Lsn
    end: Lsn
    """It stands for the log's positions [base, end)."""
    marker: bytes
    size: int
    lsns: array[int] = field(default_factory=lambda: array("q"), repr=False)
    offsets: array[int] = field(default_factory=lambda: array("q"), repr=False)
    schemas: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int:
        return seed_of(self.marker)

    def offset_of(self, lsn: Lsn) -> int | None:
        """Where an entry begins in the file."""
        at = bisect_left(self.lsns, lsn)
        return self.offsets[at] if at < len(self.lsns) and self.lsns[at] == lsn else None


class ParkedLog:
    """The parked files of one spool, in SPOOL/parked."""

    def __init__(
        self,
        directory: Path,
        spool_id: bytes,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        quarantine: Path | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Reads what is there. Raises FormatTooNew, before anything is changed, and SpoolUnusable if the disk fails."""
        self._directory = directory
        self._spool_id = spool_id
        self._clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._random = random
        self._lock = threading.Lock()
        self._files: list[ParkedFile] = []
        self._bases: list[int] = []
        self.damages: list[str] = []
        """What could not be read at the start: rows are missing then, and the books tell whose."""
        self.end = Lsn(0)
        """What waits before it is parked; never goes back."""
        try:
            self._open(Quarantine(quarantine or directory.parent / "quarantine" / "log"))
        except OSError as error:
            raise SpoolUnusable(f"{directory} cannot be read: {error}") from error

    # ------------------------------------------------------------------ at the start

    def _open(self, quarantine: Quarantine) -> None:
        if not self._directory.is_dir():
            return
        paths = sorted(path for path in self._directory.iterdir() if path.suffix == SUFFIX)
        headers = {path: _read_header(path) for path in paths}
        for path in self._directory.iterdir():
            if path.suffix == UNFINISHED_SUFFIX:
                self._disk.remove(path)
        for path, header in headers.items():
            if header is not None and header[0] != self._spool_id:
                self.damages.append(f"{path.name} belongs to another spool")
                quarantine.move(path)
                continue
            found = self._walk(path, header)
            if found is None:
                quarantine.move(path)
            else:
                self.add(found)

    def _walk(self, path: Path, header: tuple[bytes, ParkedFile, int] | None) -> ParkedFile | None:
        """Finds every entry of a file. None if nothing in it proves to be ours."""
        size = path.stat().st_size
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            window = Window(fd, _WINDOW_BYTES)
            if header is not None:
                found, expected = header[1], header[2]
            else:
                # Every entry begins with the file's marker, and fits no other one.
                marker = bytes(window.at(HEADER_BYTES, MARKER_BYTES))
                found, expected = ParkedFile(path, _base_of(path), Lsn(0), marker, size), -1
            number, broken = 0, False
            for offset, head in _entries(window, found.marker, size):
                number += 1
                stored = head.stored
                if stored.kind is EntryKind.DECLARE:
                    payload = bytes(window.at(offset + ENTRY_HEADER_BYTES, stored.length))
                    # Rows under a header that nobody declared would be worse than rows that are told as lost.
                    if len(payload) == stored.length and checksum(payload, found.seed) == head.payload_checksum:
                        found.schemas[stored.schema_id] = payload[: stored.sequence]
                    else:
                        self.damages.append(f"{path.name}: a declaration does not fit its checksum")
                    continue
                found.lsns.append(stored.lsn)
                found.offsets.append(offset)
                found.end = max(found.end, stored.end)
            broken = number != expected
        finally:
            os.close(fd)
        if broken:
            self.damages.append(f"{path.name} holds {number} of {max(expected, number)} entries")
        return found if number else None

    # ------------------------------------------------------------------ reading

    def __len__(self) -> int:
        return len(self._files)

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return sum(file.size for file in self._files)

    def files(self) -> list[ParkedFile]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._files)

    def holds(self, lsn: Lsn) -> bool:
        """Whether what waits at this position is parked."""
        return self._holding(lsn) is not None

    def _holding(self, lsn: Lsn) -> ParkedFile | None:
        with self._lock:
            at = bisect_right(self._bases, lsn) - 1
            file = self._files[at] if at >= 0 else None
        return file if file is not None and lsn < file.end else None

    def read_payload(self, place: Place) -> memoryview:
        """The payload of an entry, verified. Raises DamagedEntry, and OSError if the disk fails."""
        raw = self.read_raw(place)
        if not raw.good:
            raise DamagedEntry(f"the parked entry {place.lsn} does not fit its checksum")
        return memoryview(raw.payload)

    def read_raw(self, place: Place) -> Raw:
        """The entry as it is. Raises DamagedEntry if there is none, OSError if the disk fails."""
        file = self._holding(place.lsn)
        offset = file.offset_of(place.lsn) if file is not None else None
        if file is None or offset is None:
            raise DamagedEntry(f"entry {place.lsn} is not parked")
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise DamagedEntry(f"{file.path.name} is gone") from error
        try:
            return read_at(fd, offset, place, file.marker, file.seed)
        finally:
            os.close(fd)

    def schema(self, schema_id: bytes) -> bytes | None:
        """A raw schema that a parked entry names."""
        with self._lock:
            for file in self._files:
                raw = file.schemas.get(schema_id)
                if raw is not None:
                    return raw
        return None

    def entries(self) -> Iterator[Stored]:
        """Every entry in the order of the log, headers only. Raises OSError if the disk fails."""
        for file in self.files():
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                for _, head in _entries(Window(fd, _WINDOW_BYTES), file.marker, file.size):
                    if head.stored.kind is EntryKind.BATCH:
                        yield head.stored
            finally:
                os.close(fd)

    # ------------------------------------------------------------------ writing

    def write(
        self, base: Lsn, end: Lsn, schemas: Mapping[bytes, tuple[bytes, str]], entries: Iterable[Copied], size: int
    ) -> ParkedFile:
        """Makes a file for the positions [base, end), durable but not in use yet: `add` it.

        `schemas` are those that the entries name: raw, and the stream's key. `entries` come in the order of the log, `size`
        bytes of them in all (`parked_bytes`). Raises OSError; then nothing has changed.
        """
        files.make_private_directory(self._directory)
        files.sync_directory(self._directory.parent)
        total = HEADER_BYTES + size + sum(entry_bytes(len(raw) + len(key.encode())) for raw, key in schemas.values())
        id_ = self._random(16)
        path = self._directory / f"{base:020d}{SUFFIX}"
        file = ParkedFile(
            path, base, end, id_[:MARKER_BYTES], total, schemas={k: raw for k, (raw, _) in schemas.items()}
        )
        temporary = path.with_suffix(UNFINISHED_SUFFIX)
        fd = self._disk.create(temporary, total)
        try:
            try:
                number = self._fill(fd, file, schemas, entries)
                header = _FIXED.pack(
                    MAGIC, VERSION, VERSION ^ 0xFFFFFFFF, id_, self._spool_id, base, end, total,
                    self._clock.wall_ns(), number, 0, 0,
                )[:-8]  # fmt: skip
                header += xxhash.xxh3_64_digest(header)[::-1]
                write_all(self._disk, fd, [header.ljust(HEADER_BYTES, b"\0")], 0)
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
            self._disk.rename(temporary, path)
        except Exception:
            for leftover in (temporary, path):
                leftover.unlink(missing_ok=True)
            raise
        return file

    def _fill(
        self, fd: int, file: ParkedFile, schemas: Mapping[bytes, tuple[bytes, str]], entries: Iterable[Copied]
    ) -> int:
        marker, seed = file.marker, file.seed
        buffers: list[Buffer] = []
        begin = offset = HEADER_BYTES
        for schema_id, (raw, key) in schemas.items():
            payload = declare_payload(raw, key)
            buffers += [pack_declare(schema_id, raw, payload, marker, seed, file.base, file.end), payload]
            buffers.append(bytes(-len(payload) % ALIGNMENT))
            offset += entry_bytes(len(payload))
        for one in entries:
            payload = one.raw.payload.ljust(one.place.length, b"\0")
            file.lsns.append(one.place.lsn)
            file.offsets.append(offset)
            buffers += [_head(one, payload, marker, seed, file.end), payload, bytes(-len(payload) % ALIGNMENT)]
            offset += entry_bytes(len(payload))
            if offset - begin >= _WRITE_BYTES:
                write_all(self._disk, fd, buffers, begin)
                begin, buffers = offset, []
        write_all(self._disk, fd, buffers, begin)
        if offset != file.size:
            raise ValueError(f"{offset} bytes were parked, {file.size} were announced")
        return len(schemas) + len(file.lsns)

    def add(self, file: ParkedFile) -> None:
        """Takes a file into use: what waits at its positions is here from now on."""
        with self._lock:
            self._files.append(file)
            self._bases.append(file.base)
            self.end = max(self.end, file.end)

    def discard(self, file: ParkedFile) -> None:
        """Removes a file of which nothing waits any more. Raises OSError; it is then still in use."""
        self._disk.remove(file.path)
        with self._lock:
            at = self._files.index(file)
            del self._files[at], self._bases[at]


def parked_batches(path: Path) -> Iterator[tuple[Stored, bytes | None, bytes]]:
    """Whole batches of a parked file, with schema and payload, whoever may have the file in use. Raises OSError."""
    header = _read_header(path)
    size = path.stat().st_size
    schemas: dict[bytes, bytes] = {}
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = Window(fd, _WINDOW_BYTES)
        marker = header[1].marker if header is not None else bytes(window.at(HEADER_BYTES, MARKER_BYTES))
        seed = seed_of(marker)
        for offset, head in _entries(window, marker, size):
            stored = head.stored
            payload = bytes(window.at(offset + ENTRY_HEADER_BYTES, stored.length))
            if len(payload) < stored.length or checksum(payload, seed) != head.payload_checksum:
                continue
            if stored.kind is EntryKind.DECLARE:
                schemas[stored.schema_id] = payload[: stored.sequence]
            elif stored.kind is EntryKind.BATCH:
                yield stored, schemas.get(stored.schema_id), payload
    finally:
        os.close(fd)


def parked_bytes(place: Place) -> int:
    """Bytes that an entry takes in a parked file."""
    return entry_bytes(place.length)


def _head(one: Copied, payload: bytes, marker: bytes, seed: int, durable: Lsn) -> bytes:
    """The header of a parked entry. That of a damaged one bears the checksum of other bytes, so that it stays damaged."""
    stored = one.raw.stored
    summed = payload if one.raw.good else payload[:-1] + bytes([payload[-1] ^ 0xFF])
    client, sequence = (stored.client, stored.sequence) if stored else (bytes(16), 0)
    named = Schema(one.partition.schema_id, b"", Stream(), (), False, IdLayout.NONE, IdLayout.NONE, False)
    entry = Entry(EntryKind.BATCH, client, sequence, one.rows, summed, named, one.partition)
    return pack_entry(entry, marker, seed, one.place.lsn, durable)


def _entries(window: Window, marker: bytes, size: int) -> Iterator[tuple[int, Head]]:
    """Offset and header of every entry, in the order of the file; damaged headers are stepped over."""
    seed = seed_of(marker)
    offset = HEADER_BYTES
    while offset + ENTRY_HEADER_BYTES <= size:
        view = window.at(offset, ENTRY_HEADER_BYTES)
        head = _parse(view, marker, seed)
        if head is None:
            following = _find(window, marker, seed, offset + ALIGNMENT, size)
            if following is None:
                return
            offset = following
            continue
        yield offset, head
        offset += entry_bytes(head.stored.length)


def _parse(view: memoryview, marker: bytes, seed: int) -> Head | None:
    own = int.from_bytes(view[OWN_LSN_AT : OWN_LSN_AT + 8], "little")
    return parse(view, marker, seed, own) if own < 1 << 63 else None


def _find(window: Window, marker: bytes, seed: int, offset: int, size: int) -> int | None:
    """Where the next entry whose header fits begins. The marker stands in front of each."""
    while offset + ENTRY_HEADER_BYTES <= size:
        haystack = bytes(window.at(offset, min(_WINDOW_BYTES, size - offset)))
        at = haystack.find(marker)
        while at >= 0:
            if at % ALIGNMENT == 0 and _parse(memoryview(haystack)[at:], marker, seed) is not None:
                return offset + at
            at = haystack.find(marker, at + 1)
        if len(haystack) <= ENTRY_HEADER_BYTES:
            return None
        offset += (len(haystack) - ENTRY_HEADER_BYTES) // ALIGNMENT * ALIGNMENT + ALIGNMENT
    return None


def _read_header(path: Path) -> tuple[bytes, ParkedFile, int] | None:
    """Spool id, the file without its entries, and their number; None if the header is damaged. Raises FormatTooNew."""
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        return None
    magic, version, complement, id_, spool_id, base, end, total, _, number, _, _ = _FIXED.unpack_from(raw)
    if magic != MAGIC or version != complement ^ 0xFFFFFFFF:
        return None
    if version > VERSION:
        raise FormatTooNew(f"{path}: a parked file of version {version}: this program reads up to {VERSION}")
    fixed = raw[: _FIXED.size - 8]
    if xxhash.xxh3_64_digest(fixed)[::-1] != raw[_FIXED.size - 8 : _FIXED.size]:
        return None
    size = min(total, path.stat().st_size)
    return spool_id, ParkedFile(path, Lsn(base), Lsn(end), id_[:MARKER_BYTES], size), number


def _base_of(path: Path) -> Lsn:
    return Lsn(int(path.stem)) if path.stem.isdigit() else Lsn(0)
