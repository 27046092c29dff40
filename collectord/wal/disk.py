"""The few things that the log does to files: the one seam where tests inject faults and cut the power."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from collectord import files
from collectord.wal.framing import Buffer

PAGE_BYTES = 4096
IOV_MAX = os.sysconf("SC_IOV_MAX") if os.sysconf("SC_IOV_MAX") > 0 else 1024
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """What changes files. Every method raises OSError; a caller that meets one in write or sync abandons the file."""

    def make_directory(self, path: Path) -> None:
        """Makes a directory and its parents durably; an existing one keeps its mode."""
        files.make_private_directory(path)

    def create(self, path: Path, size: int) -> int:
        """Makes a file of `size` bytes, its blocks allocated, and returns its descriptor. Leaves nothing if it fails."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, files.PRIVATE_FILE)
        try:
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                os.ftruncate(fd, size)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return fd

    def open(self, path: Path) -> int:
        """Opens an existing file for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """One pwritev of at most IOV_MAX buffers; may write less than it was given."""
        return os.pwritev(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        """Makes what was written durable."""
        files.sync_file(fd)

    def check(self, fd: int, path: Path) -> None:
        """Raises OSError where somebody has deleted the file of `path`: what is written to its descriptor goes with the process."""
        # Asked both ways: some file systems know of no links, and the directory may have been moved as a whole.
        if os.fstat(fd).st_nlink == 0 and not path.exists():
            raise FileNotFoundError(errno.ENOENT, "the file was deleted", str(path))

    def close(self, fd: int) -> None:
        """Closes a descriptor that `create` or `open` gave."""
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Renames durably within one directory."""
        files.rename_durably(source, target)

    def discard(self, path: Path) -> None:
        """Unlinks without making it durable; the file may be absent. For names that mean nothing if they come back."""
        path.unlink(missing_ok=True)

    def remove(self, path: Path) -> None:
        """Unlinks durably; the file may be absent."""
        files.remove_durably(path)


def write_all(disk: Disk, fd: int, buffers: list[Buffer], offset: int) -> None:
    """Writes all buffers one behind the other from `offset` on, however short the single writes are."""
    start = 0
    while start < len(buffers):
        chunk: Sequence[Buffer] = buffers[start : start + IOV_MAX] if len(buffers) > IOV_MAX else buffers
        expected = sum(map(len, chunk))
        written = disk.write(fd, chunk, offset)
        offset += written
        start += len(chunk)
        if written == expected:
            continue
        rest = memoryview(b"".join(chunk))[written:]
        while rest:
            written = disk.write(fd, [rest], offset)
            if written == 0:
                raise OSError(errno.EIO, "the file takes no more bytes")
            offset += written
            rest = rest[written:]


def read_into(fd: int, view: memoryview, offset: int) -> int:
    """Fills `view` from `offset` on and returns the bytes read, fewer at the end of the file.

    Pages that the device cannot read are zero in `view`: they are then damage like any other.
    """
    done = 0
    while done < len(view):
        try:
            count = os.preadv(fd, [view[done:]], offset + done)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return done + _read_pages(fd, view[done:], offset + done)
        if count == 0:
            break
        done += count
    return done


def _read_pages(fd: int, view: memoryview, offset: int) -> int:
    done = 0
    while done < len(view):
        length = min(PAGE_BYTES - (offset + done) % PAGE_BYTES, len(view) - done)
        try:
            count = os.preadv(fd, [view[done : done + length]], offset + done)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            view[done : done + length] = bytes(length)
            count = min(length, max(0, os.fstat(fd).st_size - offset - done))
        if count == 0:
            break
        done += count
    return done


class Window:
    """A file seen through a reused buffer. One thread at a time."""

    __slots__ = ("_buffer", "_chunk", "_fd", "_length", "_offset")

    def __init__(self, fd: int, chunk: int) -> None:
        self._fd = fd
        self._chunk = chunk
        self._buffer = memoryview(bytearray(chunk))
        self._offset = 0
        self._length = 0

    def at(self, offset: int, length: int, ahead: int | None = None) -> memoryview:
        """`length` bytes at `offset`, fewer at the end of the file; valid until the next call.

        What is not at hand is read, and `ahead` bytes with it (the window's size unless given).
        """
        start = offset - self._offset
        if start < 0 or start + length > self._length:
            want = max(length, self._chunk if ahead is None else ahead)
            if want > len(self._buffer):
                self._buffer = memoryview(bytearray(want))
            self._length = 0
            count = read_into(self._fd, self._buffer[:want], offset)
            self._offset, self._length = offset, count
            start = 0
        return self._buffer[start : min(start + length, self._length)]

    def look_at(self, fd: int) -> None:
        """Turns to a descriptor, and drops what is at hand."""
        self._fd = fd
        self._length = 0
