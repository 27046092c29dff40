"""Where damaged bytes and foreign files are kept for a human: SPOOL/quarantine/log."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from collectord import files
from collectord.model import Lsn
from collectord.wal.damage import Damage
from collectord.wal.disk import read_into


class Quarantine:
    """A directory that is made when there is something to put into it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def copy(self, damage: Damage, source: tuple[Path, Lsn] | None) -> Damage:
        """Copies a damaged range to `<lsn>.bin`, once, and returns the damage with the copy's path.

        Without room for the copy the bytes stay where they are, the path None, and the next start tries again.
        """
        if source is None:
            return damage
        path, base = source
        target = self._directory / f"{damage.from_lsn:020d}.bin"
        if not target.exists():
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # A range may reach behind its file: where the next segment begins, or where this one once ended.
                length = min(damage.to_lsn, base + os.fstat(fd).st_size) - damage.from_lsn
                buffer = memoryview(bytearray(max(0, length)))
                count = read_into(fd, buffer, damage.from_lsn - base)
            finally:
                os.close(fd)
            if damage.reason == "unknown end":
                # Mostly what a file is filled up with.
                count = len(bytes(buffer[:count]).rstrip(b"\0"))
            if count == 0:
                return damage
            try:
                files.make_private_directory(self._directory)
                files.write_durably(target, buffer[:count])
            except OSError:
                return damage
        return replace(damage, copy=target)

    def move(self, path: Path) -> Path:
        """Moves a file here under a name that is free, and returns its path."""
        files.make_private_directory(self._directory)
        target, number = self._directory / path.name, 0
        while os.path.lexists(target):
            number += 1
            target = self._directory / f"{path.name}.{number}"
        files.rename_durably(path, target)
        files.sync_directory(path.parent)
        return target
