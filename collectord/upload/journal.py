"""The journal of a directory's appends: what is about to be appended, written down first.

One record, at the beginning of a small file whose lock its user holds: see `journals.py`.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

import xxhash

from collectord import files

_RECORD = struct.Struct("<QI16sH")
"""Position, bytes and checksum of the append that is under way, and the length of the blob's name, which follows."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An append that may have been interrupted."""

    blob: str
    position: int
    length: int
    checksum: bytes

    def is_torn(self, fd: int) -> bool:
        """Whether the blob's file ends within the append, or at its end with other bytes."""
        size = os.fstat(fd).st_size
        end = self.position + self.length
        if not self.position < size <= end:
            return False
        return size < end or xxhash.xxh3_128_digest(read_at(fd, self.position, size)) != self.checksum


class Journal:
    """An open journal; the descriptor stays its opener's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def note(self, under_way: UnderWay) -> None:
        """Writes down, durably, what is about to be appended."""
        name = under_way.blob.encode()
        body = _RECORD.pack(under_way.position, under_way.length, under_way.checksum, len(name)) + name
        write_at(self._fd, body + xxhash.xxh3_64_digest(body), 0)
        files.sync_file(self._fd)

    def under_way(self) -> UnderWay | None:
        """What it says is under way. A record that is not whole was never followed by an append."""
        raw = read_at(self._fd, 0, 4096)
        if len(raw) < _RECORD.size:
            return None
        position, length, checksum, size = _RECORD.unpack_from(raw)
        end = _RECORD.size + size
        if raw[end : end + 8] != xxhash.xxh3_64_digest(raw[:end]):
            return None
        return UnderWay(raw[_RECORD.size : end].decode(), position, length, checksum)

    def clear(self) -> None:
        """Forgets the record. Not synced: a record of a completed append says so by its checksum."""
        write_at(self._fd, bytes(_RECORD.size), 0)


def write_at(fd: int, data: bytes | memoryview, position: int) -> None:
    """Writes all of it, however short the single writes are."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, position)
        view, position = view[written:], position + written


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Fewer bytes only at the end of the file."""
    pieces = []
    while length > 0 and (piece := os.pread(fd, length, offset)):
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return b"".join(pieces)
