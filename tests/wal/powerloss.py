"""A disk that forgets: after a power loss only what was synced is there for certain, of all else any part may be.

The real directory stands for the page cache. Beside it every file has a platter, in sectors, and the directory a list of changes
that no sync of it has covered: names made, renamed, removed. Nothing is taken for granted that POSIX does not promise:
syncing a file does not sync its name, and unsynced sectors and names survive in any combination, whatever their order was.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collectord.wal.disk import Disk
from collectord.wal.framing import Buffer
from tests.wal.faults import PowerCut

Chance = Callable[[], bool]


def nothing_more() -> bool:
    """What was not synced is gone."""
    return False


def everything() -> bool:
    """What was not synced had reached the disk all the same."""
    return True


@dataclass(eq=False)
class Inode:
    """A file: what is certain of it, and which of its sectors are not."""

    certain: bytearray = field(default_factory=bytearray)
    unsynced: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)
    """Sectors of a failed sync: the cache calls them clean, the platter may hold them or not."""
    sized: bool = False
    """Whether its length was ever synced."""


@dataclass
class Change:
    """Of a directory: a name that is bound to a file, or to none; `leaves` is the name that goes with it in a rename."""

    name: str
    inode: Inode | None
    leaves: str | None = None


class ForgetfulDisk(Disk):
    """Counts the moments at which the power may fail, and fails it at one of them."""

    def __init__(self, folder: Path, sector: int = 4096) -> None:
        """`folder` is the one directory that is modelled, the log's."""
        self._folder = folder
        self._sector = sector
        self._certain: dict[str, Inode] = {}
        self._names: dict[str, Inode] = {}
        self._changes: list[Change] = []
        self._fds: dict[int, Inode] = {}
        self._made = False
        self._made_certain = False
        self.moments = 0
        self.fails_at: int | None = None
        """The moment at which the power fails."""
        self.failing_syncs = 0
        """How many of the next syncs fail with EIO."""
        self.syncs_failed = 0
        self.failing_directory_syncs = 0
        self.directory_syncs_failed = 0
        self.recycled = 0
        """How often a file that had been a segment was opened to be written."""

    def _moment(self) -> None:
        moment = self.moments
        self.moments += 1
        if moment == self.fails_at:
            raise PowerCut

    def make_directory(self, path: Path) -> None:
        assert path == self._folder
        self._moment()
        path.mkdir(parents=True, exist_ok=True)
        self._made = True
        self._moment()
        self._made_certain = True

    def create(self, path: Path, size: int) -> int:
        self._moment()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        os.ftruncate(fd, size)
        inode = Inode(bytearray(size))
        self._bind(path.name, inode)
        self._fds[fd] = inode
        self._moment()
        return fd

    def open(self, path: Path) -> int:
        self._moment()
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._fds[fd] = self._names[path.name]
        self.recycled += path.suffix == ".spare"
        return fd

    def close(self, fd: int) -> None:
        del self._fds[fd]
        os.close(fd)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(buffers)
        self._moment()
        # Cut in the middle, half of it is in the cache.
        half = len(data) // 2
        self._write(fd, data[:half], offset)
        self._moment()
        self._write(fd, data[half:], offset + half)
        return len(data)

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        assert os.pwrite(fd, data, offset) == len(data)
        touched = set(range(offset // self._sector, -(-(offset + len(data)) // self._sector)))
        inode = self._fds[fd]
        inode.unsynced |= touched
        inode.given_up -= touched

    def sync(self, fd: int) -> None:
        self._moment()
        inode = self._fds[fd]
        if self.failing_syncs:
            self.failing_syncs -= 1
            self.syncs_failed += 1
            inode.given_up |= inode.unsynced
            inode.unsynced.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        size = os.fstat(fd).st_size
        for sector in inode.unsynced:
            begin = sector * self._sector
            inode.certain[begin : begin + self._sector] = os.pread(fd, self._sector, begin)
        inode.unsynced.clear()
        inode.sized = True
        assert len(inode.certain) == size
        # Synced, but whoever waits for it has not heard of it.
        self._moment()

    def rename(self, source: Path, target: Path) -> None:
        self._moment()
        source.replace(target)
        inode = self._names.pop(source.name)
        self._names[target.name] = inode
        self._changes.append(Change(target.name, inode, source.name))
        self._sync_directory()

    def remove(self, path: Path) -> None:
        self._moment()
        path.unlink(missing_ok=True)
        if self._names.pop(path.name, None) is not None:
            self._changes.append(Change(path.name, None))
        self._sync_directory()

    def discard(self, path: Path) -> None:
        self._moment()
        path.unlink(missing_ok=True)
        if self._names.pop(path.name, None) is not None:
            self._changes.append(Change(path.name, None))

    def _bind(self, name: str, inode: Inode) -> None:
        self._names[name] = inode
        self._changes.append(Change(name, inode))

    def _sync_directory(self) -> None:
        self._moment()
        if self.failing_directory_syncs:
            self.failing_directory_syncs -= 1
            self.directory_syncs_failed += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._changes.clear()
        self._certain = dict(self._names)
        self._moment()

    def lose_power(self, chance: Chance) -> None:
        """What is certain stays; of the rest whatever `chance` says. Afterwards all that is there is certain."""
        for fd in list(self._fds):
            self.close(fd)
        cache = {name: (self._folder / name).read_bytes() for name in self._names} if self._made else {}
        content = {id(inode): cache[name] for name, inode in self._names.items()}
        survivors = dict(self._certain)
        for change in self._changes:
            if chance():
                if change.leaves is not None:
                    survivors.pop(change.leaves, None)
                if change.inode is None:
                    survivors.pop(change.name, None)
                else:
                    survivors[change.name] = change.inode
        shutil.rmtree(self._folder, ignore_errors=True)
        self._made = self._made_certain = self._made_certain or chance()
        self._changes.clear()
        self._names = {}
        if self._made:
            self._folder.mkdir(parents=True)
            for name, inode in survivors.items():
                self._names[name] = self._left(name, inode, content.get(id(inode)), chance)
        self._certain = dict(self._names)

    def _left(self, name: str, inode: Inode, cached: bytes | None, chance: Chance) -> Inode:
        """Writes what is left of a file."""
        left = bytearray(inode.certain)
        for sector in sorted(inode.unsynced | inode.given_up):
            span = slice(sector * self._sector, (sector + 1) * self._sector)
            if cached is not None and chance():
                left[span] = cached[span]
        if not inode.sized and not chance():
            left.clear()
        (self._folder / name).write_bytes(left)
        return Inode(left, sized=True)


def by_seed(seed: int) -> Chance:
    """Half of what is not certain."""
    source = random.Random(seed)
    return lambda: source.random() < 0.5
