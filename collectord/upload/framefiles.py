"""The bytes of open intents: a file each, in a directory that nobody else uses.

A file that nobody wants, here or after a crash, harms nothing: `sweep` removes it at the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import xxhash

from collectord import files
from collectord.logs import event
from collectord.upload.records import Intent
from collectord.upload.store import Blocked

_log = logging.getLogger("collectord.upload")


class FrameFiles:
    """Makes its directory (0700). From any thread; a file is one thread's at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        files.make_private_directory(directory)

    def write(self, intent: Intent, data: bytes) -> None:
        """Synced when this returns. Raises `SpoolFull` or `SpoolUnusable`."""
        files.write_durably(self._path(intent), data)

    def read(self, intent: Intent) -> bytes | Blocked:
        """What was written for the intent, or why that cannot be told."""
        path = self._path(intent)
        try:
            data = path.read_bytes()
        except OSError as error:
            return Blocked("frame_lost", f"{path} cannot be read: {error.strerror}")
        if checksum(data) != intent.checksum:
            return Blocked("frame_lost", f"{path} is not what was written")
        return data

    def remove(self, intent: Intent) -> None:
        """The bytes are not needed any more."""
        path = self._path(intent)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            event(
                _log, logging.WARNING, "a frame's file stays until the next start", path=str(path), error=error.strerror
            )

    def sweep(self, intents: Iterable[Intent]) -> None:
        """Removes all but the files of these intents."""
        wanted = {self._path(intent) for intent in intents}
        for path in self._directory.iterdir():
            if path not in wanted:
                path.unlink()

    def _path(self, intent: Intent) -> Path:
        return self._directory / str(intent.frame_id)


def checksum(data: bytes) -> bytes:
    """As it stands in the intent."""
    return xxhash.xxh3_128_digest(data)
