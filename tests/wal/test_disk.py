"""The one seam to the disk: what it makes durable, and that it leaves nothing half done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from collectord import files
from collectord.wal.disk import Disk, write_all
from tests.wal.faults import ENOSPC, FaultyDisk


def test_a_directory_is_made_with_its_parents_and_each_is_synced_into_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_directory", synced.append)
    Disk().make_directory(tmp_path / "spool" / "log")
    assert (tmp_path / "spool" / "log").stat().st_mode & 0o777 == 0o700
    assert set(synced) == {tmp_path, tmp_path / "spool"}
    synced.clear()
    # Whoever made it may have been cut short before he could sync it.
    Disk().make_directory(tmp_path / "spool" / "log")
    assert set(synced) == {tmp_path / "spool"}


def test_a_file_that_cannot_be_allocated_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Disk().create(tmp_path / "x.new", 8192)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_allocate_gets_a_file_of_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    disk = Disk()
    disk.close(disk.create(tmp_path / "x.new", 8192))
    assert (tmp_path / "x.new").stat().st_size == 8192


def test_discarding_and_removing_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    for _ in range(2):
        Disk().discard(tmp_path / "a")
        Disk().remove(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_takes_no_more_bytes_is_an_error(tmp_path: Path) -> None:
    disk = FaultyDisk()
    fd = disk.create(tmp_path / "x", 4096)
    disk.short = 1
    write_all(disk, fd, [b"abc", b"def"], 10)
    assert os.pread(fd, 6, 10) == b"abcdef"
    taken = iter([2, 0])
    disk.write = lambda fd, buffers, offset: next(taken)  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no more bytes"):
        write_all(disk, fd, [b"abc"], 0)
    disk.close(fd)
