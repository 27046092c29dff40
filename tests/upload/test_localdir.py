"""A directory keeps the promises of a store through torn writes, failing disks, and many processes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord import files
from collectord.upload import localdir
from collectord.upload.journals import JOURNALS, Journals
from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import MAX_APPEND, Absent, Appended, Blocked, Created, Unknown, WrongPosition

NAME = "a/b/data.csv"


def path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


@pytest.fixture
def store(tmp_path: Path) -> LocalDirectory:
    store = LocalDirectory(tmp_path / "store")
    store.create_container()
    store.create(NAME, "text/csv", {})
    return store


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_files_are_for_everybody_to_read_whatever_the_umask(umask: None, tmp_path: Path) -> None:
    store = LocalDirectory(tmp_path / "store")
    store.create_container()
    store.create(NAME, "text/csv", {})
    store.append(NAME, b"x", 0)
    for path in (store.root, store.root / "a", store.root / "a/b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((store.root / NAME).stat().st_mode) == 0o644


def test_nothing_but_data_lies_beside_the_data(store: LocalDirectory) -> None:
    store.append(NAME, b"x", 0)
    assert [blob.name for blob in store.list("")] == [NAME]
    others = [path for path in store.root.rglob("*") if path.is_file() and path != store.root / NAME]
    assert others and all(path.parent == store.root / JOURNALS for path in others)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\0b", "a/"])
def test_names_that_leave_the_directory_are_a_mistake_of_the_caller(store: LocalDirectory, name: str) -> None:
    for call in (lambda: store.append(name, b"x", 0), lambda: store.create(name, "", {}), lambda: store.length(name)):
        with pytest.raises(ValueError, match="not a blob's name"):
            call()


def test_the_bytes_are_synced_before_the_answer_and_the_names_with_the_first(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_file", lambda fd: synced.append(path_of(fd)))
    monkeypatch.setattr(files, "sync_directory", lambda path: synced.append(str(path)))
    store.append(NAME, b"one", 0)
    journal, *rest = synced
    assert JOURNALS in journal
    assert rest == [str(store.root / NAME), str(store.root / "a/b"), str(store.root / "a"), str(store.root),
                    str(store.root.parent)]  # fmt: skip
    synced.clear()
    store.append(NAME, b"two", 3)
    assert synced == [journal, str(store.root / NAME)]


def test_what_was_appended_leaves_the_memory_only_once_it_is_synced(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before its beginning on: there lie pages that the append before could not let go of."""
    steps: list[object] = []
    monkeypatch.setattr(files, "sync_file", lambda fd: steps.append(path_of(fd)))
    monkeypatch.setattr(files, "forget_cached", lambda fd, begin, end: steps.append((path_of(fd), begin, end)))
    path = str(store.root / NAME)
    for position, size, begin in ((0, MAX_APPEND, 0), (MAX_APPEND, 10, 0), (MAX_APPEND + 10, 5, 10)):
        steps.clear()
        assert store.append(NAME, b"x" * size, position) == Appended(position + size)
        assert steps[1:] == [path, (path, begin, position + size)]


class Killed(BaseException):
    """The process ends here."""


def die_while_writing(
    monkeypatch: pytest.MonkeyPatch, store: LocalDirectory, data: bytes, position: int, written: int
) -> None:
    """An append of which only the first bytes reach the file, by a process that then does nothing more."""
    write = localdir.write_at

    def torn(fd: int, given: bytes | memoryview, at: int) -> None:
        write(fd, bytes(given)[:written], at)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(localdir, "write_at", torn)
        store.append(NAME, data, position)


@pytest.mark.parametrize("written", [0, 1, 5, 6])
@pytest.mark.parametrize("position", [0, 4])
def test_a_torn_append_is_never_followed_by_another_s_bytes(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch, position: int, written: int
) -> None:
    """Whoever comes next sees the bytes of a whole append or none, and appends right behind."""
    before = b"old\n"[:position]
    if before:
        store.append(NAME, before, 0)
    die_while_writing(monkeypatch, store, b"mine1\n", position, written)
    other = LocalDirectory(store.root)
    whole = before + (b"mine1\n" if written == 6 else b"")
    assert other.length(NAME) == len(whole)
    assert other.append(NAME, b"other\n", len(whole)) == Appended(len(whole) + 6)
    assert (store.root / NAME).read_bytes() == whole + b"other\n"


