"""A parked file as bytes: header, declarations, entries (`docs/formats/parked.md`)."""

from __future__ import annotations

import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from collectord.errors import FormatTooNew
from collectord.model import Entry, EntryKind, IdLayout, Lsn, Partition, Place, Schema, Stored, Stream
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
from collectord.wal.raw import Raw
from collectord.wal.scan import marked

MAGIC = b"COLLPARK"
VERSION = 1
HEADER_BYTES = 128
SUFFIX = ".parked"
UNFINISHED_SUFFIX = ".new"

_FIXED = struct.Struct("<8sII16s16sQQQQIIQ")
"""Magic, version, its complement, id, spool id, base, end, bytes of the file, wall nanoseconds, entries, zero, checksum of all
before it."""
WINDOW_BYTES = 256 << 10
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


def parked_paths(directory: Path) -> list[Path]:
    """The files in a directory, which may be absent, in the order of the log. Raises OSError if it cannot be read."""
    return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX) if directory.is_dir() else []


def parked_name(base: int) -> str:
    """The file name of the parked file that begins at `base`."""
    return f"{base:020d}{SUFFIX}"


def parked_bytes(place: Place) -> int:
    """Bytes that an entry takes in a parked file."""
    return entry_bytes(place.length)


def pack_header(file: ParkedFile, id_: bytes, spool_id: bytes, wall_ns: int, number: int) -> bytes:
    """The first `HEADER_BYTES` of a file that holds so many entries."""
    header = _FIXED.pack(
        MAGIC, VERSION, VERSION ^ 0xFFFFFFFF, id_, spool_id, file.base, file.end, file.size, wall_ns, number, 0, 0
    )[:-8]
    return (header + xxhash.xxh3_64_digest(header)[::-1]).ljust(HEADER_BYTES, b"\0")


def read_header(path: Path) -> tuple[bytes, ParkedFile, int] | None:
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


def look_through(path: Path, header: tuple[bytes, ParkedFile, int] | None, damages: list[str]) -> ParkedFile | None:
    """Finds every entry of a file, whose header is what `read_header` gave. None if nothing in it proves to be ours.

    What cannot be read is added to `damages`. Raises OSError if the disk fails.
    """
    size = path.stat().st_size
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = Window(fd, WINDOW_BYTES)
        if header is not None:
            found, expected = header[1], header[2]
        else:
            # Every entry begins with the file's marker, and fits no other one.
            marker = bytes(window.at(HEADER_BYTES, MARKER_BYTES))
            found, expected = ParkedFile(path, base_of(path), Lsn(0), marker, size), -1
        number = 0
        for offset, head in entries_of(window, found.marker, size):
            number += 1
            stored = head.stored
            if stored.kind is EntryKind.DECLARE:
                payload = bytes(window.at(offset + ENTRY_HEADER_BYTES, stored.length))
                # Rows under a header that nobody declared would be worse than rows that are told as lost.
                if len(payload) == stored.length and checksum(payload, found.seed) == head.payload_checksum:
                    found.schemas[stored.schema_id] = payload[: stored.sequence]
                else:
                    damages.append(f"{path.name}: a declaration does not fit its checksum")
                continue
            found.lsns.append(stored.lsn)
            found.offsets.append(offset)
            found.end = max(found.end, stored.end)
    finally:
        os.close(fd)
    if number != expected:
        damages.append(f"{path.name} holds {number} of {max(expected, number)} entries")
    return found if number else None


def base_of(path: Path) -> Lsn:
    """The base that a file name gives; 0 if it gives none."""
    return Lsn(int(path.stem)) if path.stem.isdigit() else Lsn(0)


def fill(
    disk: Disk, fd: int, file: ParkedFile, schemas: Mapping[bytes, tuple[bytes, str]], entries: Iterable[Copied]
) -> int:
    """Writes declarations and entries behind the room for the header, and notes in `file` where the entries are.

    Returns how many they are in all. Raises OSError, and ValueError if they do not fill the file.
    """
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
            write_all(disk, fd, buffers, begin)
            begin, buffers = offset, []
    write_all(disk, fd, buffers, begin)
    if offset != file.size:
        raise ValueError(f"{offset} bytes were parked, {file.size} were announced")
    return len(schemas) + len(file.lsns)


def _head(one: Copied, payload: bytes, marker: bytes, seed: int, durable: Lsn) -> bytes:
    """The header of a parked entry. That of a damaged one bears the checksum of other bytes, so that it stays damaged."""
    stored = one.raw.stored
    summed = payload if one.raw.good else payload[:-1] + bytes([payload[-1] ^ 0xFF])
    client, sequence = (stored.client, stored.sequence) if stored else (bytes(16), 0)
    named = Schema(one.partition.schema_id, b"", Stream(), (), False, IdLayout.NONE, IdLayout.NONE, False)
    entry = Entry(EntryKind.BATCH, client, sequence, one.rows, summed, named, one.partition)
    return pack_entry(entry, marker, seed, one.place.lsn, durable)


def parked_batches(path: Path) -> Iterator[tuple[Stored, bytes | None, bytes]]:
    """Whole batches of a parked file, with schema and payload, whoever may have the file in use. Raises OSError."""
    header = read_header(path)
    size = path.stat().st_size
    schemas: dict[bytes, bytes] = {}
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = Window(fd, WINDOW_BYTES)
        marker = header[1].marker if header is not None else bytes(window.at(HEADER_BYTES, MARKER_BYTES))
        seed = seed_of(marker)
        for offset, head in entries_of(window, marker, size):
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


def entries_of(window: Window, marker: bytes, size: int) -> Iterator[tuple[int, Head]]:
    """Offset and header of every entry, in the order of the file; damaged headers are stepped over."""
    seed = seed_of(marker)
    offset = HEADER_BYTES
    while offset + ENTRY_HEADER_BYTES <= size:
        head = _parse(window.at(offset, ENTRY_HEADER_BYTES), marker, seed)
        if head is None:
            places = marked(window, marker, offset + ALIGNMENT, size)
            following = next((at for at, view in places if _parse(view, marker, seed) is not None), None)
            if following is None:
                return
            offset = following
            continue
        yield offset, head
        offset += entry_bytes(head.stored.length)


def _parse(view: memoryview, marker: bytes, seed: int) -> Head | None:
    own = int.from_bytes(view[OWN_LSN_AT : OWN_LSN_AT + 8], "little")
    return parse(view, marker, seed, own) if own < 1 << 63 else None
