"""A segment: a file of the log, and its header (`docs/formats/log.md`, "Segment header")."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from collectord.errors import FormatTooNew
from collectord.model import Lsn, Place
from collectord.wal.counts import Tally
from collectord.wal.disk import read_into
from collectord.wal.framing import MARKER_BYTES, seed_of

MAGIC = b"COLLTLOG"
VERSION = 1
HEADER_ALIGNMENT = 4096
SEGMENT_BYTES = 64 << 20
HIGHEST_BASE = 1 << 62
"""No log comes so far; a name or header that says so is not ours, and would leave no positions for what follows."""
SEGMENT_SUFFIX = ".seg"
SPARE_SUFFIX = ".spare"
UNFINISHED_SUFFIX = ".new"

_FIXED = struct.Struct("<8sII16s16sQQQQIIQ")
"""Magic, version, its complement, segment id, spool id, base, previous end, capacity, wall nanoseconds, header bytes, JSON
bytes, checksum (of all before it and of the JSON)."""
_CHECKSUM_AT = _FIXED.size - 8


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says about itself and about the log before it."""

    id: bytes
    spool_id: bytes
    base: Lsn
    previous_end: Lsn
    """Where the log before it ends. Entries at or beyond it in older segments are void."""
    capacity: int
    """Bytes of the file, this header included: the next segment's base is not below base + capacity."""
    created_ns: int
    counts: Tally
    """Cumulative counts of all entries before this segment."""

    @property
    def marker(self) -> bytes:
        """Stands in front of every entry of the segment."""
        return self.id[:MARKER_BYTES]

    def pack(self) -> bytes:
        """The header's bytes, a multiple of 4096."""
        text = json.dumps({"counts": self.counts.to_json()}, separators=(",", ":"), ensure_ascii=False).encode()
        length = align(_FIXED.size + len(text), HEADER_ALIGNMENT)
        fixed = _FIXED.pack(
            MAGIC,
            VERSION,
            VERSION ^ 0xFFFFFFFF,
            self.id,
            self.spool_id,
            self.base,
            self.previous_end,
            self.capacity,
            self.created_ns,
            length,
            len(text),
            0,
        )[:_CHECKSUM_AT]
        total = xxhash.xxh3_64_intdigest(fixed + text)
        return (fixed + total.to_bytes(8, "little") + text).ljust(length, b"\0")


def unpack_header(view: bytes | memoryview) -> tuple[SegmentHeader, int] | int | None:
    """The header that `view` begins with and its length in bytes; None if it is damaged or not ours.

    A number is the length of `view` that it takes to decide. Raises FormatTooNew: decided from magic and version alone,
    so that no later layout is ever mistaken for damage.
    """
    if len(view) < _FIXED.size:
        return None
    (magic, version, complement, segment_id, spool_id, base, previous, capacity, created, length, text_bytes, total) = (
        _FIXED.unpack_from(view)
    )
    if magic != MAGIC or version != complement ^ 0xFFFFFFFF:
        return None
    if version > VERSION:
        raise FormatTooNew(f"a segment of version {version}: this program reads up to {VERSION}")
    if version != VERSION or base % HEADER_ALIGNMENT or base >= HIGHEST_BASE:
        return None
    if length != align(_FIXED.size + text_bytes, HEADER_ALIGNMENT) or length > capacity:
        return None
    if len(view) < _FIXED.size + text_bytes:
        return int(length)
    text = bytes(view[_FIXED.size : _FIXED.size + text_bytes])
    if xxhash.xxh3_64_intdigest(bytes(view[:_CHECKSUM_AT]) + text) != total:
        return None
    try:
        content: dict[str, Any] = json.loads(text)
        counts = Tally.from_json(content["counts"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # The checksum fits, so somebody forged it: no reason not to start.
        return None
    header = SegmentHeader(segment_id, spool_id, Lsn(base), Lsn(previous), capacity, created, counts)
    return header, length


def read_header(fd: int) -> tuple[SegmentHeader, int] | None:
    """The header of an open file and its length; None if it has no valid one. Raises FormatTooNew and OSError."""
    size = os.fstat(fd).st_size
    want = min(HEADER_ALIGNMENT, size)
    while True:
        buffer = memoryview(bytearray(want))
        result = unpack_header(buffer[: read_into(fd, buffer, 0)])
        if not isinstance(result, int):
            return result
        if result <= want or result > size:
            return None
        want = result


class Declared(NamedTuple):
    """Where a schema is declared."""

    place: Place
    length: int
    """Of the raw schema, which the payload begins with."""


@dataclass(slots=True, eq=False)
class Segment:
    """A file of the log that is in use.

    Three things of it change while it is in its catalog, each in one way. `end` is stated once, under the catalog's lock, by
    the log's thread. `schemas` only grows, by the log's thread, before anything that names them is durable; others look a
    single one up. `recyclable` only goes: by the log's thread before it states the end, and then by whoever retires the
    segment, one at a time, who looks at no segment without an end.
    """

    path: Path
    base: Lsn
    first: Lsn
    """Where its first entry begins."""
    capacity: int
    marker: bytes
    end: Lsn | None = None
    """Where its last durable entry ends; None while it is written to. `base` if it has none."""
    gaps: tuple[tuple[Lsn, Lsn], ...] = ()
    """Damaged ranges found by recovery, which readers step over."""
    schemas: dict[bytes, Declared] = field(default_factory=dict, repr=False)
    """By id what is declared in it. Not what it says: schemas of a megabyte each may fill most of the log."""
    size: int = 0
    """Bytes of the file on disk."""
    recyclable: bool = True
    """False once a write or sync of the file has failed, or where its content was damaged."""
    seed: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.seed = seed_of(self.marker)


class Active:
    """The segment that is written to. Owned by the log's thread."""

    __slots__ = ("declared", "fd", "position", "segment")

    def __init__(self, segment: Segment, fd: int) -> None:
        self.segment = segment
        self.fd = fd
        self.position: int = segment.first
        self.declared: set[bytes] = set()

    @property
    def room(self) -> int:
        """Bytes left for entries."""
        return self.segment.base + self.segment.capacity - self.position


def align(value: int, to: int) -> int:
    """`value` rounded up to a multiple of `to`."""
    return -(-value // to) * to


def segment_name(base: int) -> str:
    """The file name of the segment that begins at `base`."""
    return f"{base:020d}{SEGMENT_SUFFIX}"


def base_of(path: Path) -> Lsn | None:
    """The base that a file name gives, or None if it is not a segment's name."""
    stem = path.stem
    if path.suffix != SEGMENT_SUFFIX or len(stem) != 20 or not (stem.isascii() and stem.isdecimal()):
        return None
    base = int(stem)
    return Lsn(base) if base < 1 << 63 and base % HEADER_ALIGNMENT == 0 else None