@pytest.mark.parametrize("written", [0, 1, 5])
def test_a_torn_append_is_repeated_whole(store: LocalDirectory, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    die_while_writing(monkeypatch, store, b"mine1\n", 0, written)
    assert store.append(NAME, b"mine1\n", 0) == Appended(6)
    assert (store.root / NAME).read_bytes() == b"mine1\n"


def test_a_torn_append_without_its_journal_is_cut_by_the_one_who_repeats_it(store: LocalDirectory) -> None:
    store.append(NAME, b"old\n", 0)
    (store.root / NAME).write_bytes(b"old\nmin")
    assert store.append(NAME, b"mine1\n", 4) == Appended(10)
    assert (store.root / NAME).read_bytes() == b"old\nmine1\n"
    (store.root / NAME).write_bytes(b"old\nmine1\nthe")
    assert isinstance(store.append(NAME, b"mine2\n", 10), WrongPosition)


def test_an_append_that_was_whole_but_not_synced_is_synced_before_it_counts(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_while_writing(monkeypatch, store, b"mine1\n", 0, 6)
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_file", lambda fd: synced.append(path_of(fd)))
    monkeypatch.setattr(files, "sync_directory", lambda path: synced.append(str(path)))
    assert store.length(NAME) == 6
    assert str(store.root / NAME) in synced and str(store.root) in synced


def test_a_journal_torn_itself_says_that_nothing_was_written(store: LocalDirectory) -> None:
    store.append(NAME, b"old\n", 0)
    for journal in (store.root / JOURNALS).iterdir():
        journal.write_bytes(os.urandom(50))
    assert store.append(NAME, b"more\n", 4) == Appended(9)


def test_bytes_whose_sync_failed_are_not_taken_for_durable(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would read back from memory; the next attempt must write them once more."""
    store.append(NAME, b"old\n", 0)
    sync = files.sync_file

    def fail(fd: int) -> None:
        if JOURNALS not in path_of(fd):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_file", fail)
        assert isinstance(store.append(NAME, b"mine\n", 4), Unknown)
    assert store.length(NAME) == 4
    assert store.append(NAME, b"mine\n", 4) == Appended(9)


@pytest.mark.parametrize(
    "number, reason",
    [(errno.ENOSPC, "no_space"), (errno.EDQUOT, "no_space"), (errno.EROFS, "read_only"), (errno.EIO, None)],
)
def test_a_disk_that_refuses_leaves_the_file_as_it_was(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch, number: int, reason: str | None
) -> None:
    store.append(NAME, b"old\n", 0)
    write = os.pwrite

    def half(fd: int, data: Any, at: int) -> int:
        if at == 4:
            return write(fd, bytes(data)[:2], at)
        if at == 6:
            raise OSError(number, os.strerror(number))
        return write(fd, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        outcome = store.append(NAME, b"mine\n", 4)
    assert (outcome.reason if isinstance(outcome, Blocked) else None) == reason
    assert (store.root / NAME).read_bytes() == b"old\n"
    assert store.append(NAME, b"mine\n", 4) == Appended(9)


def test_names_that_the_file_system_does_not_take_are_blocked(store: LocalDirectory) -> None:
    outcome = store.create("x" * 300, "", {})
    assert isinstance(outcome, Blocked) and outcome.reason == "bad_name"
    outcome = store.create(NAME + "/below/a/file", "", {})
    assert isinstance(outcome, Blocked) and outcome.reason == "bad_name"


def test_what_is_no_file_is_no_absent_document(store: LocalDirectory) -> None:
    """Else whoever puts a directory or a pipe there would have switched everything back."""
    folder, pipe = (store.root / name for name in ("services.json", "other.json"))
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe):
        assert isinstance(store.get_document(path.name), Blocked)
        assert isinstance(store.put_document(path.name, b"{}", None), Blocked)
    assert store.get_document("nothing.json") is None


def test_a_container_that_vanishes_is_made_again_with_everything_in_it(store: LocalDirectory) -> None:
    for path in sorted(store.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert store.append(NAME, b"x", 0) == Absent()
    assert store.create(NAME, "", {}) == Created()
    assert store.append(NAME, b"x", 0) == Appended(1)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_somebody_who_may_only_read_sees_whole_appends_and_changes_nothing(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store.append(NAME, b"old\n", 0)
    die_while_writing(monkeypatch, store, b"mine1\n", 4, 3)

    def refuse(self: Journals, blob: str) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Journals, "_open", refuse)
    reader = LocalDirectory(store.root)
    assert reader.length(NAME) == 4
    assert reader.read(NAME, 0, 100) == b"old\n"
    assert reader.read("a/b/other.csv", 0, 100) is None
    assert (store.root / NAME).read_bytes() == b"old\nmin"


def test_what_is_removed_is_absent_and_what_was_just_appended_to_is_not_removed(
    store: LocalDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the lock of its appends, so that none of them goes into a file that has no name any more."""
    removed: list[Path] = []

    def remove(path: Path) -> None:
        with store._journals.of(NAME).open("rb") as journal, pytest.raises(BlockingIOError):
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        removed.append(path)
        path.unlink()

    monkeypatch.setattr(files, "remove_durably", remove)
    path = store.root / NAME
    assert isinstance(store.append(NAME, b"abc", 0), Appended)
    changed = path.stat().st_mtime
    assert store.expire(NAME, changed) is None
    assert store.expire(NAME, changed + 1, only_look=True) == 3
    assert not removed
    assert store.expire(NAME, changed + 1) == 3
    assert removed == [path]
    assert store.append(NAME, b"def", 3) == Absent()
    assert store.expire(NAME, changed + 1) is None
    assert store.expire("a", changed + 10**6) is None, "a folder is no blob"


def test_many_processes_append_to_one_blob_without_a_gap(store: LocalDirectory) -> None:
    """Each takes the length, tries, and tries again where another was faster."""
    script = f"""
import sys
from pathlib import Path
from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import Appended
store = LocalDirectory(Path({str(store.root)!r}))
for number in range(60):
    line = f"{{sys.argv[1]}}-{{number}}\\n".encode()
    while not isinstance(store.append({NAME!r}, line, store.length({NAME!r})), Appended):
        pass
"""
    root = Path(__file__).parents[2]
    running = [subprocess.Popen([sys.executable, "-c", script, str(number)], cwd=root) for number in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    lines = (store.root / NAME).read_text().splitlines()
    assert sorted(lines) == sorted(f"{process}-{number}" for process in range(3) for number in range(60))
    for process in range(3):
        assert [line for line in lines if line.startswith(f"{process}-")] == [f"{process}-{n}" for n in range(60)]


def test_a_strangers_file_whose_name_is_no_text_hides_none_of_ours(store: LocalDirectory) -> None:
    """Such a name is in no index, address or journal; what has landed is listed without it."""
    for raw in (b"x\xff.csv", b"\xfe/x.csv"):
        path = store.root / "a/b" / os.fsdecode(raw)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x\n")
    assert [blob.name for blob in store.list("")] == [NAME]
    assert [blob.name for blob in store.list("a/b/")] == [NAME]
