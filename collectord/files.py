"""The only place that renames, syncs and replaces files, so that each of it is done right once."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

PRIVATE_DIR = 0o700
PRIVATE_FILE = 0o600
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL})


def sync_directory(path: Path) -> None:
    """Makes the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_entry(path: Path) -> None:
    """Makes the entry of a directory in its parent durable, unless the parent is not ours to sync: somebody else's, or read-only."""
    try:
        sync_directory(path.parent)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise


def sync_file(fd: int) -> None:
    """Makes a file's bytes, and what is needed to read them back, durable. Never retried after a failure."""
    os.fdatasync(fd)


def forget_cached(fd: int, begin: int, end: int) -> None:
    """Lets go of the memory in which the system keeps these bytes of a file, as far as they are synced; a page that `end`
    cuts stays.

    What is written and not read soon would else fill the memory, a container's too: each write then has to take pages from
    somebody else first, which costs more than the copy. Does nothing where the system has no such call.
    """
    end -= end % PAGE_BYTES
    if end > begin and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, begin, end - begin, os.POSIX_FADV_DONTNEED)


def write_durably(path: Path, data: bytes | memoryview, over: Path | None = None) -> None:
    """Creates or replaces `path` so that after a crash it holds either the old bytes or all of the new ones.

    `over`: a file in the same directory that nobody needs and that goes: its blocks, and its pages in memory, are used again.
    """
    temporary = path.with_name(path.name + ".tmp")
    if over is not None:
        over.replace(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.ftruncate(fd, len(data))
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_durably(temporary, path)
    except OSError:
        # On a full disk the half-written copy would keep what it needs from others.
        temporary.unlink(missing_ok=True)
        raise


def write_unsynced(path: Path, data: bytes) -> None:
    """Creates or replaces `path`, for what a power loss may take: whoever reads sees the old bytes or all of the new ones, and
    nobody waits for the disk."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def rename_durably(source: Path, target: Path) -> None:
    """Renames within one directory and syncs it."""
    source.replace(target)
    sync_directory(target.parent)


def remove_durably(path: Path) -> None:
    """Unlinks a file, which may be absent, and syncs its directory."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def nearest(path: Path) -> Path:
    """`path`, or of what is above it the nearest that is there, as far as we may look."""
    # Unlike pathlib's it raises nothing where a directory above lets nobody through.
    while not os.path.exists(path):  # noqa: PTH110
        path = path.parent
    return path


def make_private_directory(path: Path) -> None:
    """Creates `path` (and its parents) durably; its mode is then 0700. An existing directory keeps its mode.

    The entry of `path` is synced in any case: whoever made it may have been killed before he could.
    """
    absent = [path, *path.parents]
    absent = absent[: next((number for number, one in enumerate(absent) if one.is_dir()), len(absent))]
    path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
    for made in absent or [path]:
        sync_entry(made)


def try_lock(path: Path, *, writable: bool = True) -> int | None:
    """Takes an exclusive flock on `path`, created if absent. Returns the descriptor to keep open, or None if it is held.

    `writable` False: also on a disk that cannot be written, where a path that is absent raises OSError.
    """
    how = os.O_CREAT | os.O_CLOEXEC
    try:
        fd = os.open(path, os.O_RDWR | how, PRIVATE_FILE)
    except OSError as error:
        if writable or error.errno != errno.EROFS:
            raise
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


class Reserve:
    """A preallocated file whose space is given back when the disk is full, so that what drains the disk can still write.

    Holding and releasing may be repeated. Not thread-safe.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._held = path.exists() and path.stat().st_size == size

    def hold(self) -> bool:
        """Takes the space if it can be had. Returns whether it is held."""
        if not self._held:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                os.posix_fallocate(fd, 0, self._size)
                self._held = True
            except OSError:
                # Full: what was allocated so far would only make it worse.
                self._path.unlink(missing_ok=True)
            finally:
                os.close(fd)
        return self._held

    def release(self) -> bool:
        """Gives the space back. Returns whether there was any."""
        held, self._held = self._held, False
        if held:
            self._path.unlink(missing_ok=True)
        return held
