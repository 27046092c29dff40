"""Entries that were moved out of the log, because they wait for long and would keep its segments: `docs/formats/parked.md`.

A parked file stands for a range of the log's positions and holds what still waited of it: entries as the log has them, each
with its own LSN. Files come in the order of the log and only ever from its oldest end, so what is parked lies before
everything that waits in the log. A file is written whole, synced and renamed before anybody hears of it.

Threads: any, but `write` and `discard` one at a time. The lock guards the list of files, never a read or write.
"""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from collectord import files
from collectord.clock import Clock, SystemClock
from collectord.errors import SpoolUnusable
from collectord.model import EntryKind, Lsn, Place, Stored
from collectord.spoolfiles import LOG_DIRECTORY, QUARANTINE_DIRECTORY
from collectord.wal.damage import DamagedEntry
from collectord.wal.disk import Disk, Window, write_all
from collectord.wal.framing import MARKER_BYTES, entry_bytes
from collectord.wal.parkedfile import (
    HEADER_BYTES,
    UNFINISHED_SUFFIX,
    WINDOW_BYTES,
    Copied,
    ParkedFile,
    entries_of,
    fill,
    look_through,
    pack_header,
    parked_name,
    parked_paths,
    read_header,
)
from collectord.wal.quarantine import Quarantine
from collectord.wal.raw import Raw, read_at

_log = logging.getLogger("collectord.parking")


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
            self._open(Quarantine(quarantine or directory.parent / QUARANTINE_DIRECTORY / LOG_DIRECTORY))
        except OSError as error:
            raise SpoolUnusable(f"{directory} cannot be read: {error}") from error

    # ------------------------------------------------------------------ at the start

    def _open(self, quarantine: Quarantine) -> None:
        if not self._directory.is_dir():
            return
        headers = {path: read_header(path) for path in parked_paths(self._directory)}
        for path in self._directory.iterdir():
            if path.suffix == UNFINISHED_SUFFIX:
                self._disk.remove(path)
        for path, header in headers.items():
            if header is not None and header[0] != self._spool_id:
                self.damages.append(f"{path.name} belongs to another spool")
                quarantine.move(path)
                continue
            found = look_through(path, header, self.damages)
            if found is None:
                quarantine.move(path)
            else:
                self.add(found)

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
                for _, head in entries_of(Window(fd, WINDOW_BYTES), file.marker, file.size):
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
        path = self._directory / parked_name(base)
        file = ParkedFile(
            path, base, end, id_[:MARKER_BYTES], total, schemas={k: raw for k, (raw, _) in schemas.items()}
        )
        temporary = path.with_suffix(UNFINISHED_SUFFIX)
        fd = self._disk.create(temporary, total)
        with ExitStack() as undo:
            # Whatever fails is the caller's to hear; half a file is nobody's.
            undo.callback(self.take_back, path)
            undo.callback(self._disk.discard, temporary)
            try:
                number = fill(self._disk, fd, file, schemas, entries)
                header = pack_header(file, id_, self._spool_id, self._clock.wall_ns(), number)
                write_all(self._disk, fd, [header], 0)
                self._disk.sync(fd)
            finally:
                self._disk.close(fd)
            self._disk.rename(temporary, path)
            undo.pop_all()
        return file

    def take_back(self, path: Path) -> None:
        """Removes a file that was written, or nearly, and never used."""
        try:
            self._disk.remove(path)
        except OSError as error:
            # It may come back after a power loss, until the next file is written. Cursors say then what of it has landed, and
            # the ledger which of them were forgotten.
            _log.warning("%s could not be removed for good: %s", path.name, error)

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
