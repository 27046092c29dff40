"""What the parked files of a spool hold, every checksum verified: for people, read only, also beside a running daemon.

A start looks at headers alone, goes on with what is left of a file, and moves away what is no file of ours; bytes that have
changed are found when their turn comes. Here all of it is told beforehand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn
from collectord.wal.damage import Damage
from collectord.wal.disk import Window
from collectord.wal.framing import ENTRY_HEADER_BYTES, MARKER_BYTES, checksum, entry_bytes, seed_of
from collectord.wal.parkedfile import HEADER_BYTES, WINDOW_BYTES, base_of, entries_of, parked_paths, read_header


@dataclass(frozen=True, slots=True)
class ParkedState:
    """One parked file."""

    path: Path
    base: Lsn
    end: Lsn
    """It stands for the log's positions [base, end)."""
    file_bytes: int
    entries: int = 0
    """That can be read, declarations included."""
    batches: int = 0
    rows: int = 0
    """Of the batches that can be read."""
    damages: tuple[Damage, ...] = ()
    problem: str = ""
    """Why a start cannot use the file; empty if it can."""

    @property
    def clean(self) -> bool:
        return not (self.damages or self.problem)


def parked_states(directory: Path, spool_id: bytes | None = None) -> list[ParkedState]:
    """All parked files in SPOOL/parked, which may be absent, in the order of the log; those that vanish meanwhile are left out.

    Without `spool_id` it is not asked whose they are. Raises OSError if something cannot be read.
    """
    states = []
    for path in parked_paths(directory):
        try:
            states.append(_look_at(path, spool_id))
        except FileNotFoundError:
            # A running daemon has removed it: all of it has landed.
            continue
    return states


def _look_at(path: Path, spool_id: bytes | None) -> ParkedState:
    size = path.stat().st_size
    base = end = base_of(path)
    try:
        header = read_header(path)
    except FormatTooNew as error:
        return ParkedState(path, base, end, size, problem=f"{error}; the start is refused")
    if header is not None:
        base, end = header[1].base, header[1].end
        if spool_id is not None and header[0] != spool_id:
            return ParkedState(path, base, end, size, problem="belongs to another spool; the next start moves it away")
    damages: list[Damage] = []
    entries = batches = rows = 0
    expected, last, seen = HEADER_BYTES, base, 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        window = Window(fd, WINDOW_BYTES)
        marker = header[1].marker if header is not None else bytes(window.at(HEADER_BYTES, MARKER_BYTES))
        seed = seed_of(marker)
        if header is None:
            damages.append(Damage(base, base, base, "header"))
        for offset, head in entries_of(window, marker, size):
            stored = head.stored
            seen += 1
            if offset > expected:
                damages.append(Damage(base, last, max(last, stored.lsn), "entry"))
            expected = offset + entry_bytes(stored.length)
            payload = window.at(offset + ENTRY_HEADER_BYTES, stored.length)
            good = len(payload) == stored.length and checksum(payload, seed) == head.payload_checksum
            entries += good
            if stored.kind is EntryKind.DECLARE:
                if not good:
                    damages.append(Damage(base, base, max(base, end), "declaration"))
                continue
            last = max(last, stored.end)
            if good:
                batches, rows = batches + 1, rows + stored.rows
            else:
                damages.append(Damage(base, stored.lsn, stored.end, "payload", stored))
    finally:
        os.close(fd)
    if not seen:
        return ParkedState(path, base, end, size, problem="nothing in it can be read; the next start moves it away")
    end = max(end, last)
    if expected < size:
        damages.append(Damage(base, last, end, "entry"))
    elif header is not None and seen < header[2] and not any(one.reason == "entry" for one in damages):
        damages.append(Damage(base, last, end, "truncated"))
    return ParkedState(path, base, end, size, entries, batches, rows, tuple(damages))
