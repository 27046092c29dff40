"""A disk whose power can be cut, and whose writes and syncs can fail: what the page cache shows and what is on the platter."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from collectord.wal.disk import Disk
from collectord.wal.framing import Buffer

SECTOR = 512


class PowerCut(BaseException):
    """The machine stops here. Not an Exception: nothing of ours may handle it."""


class FaultyDisk(Disk):
    """Real files stand for the page cache; `platter` holds what a power cut would leave.

    After a failed sync the cache calls its pages clean: a later sync that succeeds does not bring them to the platter.
    """

    def __init__(self) -> None:
        self.platter: dict[Path, bytearray] = {}
        self.dirty: dict[Path, set[int]] = {}
        self.paths: dict[int, Path] = {}
        self.next: dict[str, list[Callable[[], None]]] = {}
        """Per operation the faults of the next calls, first come first served."""
        self.fired: list[str] = []
        """Names of the operations that failed."""
        self.calls: list[str] = []
        self.short: int | None = None
        """Most bytes that one write takes."""
        self.torn: int | None = None
        """Bytes that the next failing write still puts into the cache."""
        self.begun = 0
        """Segments begun."""
        self.begun_at_fault = 0
        """The same when the last fault fired."""

    def fail(self, operation: str, error: int | None, times: int = 1, after: int = 0) -> None:
        """Lets the next calls of an operation fail with an errno, or with a power cut if that is None."""

        def fault() -> None:
            self.fired.append(operation)
            self.begun_at_fault = self.begun
            raise PowerCut if error is None else OSError(error, os.strerror(error))

        self.next.setdefault(operation, []).extend([lambda: None] * after + [fault] * times)

    def heal(self) -> None:
        """Takes back all faults that have not fired."""
        self.next.clear()

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        faults = self.next.get(operation)
        if faults:
            faults.pop(0)()

    def create(self, path: Path, size: int) -> int:
        self._enter("create")
        fd = super().create(path, size)
        self.paths[fd] = path
        self.platter[path] = bytearray(size)
        self.dirty[path] = set()
        return fd

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self.paths[fd] = path
        self.platter.setdefault(path, bytearray(path.read_bytes()))
        self.dirty.setdefault(path, set())
        return fd

    def close(self, fd: int) -> None:
        self.paths.pop(fd, None)
        super().close(fd)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        try:
            self._enter("write")
        except BaseException:
            if self.torn is not None:
                self._write(fd, b"".join(buffers)[: self.torn], offset)
                self.torn = None
            raise
        data = b"".join(buffers)
        return self._write(fd, data[: self.short] if self.short else data, offset)

    def _write(self, fd: int, data: bytes, offset: int) -> int:
        count = super().write(fd, [data], offset)
        self.dirty[self.paths[fd]].update(range(offset // SECTOR, -(-(offset + count) // SECTOR)))
        return count

    def sync(self, fd: int) -> None:
        path = self.paths[fd]
        try:
            self._enter("sync")
        except OSError:
            self.dirty[path].clear()
            raise
        content = path.read_bytes()
        for sector in self.dirty[path]:
            span = slice(sector * SECTOR, (sector + 1) * SECTOR)
            self.platter[path][span] = content[span]
        self.dirty[path].clear()

    def rename(self, source: Path, target: Path) -> None:
        self._enter("rename")
        super().rename(source, target)
        self.platter[target] = self.platter.pop(source, bytearray(target.read_bytes()))
        self.dirty[target] = self.dirty.pop(source, set())
        for fd, path in self.paths.items():
            if path == source:
                self.paths[fd] = target
        self.begun += target.suffix == ".seg"

    def remove(self, path: Path) -> None:
        self._enter("remove")
        super().remove(path)
        self.platter.pop(path, None)
        self.dirty.pop(path, None)

    def discard(self, path: Path) -> None:
        super().discard(path)
        self.platter.pop(path, None)
        self.dirty.pop(path, None)

    def kill(self) -> None:
        """The process is gone; the cache survives."""
        self.heal()
        for fd in list(self.paths):
            self.close(fd)

    def cut_power(self, chance: random.Random) -> None:
        """Only the platter survives, and by chance some of the sectors that nobody had synced."""
        self.kill()
        for path, content in self.platter.items():
            if not path.exists():
                continue
            cache = path.read_bytes()
            for sector in self.dirty[path]:
                if chance.random() < 0.5:
                    span = slice(sector * SECTOR, (sector + 1) * SECTOR)
                    content[span] = cache[span]
            path.write_bytes(content)
            self.dirty[path].clear()


EIO = errno.EIO
ENOSPC = errno.ENOSPC
