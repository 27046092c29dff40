"""The locks of a directory's appends, which are also their journals: who may touch a blob, and what the last one left behind.

They are 16 files under `_collectord/appends`; a blob always uses the same one. Whoever gets a lock settles first what its last holder
did not complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from collectord import files
from collectord.upload.journal import Journal
from collectord.upload.store import CONTROL_PREFIX
from collectord.upload.tree import Tree

JOURNALS = CONTROL_PREFIX + "appends"
STRIPES = 16


class Journals:
    """All of one directory. Threads and processes: any number, on a file system where flock works."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files = [tree.root / JOURNALS / f"{stripe:02d}" for stripe in range(STRIPES)]

    @contextmanager
    def locked(self, blob: str) -> Iterator[Journal]:
        """Holds the blob's lock; what was interrupted is settled. Yields the journal."""
        fd = self._open(blob)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            journal = Journal(fd)
            self._recover(journal)
            yield journal
        finally:
            os.close(fd)

    @contextmanager
    def settled(self, blob: str) -> Iterator[int | None]:
        """Holds the blob's lock for reading. Yields how many of its bytes count, None for all.

        Whoever may write settles what was interrupted; one who may only read leaves it out.
        """
        if not self._tree.root.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._tree.root))
        try:
            fd, writable = self._open(blob), True
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            writable = False
            try:
                fd = os.open(self.of(blob), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                fd = -1
        if fd < 0:
            # Nobody has ever appended here, and this process may not.
            yield None
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if writable else fcntl.LOCK_SH)
            journal = Journal(fd)
            if writable:
                self._recover(journal)
            under_way = journal.under_way()
            yield under_way.position if under_way is not None and under_way.blob == blob else None
        finally:
            os.close(fd)

    def of(self, blob: str) -> Path:
        """The file that is the blob's lock and journal."""
        return self._files[xxhash.xxh3_64_intdigest(blob.encode()) % STRIPES]

    def _recover(self, journal: Journal) -> None:
        """Finishes or cuts off the append that the last holder of the lock did not complete."""
        under_way = journal.under_way()
        if under_way is None:
            return
        path = self._tree.path(under_way.blob)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            journal.clear()
            return
        try:
            if under_way.is_torn(fd):
                os.ftruncate(fd, under_way.position)
            files.sync_file(fd)
        finally:
            os.close(fd)
        if under_way.position == 0:
            self._tree.sync_names(path)
        journal.clear()

    def _open(self, blob: str) -> int:
        path = self.of(blob)
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._tree.make_directories(path.parent)
        try:
            return self._tree.make_file(path, os.O_RDWR)
        except FileExistsError:  # somebody else was faster
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
