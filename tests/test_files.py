"""Renaming, syncing and replacing, done right once."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from collectord import files


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and renamed, in order."""
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recorded_fsync(fd: int) -> None:
        calls.append("sync " + Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def recorded_replace(source: Path, target: Path) -> Path:
        calls.append(f"rename {source.name} {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    return calls


def test_a_durable_write_syncs_the_bytes_then_renames_then_syncs_the_directory(
    tmp_path: Path, syncs: list[str]
) -> None:
    """In any other order a crash could leave an empty file under the name."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    files.write_durably(path, memoryview(b"fresh"))
    assert path.read_bytes() == b"fresh"
    assert syncs == ["sync x.tmp", "rename x.tmp x", f"sync {tmp_path.name}"]
    assert stat.S_IMODE(path.stat().st_mode) == files.PRIVATE_FILE
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    files.write_durably(tmp_path / "x", b"0123456789")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_failed_write_leaves_the_old_bytes_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, failing, fail)
        files.write_durably(path, b"fresh")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    files.write_durably(path, b"fresh")
    assert path.read_bytes() == b"fresh"


def test_what_a_crash_left_behind_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "x.tmp").write_bytes(b"a longer rest of an earlier attempt")
    files.write_durably(tmp_path / "x", b"fresh")
    assert (tmp_path / "x").read_bytes() == b"fresh"


@pytest.mark.parametrize("data", [b"fresh", b"fresh, and longer than what was there"])
def test_another_file_s_blocks_are_written_over_before_it_gets_the_name(
    tmp_path: Path, syncs: list[str], data: bytes
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "spare").write_bytes(b"nobody needs this")
    inode = (tmp_path / "spare").stat().st_ino
    files.write_durably(tmp_path / "x", data, tmp_path / "spare")
    assert ((tmp_path / "x").stat().st_ino, (tmp_path / "x").read_bytes()) == (inode, data)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    assert syncs == ["rename spare x.tmp", "sync x.tmp", "rename x.tmp x", f"sync {tmp_path.name}"]


def cached_pages(fd: int, size: int) -> int:
    """Pages of a file that are in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    shared, readable = 1, 1
    address = libc.mmap(None, ctypes.c_size_t(size), readable, shared, fd, ctypes.c_long(0))
    said = (ctypes.c_ubyte * (size // files.PAGE_BYTES))()
    assert libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), said) == 0
    assert libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size)) == 0
    return sum(one & 1 for one in said)


def test_bytes_that_are_forgotten_are_in_no_memory_and_still_in_the_file() -> None:
    """Not in a temporary directory of the tests, which may be all memory."""
    with tempfile.TemporaryFile(dir=Path(__file__).parent) as file:
        fd, size = file.fileno(), 64 * files.PAGE_BYTES
        os.pwrite(fd, b"x" * size, 0)
        files.sync_file(fd)
        assert cached_pages(fd, size) == 64
        files.forget_cached(fd, 0, files.PAGE_BYTES - 1)
        assert cached_pages(fd, size) == 64
        files.forget_cached(fd, 0, size)
        assert cached_pages(fd, size) == 0
        assert os.pread(fd, size, 0) == b"x" * size


def test_a_system_that_cannot_forget_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    files.forget_cached(-1, 0, 1 << 20)


def test_removing_syncs_the_directory_and_may_be_repeated(tmp_path: Path, syncs: list[str]) -> None:
    (tmp_path / "x").touch()
    files.remove_durably(tmp_path / "x")
    files.remove_durably(tmp_path / "x")
    assert syncs == [f"sync {tmp_path.name}"] * 2


def test_syncing_a_file_reaches_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    files.sync_file(7)
    assert synced == [7]


def test_the_nearest_that_is_there_is_looked_for_only_where_we_may_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that lets nobody through is the nearest, and no error."""
    (tmp_path / "closed" / "inner").mkdir(parents=True)
    assert files.nearest(tmp_path / "closed") == tmp_path / "closed"
    assert files.nearest(tmp_path / "closed" / "a" / "b") == tmp_path / "closed"
    real = os.stat

    def guarded(path: str | Path, **more: Any) -> os.stat_result:
        if str(path).startswith(f"{tmp_path}/closed/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **more)

    monkeypatch.setattr(os, "stat", guarded)
    assert files.nearest(tmp_path / "closed" / "inner" / "a") == tmp_path / "closed"


def test_a_private_directory_is_made_with_its_parents_and_an_existing_one_keeps_its_mode(tmp_path: Path) -> None:
    files.make_private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == files.PRIVATE_DIR
    (tmp_path / "a" / "b").chmod(0o750)
    files.make_private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750


def test_a_private_directory_survives_a_power_loss_with_all_that_lead_to_it(tmp_path: Path, syncs: list[str]) -> None:
    """Each directory's entry is in its parent, so each parent that got one is synced; and the last one also if it was
    made by somebody who was killed before he could."""
    files.make_private_directory(tmp_path / "a" / "b" / "c")
    assert sorted(syncs) == sorted(["sync b", "sync a", f"sync {tmp_path.name}"])
    syncs.clear()
    files.make_private_directory(tmp_path / "a" / "b" / "c")
    assert syncs == ["sync b"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EINVAL, errno.EIO])
def test_only_a_parent_that_is_not_ours_may_refuse_to_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A mount point in a read-only root is as good as any; a disk that fails is not."""

    def refuse(path: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "sync_directory", refuse)
    if code == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(code)):
            files.make_private_directory(tmp_path)
    else:
        files.make_private_directory(tmp_path)


def test_a_lock_is_held_by_one_and_free_when_its_descriptor_is_closed(tmp_path: Path) -> None:
    first = files.try_lock(tmp_path / "lock")
    assert first is not None
    assert files.try_lock(tmp_path / "lock") is None
    os.close(first)
    second = files.try_lock(tmp_path / "lock")
    assert second is not None
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == files.PRIVATE_FILE
    os.close(second)


def test_a_refused_lock_leaks_no_descriptor(tmp_path: Path) -> None:
    held = files.try_lock(tmp_path / "lock")
    assert held is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert files.try_lock(tmp_path / "lock") is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(held)


def test_what_may_be_lost_is_replaced_as_a_whole_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    for data in (b"one" * 1000, b"two"):
        files.write_unsynced(path, data)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        files.write_unsynced(tmp_path / "folder", b"x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["folder", "messages"]


def test_a_lock_is_taken_on_a_disk_that_cannot_be_written_by_who_only_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "lock", os.open
    path.touch()

    def read_only(name: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(name))
        return opened(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError, match="Read-only"):
        files.try_lock(path)
    held = files.try_lock(path, writable=False)
    assert held is not None and files.try_lock(path, writable=False) is None
    os.close(held)
