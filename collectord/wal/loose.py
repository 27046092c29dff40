"""Files that are not (any more) part of the log, in quarantine or elsewhere: what in them still proves itself.

Such a file is a segment that was set aside, or the copy of a damaged range. An entry counts if it names its own position
under its own marker and both checksums fit; whether it was acknowledged, reported as failed or has landed long ago is not said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn, Stored
from collectord.wal.disk import Window
from collectord.wal.framing import ALIGNMENT, ENTRY_HEADER_BYTES, MARKER_BYTES, OWN_LSN_AT, checksum, parse, seed_of
from collectord.wal.scan import first_entry
from collectord.wal.segment import HEADER_ALIGNMENT, SEGMENT_SUFFIX, read_header

_WINDOW_BYTES = 1 << 20
_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Loose:
    """An entry in a file that is not part of the log."""

    stored: Stored
    marker: bytes
    raw: bytes
    """Header and payload, without padding."""

    @property
    def payload(self) -> memoryview:
        return memoryview(self.raw)[ENTRY_HEADER_BYTES:]

    @property
    def declared(self) -> bytes | None:
        """The raw schema, if this is a declaration."""
        return bytes(self.payload[: self.stored.sequence]) if self.stored.kind is EntryKind.DECLARE else None


def loose_files(quarantine: Path) -> list[Path]:
    """Files of a quarantine directory, which may be absent. Raises OSError if it cannot be read."""
    return sorted(path for path in quarantine.iterdir() if path.is_file()) if quarantine.is_dir() else []


def loose_entries(path: Path) -> Iterator[Loose]:
    """Whole entries of a file, in order; none if it holds none. Raises OSError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        window = Window(fd, _WINDOW_BYTES)
        base = _base(path, fd, window, size)
        if base is None:
            return
        position = 0
        while (proof := first_entry(window, base, size, position)) is not None:
            lsn, marker, _ = proof
            offset = lsn - base
            head = parse(window.at(offset, ENTRY_HEADER_BYTES), marker, seed_of(marker), lsn)
            assert head is not None
            raw = bytes(window.at(offset, ENTRY_HEADER_BYTES + head.stored.length))
            good = len(raw) == ENTRY_HEADER_BYTES + head.stored.length
            if good and checksum(memoryview(raw)[ENTRY_HEADER_BYTES:], seed_of(marker)) == head.payload_checksum:
                yield Loose(head.stored, marker, raw)
                position = head.stored.end - base
            else:
                position = offset + ALIGNMENT
    finally:
        os.close(fd)


def base_by_proof(path: Path) -> Lsn | None:
    """The base of a segment that has lost header and name, by the first entry that proves itself where entries may begin."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _proved(Window(fd, _WINDOW_BYTES), os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _proved(window: Window, size: int) -> Lsn | None:
    for offset in range(HEADER_ALIGNMENT, size - ENTRY_HEADER_BYTES + 1, HEADER_ALIGNMENT):
        view = window.at(offset, ENTRY_HEADER_BYTES)
        lsn = int.from_bytes(view[OWN_LSN_AT : OWN_LSN_AT + 8], "little")
        marker = bytes(view[:MARKER_BYTES])
        fits = any(marker) and lsn >= offset and (lsn - offset) % HEADER_ALIGNMENT == 0
        if fits and parse(view, marker, seed_of(marker), lsn) is not None:
            return Lsn(lsn - offset)
    return None


def _base(path: Path, fd: int, window: Window, size: int) -> Lsn | None:
    """The position of a file's first byte."""
    digits = path.name[:_DIGITS]
    named = int(digits) if len(digits) == _DIGITS and digits.isascii() and digits.isdecimal() else None
    if not path.name[_DIGITS:].startswith(SEGMENT_SUFFIX) and named is not None:
        return Lsn(named)
    try:
        header = read_header(fd)
    except FormatTooNew:
        return None
    if header is not None:
        return header[0].base
    proved = _proved(window, size)
    return proved if proved is not None else Lsn(named) if named is not None else None
