"""Where the files of a directory store lie: names, directories, and their entries on the disk.

A command that root runs beside a daemon of another user (`sudo collectord doctor`) must not leave behind what that daemon
cannot open: what root makes here belongs to whoever has the directory that it lies in.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from collectord import files

PUBLIC_DIR = 0o755
PUBLIC_FILE = 0o644


class Tree:
    """Everything below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, blob: str) -> Path:
        """Of a blob's file. Raises ValueError for what is no blob's name."""
        if any(level in ("", ".", "..") for level in blob.split("/")) or "\0" in blob:
            raise ValueError(f"not a blob's name: {blob!r}")
        return self.root / blob

    def make_directories(self, path: Path) -> None:
        """Makes a directory and those above it, if they are absent. Raises OSError."""
        if path.is_dir():
            return
        self.make_directories(path.parent)
        try:
            path.mkdir()
            path.chmod(PUBLIC_DIR)
            if os.geteuid() == 0:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    give(fd, path)
                finally:
                    os.close(fd)
        except FileExistsError:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None

    def make_file(self, path: Path, flags: int, mode: int = PUBLIC_FILE) -> int:
        """Makes a file that is not there and returns its descriptor. Raises FileExistsError, or another OSError."""
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            give(fd, path)
        except OSError:
            os.close(fd)
            raise
        return fd

    def sync_names(self, path: Path) -> None:
        """Makes the entries from the root down to the file durable."""
        folder = path.parent
        while True:
            files.sync_directory(folder)
            if folder == self.root:
                break
            folder = folder.parent
        # Whoever has made the root may have been killed before he could.
        files.sync_entry(self.root)


def give(fd: int, path: Path) -> None:
    """To the owner of the directory, of what root has just made. By its descriptor: a name may lead elsewhere by now."""
    if os.geteuid() == 0:
        theirs = path.parent.stat()
        if theirs.st_uid != 0:
            os.fchown(fd, theirs.st_uid, theirs.st_gid)
