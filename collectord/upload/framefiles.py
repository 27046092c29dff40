"""The bytes of open intents: a file each, in a directory that nobody else uses.

A file whose frame has landed is written over by one of the next, under another name: making and removing a file for each
costs several times as much as writing it. A file that nobody wants, here or after a crash, harms nothing: `sweep` removes
it at the next start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import xxhash

from collectord import files
from collectord.logs import event
from collectord.upload.records import Intent
from collectord.upload.store import Blocked

MAX_SPARES = 4
"""Files kept to be written over, and frames kept in memory until they are asked for: as many as workers, mostly."""
SPARE = "spare-"
"""How the name of such a file begins."""

_log = logging.getLogger("collectord.upload")


class FrameFiles:
    """Makes its directory (0700). From any thread; a file is one thread's at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        """Guards the following."""
        self._fresh: dict[int, bytes] = {}
        """What was written lately and not read: mostly it is sent at once."""
        self._spares: list[Path] = []
        files.make_private_directory(directory)

    def write(self, intent: Intent, data: bytes) -> None:
        """Synced when this returns. Raises OSError."""
        with self._lock:
            spare = self._spares.pop() if self._spares else None
        try:
            files.write_durably(self._path(intent), data, spare)
        except OSError:
            if spare is not None and spare.exists():
                with self._lock:
                    self._spares.append(spare)
            raise
        with self._lock:
            self._fresh[intent.frame_id] = data
            if len(self._fresh) > MAX_SPARES:
                del self._fresh[next(iter(self._fresh))]

    def read(self, intent: Intent) -> bytes | Blocked:
        """What was written for the intent, or why that cannot be told."""
        with self._lock:
            fresh = self._fresh.pop(intent.frame_id, None)
        if fresh is not None:
            return fresh
        path = self._path(intent)
        try:
            data = path.read_bytes()
        except OSError as error:
            return Blocked("frame_lost", f"{path} cannot be read: {error.strerror}")
        if checksum(data) != intent.checksum:
            return Blocked("frame_lost", f"{path} is not what was written")
        return data

    def recycle(self, intent: Intent) -> None:
        """The frame has landed, and the ledger says so: its file is kept to be written over, or removed."""
        with self._lock:
            enough = len(self._spares) >= MAX_SPARES
        if enough:
            self.remove(intent)
            return
        path = self._path(intent)
        spare = path.with_name(f"{SPARE}{intent.frame_id}")
        try:
            path.replace(spare)
        except OSError as error:
            self._stays(path, error)
            return
        with self._lock:
            self._spares.append(spare)

    def remove(self, intent: Intent) -> None:
        """The bytes are not needed any more, and the ledger says so."""
        with self._lock:
            self._fresh.pop(intent.frame_id, None)
        path = self._path(intent)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._stays(path, error)

    def sweep(self, intents: Iterable[Intent]) -> None:
        """Removes all but the files of these intents; while nothing is written."""
        wanted = {self._path(intent) for intent in intents}
        with self._lock:
            self._spares.clear()
        for path in self._directory.iterdir():
            if path not in wanted:
                path.unlink()

    @staticmethod
    def _stays(path: Path, error: OSError) -> None:
        event(_log, logging.WARNING, "a frame's file stays until the next start", path=str(path), error=error.strerror)

    def _path(self, intent: Intent) -> Path:
        return self._directory / str(intent.frame_id)


def checksum(data: bytes) -> bytes:
    """As it stands in the intent."""
    return xxhash.xxh3_128_digest(data)
