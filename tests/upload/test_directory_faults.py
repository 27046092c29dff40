"""Every fault of a directory as the store: the uploads stop with a reason, go on by themselves, and each row is once."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord import files
from collectord.errors import CallHuman
from collectord.upload import mount
from collectord.upload.attempts import BlockedFor, Landed, Retry
from collectord.upload.documents import Written
from collectord.upload.journals import JOURNALS
from collectord.upload.ledger import Ledger
from collectord.upload.localdir import LocalDirectory
from collectord.upload.store import AlreadyExists, Blocked, Created
from tests.upload.crashes import Crash, every_step, steps, wired
from tests.upload.world import HEADER, Writer, check_books

NAME = "default/default/w/default/m/default/inputs/2020/09/13/data.csv"


@pytest.fixture
def store(tmp_path: Path) -> LocalDirectory:
    return LocalDirectory(tmp_path / "store")


@pytest.fixture
def writer(tmp_path: Path, store: LocalDirectory) -> Iterator[Writer]:
    writer = Writer(tmp_path / "spool", store)
    yield writer
    writer.close()


class FaultyDisk:
    """Fails the n-th write, sync or opening below a directory, from a seed; a failing write has written a part."""

    def __init__(self, root: Path, chance: random.Random, number: int, rate: float) -> None:
        self.fired = 0
        self._root, self._chance, self._number, self._rate = str(root), chance, number, rate
        self._pwrite, self._open, self._sync = os.pwrite, os.open, files.sync_file

    def _fails(self, path: str) -> bool:
        if not path.startswith(self._root) or self._chance.random() >= self._rate:
            return False
        self.fired += 1
        return True

    def _error(self) -> OSError:
        return OSError(self._number, os.strerror(self._number))

    def pwrite(self, fd: int, data: Any, at: int) -> int:
        if self._fails(os.readlink(f"/proc/self/fd/{fd}")):  # noqa: PTH115
            self._pwrite(fd, bytes(data)[: self._chance.randrange(len(data))], at)
            raise self._error()
        return self._pwrite(fd, data, at)

    def sync_file(self, fd: int) -> None:
        if self._fails(os.readlink(f"/proc/self/fd/{fd}")):  # noqa: PTH115
            raise self._error()
        self._sync(fd)

    def open(self, path: Any, flags: int, *given: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and self._fails(str(path)):
            raise self._error()
        return self._open(path, flags, *given, **named)


@pytest.mark.parametrize(
    "number, reason",
    [
        (errno.ENOSPC, "no_space"), (errno.EDQUOT, "no_space"), (errno.EROFS, "read_only"),
        (errno.EACCES, "forbidden"), (errno.EIO, None),
    ],
    ids=errno.errorcode.get,
)  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2])
def test_a_disk_that_fails_anywhere_in_an_append_neither_loses_nor_doubles(
    tmp_path: Path, store: LocalDirectory, monkeypatch: pytest.MonkeyPatch, number: int, reason: str | None, seed: int
) -> None:
    """Two daemons on one blob; the disk fails at writes, syncs and openings, of blobs and of journals."""
    print(f"seed {seed}")
    disk = FaultyDisk(store.root, random.Random(seed), number, 0.15)
    writers = [Writer(tmp_path / name, store, name=name) for name in ("p", "q")]
    outcomes: list[Retry | BlockedFor] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", disk.pwrite)
        patch.setattr(os, "open", disk.open)
        patch.setattr(files, "sync_file", disk.sync_file)
        for until in range(1, 16):
            for writer in writers:
                writer.run(until, outcomes.append)
    assert disk.fired >= 10
    blocked = {outcome.reason for outcome in outcomes if isinstance(outcome, BlockedFor)}
    assert blocked == ({reason} if reason else set())
    assert reason or outcomes
    check_books(store, [(writer, 15) for writer in writers])
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("missing", [1, 20, 40])
def test_a_torn_tail_of_our_frame_is_cut_and_written_whole(writer: Writer, store: LocalDirectory, missing: int) -> None:
    """As a machine leaves it that lost power: bytes of the append, and no journal."""
    writer.run(1)
    intent = writer.stage(2)
    data = b"".join(row + b"\n" for row in writer.rows(2))
    path = store.root / NAME
    path.write_bytes(path.read_bytes() + data[:-missing])
    for journal in (store.root / JOURNALS).iterdir():
        journal.write_bytes(b"")
    assert isinstance(writer.appender.attempt(intent), Landed)
    writer.run(4)
    check_books(store, [(writer, 4)])


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o644)


@pytest.mark.parametrize("make", [Path.mkdir, fifo, dangling, socket])
def test_something_in_the_place_that_is_no_file_is_left_alone(
    writer: Writer, store: LocalDirectory, make: Callable[[Path], None]
) -> None:
    path = store.root / NAME
    path.parent.mkdir(parents=True)
    make(path)
    writer.run(3)
    assert os.path.lexists(path) and not path.is_file()
    assert [blob.name for blob in store.list("")] == [NAME.replace("data.csv", "data.1.csv")]
    check_books(store, [(writer, 3)])


@pytest.mark.parametrize("content", [b"other,header\n1\n", b"\x00binary", b"no end of the line"])
def test_a_file_of_somebody_else_in_the_place_is_left_alone(
    writer: Writer, store: LocalDirectory, content: bytes
) -> None:
    path = store.root / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    writer.run(3)
    assert path.read_bytes() == content
    check_books(store, [(writer, 3)], lambda name, text: b"" if name == NAME else text)


@pytest.mark.parametrize("what", ["day", "journals", "all"])
def test_a_directory_deleted_under_us_is_made_again(writer: Writer, store: LocalDirectory, what: str) -> None:
    """What was in it is gone by somebody's deed; what comes then lands once, under its header."""
    writer.run(2)
    gone = {"day": (store.root / NAME).parent, "journals": store.root / JOURNALS, "all": store.root}[what]
    shutil.rmtree(gone)
    writer.run(4)
    kept = (1, 2, 3, 4) if what == "journals" else (3, 4)
    assert (store.root / NAME).read_bytes() == HEADER + b"".join(row + b"\n" for n in kept for row in writer.rows(n))


class Disk:
    """A file system that is mounted at `at`, as far as `device_of` says; what lies on it goes and comes back with it."""

    def __init__(self, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at, self._there, self._away = at, True, at.with_name("unmounted")
        at.mkdir()
        of = mount.device_of

        def device_of(directory: Path) -> int:
            ours = directory == self._at or self._at in directory.parents
            return of(directory) + (ours and self._there)

        monkeypatch.setattr(mount, "device_of", device_of)

    def unmount(self) -> None:
        self._at.rename(self._away)
        self._at.mkdir()
        self._there = False

    def mount(self) -> None:
        assert not [*self._at.rglob("*")], "something was written below the mount point"
        self._at.rmdir()
        self._away.rename(self._at)
        self._there = True


@pytest.mark.parametrize("root", ["disk", "disk/store"])
def test_nothing_lands_below_a_mount_point_while_its_disk_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    """It would be hidden as soon as the disk is back, and the books would say that it has landed."""
    disk = Disk(tmp_path / "disk", monkeypatch)
    store = LocalDirectory(tmp_path / root)
    writer = Writer(tmp_path / "spool", store)
    writer.run(2)
    assert isinstance(store.put_document("_collectord/services.json", b"{}", None), Written)
    disk.unmount()
    intent = writer.stage(3)
    outcome = writer.appender.attempt(intent)
    assert isinstance(outcome, BlockedFor) and outcome.reason == "not_mounted"
    for answer in (
        store.put_document("_collectord/services.json", b"[]", None),
        store.get_document("_collectord/services.json"),
        store.create_container(),
        store.length(NAME),
        store.state(NAME),
    ):
        assert isinstance(answer, Blocked) and answer.reason == "not_mounted", answer
    with pytest.raises(CallHuman, match="nothing is mounted at"):
        list(store.list(""))
    disk.mount()
    writer.run(4)
    check_books(store, [(writer, 4)], lambda name, text: b"" if name.startswith("_collectord/") else text)
    writer.close()


def test_a_daemon_that_starts_without_the_disk_of_its_store_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the spool remembers of it holds for this store alone, and until somebody has brought the store elsewhere."""
    disk = Disk(tmp_path / "disk", monkeypatch)
    root = tmp_path / "disk" / "store"
    ledger = Ledger(tmp_path)
    LocalDirectory(root).mount.keep(ledger)
    disk.unmount()
    waiting, other = LocalDirectory(root), LocalDirectory(tmp_path / "other")
    waiting.mount.keep(ledger)
    assert isinstance(waiting.create_container(), Blocked)
    disk.mount()
    assert isinstance(waiting.create_container(), Created)
    disk.unmount()
    (root / "_collectord" / "spools").mkdir(parents=True)
    brought = LocalDirectory(root)
    brought.mount.keep(ledger)
    assert isinstance(brought.create_container(), AlreadyExists)
    other.mount.keep(ledger)
    assert isinstance(other.create_container(), Created)
    ledger.close()


def test_a_store_that_a_link_leads_to_on_another_disk_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was brought there: while a daemon runs, and between two. A link that lies on a missing disk itself says nothing."""
    disk = Disk(tmp_path / "disk", monkeypatch)
    (tmp_path / "disk" / "store").mkdir()
    root = tmp_path / "on_the_way" / "store"
    root.parent.mkdir()
    root.symlink_to(tmp_path / "disk" / "store")
    ledger = Ledger(tmp_path)
    running = LocalDirectory(root)
    running.mount.keep(ledger)
    disk.unmount()
    assert isinstance(running.create_container(), Blocked)
    root.unlink()
    started = LocalDirectory(root)
    started.mount.keep(ledger)
    for store in (running, started):
        assert isinstance(store.create_container(), Blocked)
    (tmp_path / "larger").mkdir()
    root.symlink_to(tmp_path / "larger")
    anew = LocalDirectory(root)
    anew.mount.keep(ledger)
    for store in (running, started, anew):
        assert isinstance(store.create_container(), AlreadyExists)
    ledger.close()


@pytest.mark.parametrize("content", [b"z\n1\n", b"z\n" + b"y" * 4000 + b"\n"], ids=["shorter", "longer"])
def test_a_file_replaced_by_another_one_keeps_its_bytes(writer: Writer, store: LocalDirectory, content: bytes) -> None:
    writer.run(2)
    (store.root / NAME).unlink()
    (store.root / NAME).write_bytes(content)
    writer.run(4)
    assert (store.root / NAME).read_bytes() == content
    assert (store.root / NAME.replace("data.csv", "data.1.csv")).read_bytes() == HEADER + b"".join(
        row + b"\n" for n in (3, 4) for row in writer.rows(n)
    )


def test_a_listing_goes_on_where_a_file_has_gone_and_stays_inside(
    writer: Writer, store: LocalDirectory, tmp_path: Path
) -> None:
    writer.run(1)
    (store.root / "gone.csv").symlink_to(tmp_path / "nothing")
    (tmp_path / "outside.csv").write_bytes(b"x")
    assert [blob.name for blob in store.list("")] == [NAME]
    for prefix in (f"{tmp_path}/", "../", "a/../../", "/"):
        assert list(store.list(prefix)) == []


PERMISSIONS = """
import os, sys
from pathlib import Path
from collectord.upload.attempts import BlockedFor, Landed
from collectord.upload.localdir import LocalDirectory
from tests.upload.world import Writer, check_books
import xxhash
root = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(root, 65534, 65534)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = LocalDirectory(root / "store")
writer = Writer(root / "spool", store)
writer.run(1)
blob = next(iter(store.list(""))).name
taken = {
    "file": [root / "store" / blob],
    "journals": list((root / "store" / "_collectord" / "appends").iterdir()),
    "container": [root / "store"],
}
for number, (what, paths) in enumerate(taken.items(), 2):
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0)
    intent = writer.stage(number)
    outcome = writer.appender.attempt(intent)
    assert isinstance(outcome, BlockedFor) and outcome.reason == "forbidden", (what, outcome)
    for path, mode in zip(paths, modes):
        path.chmod(mode)
    assert isinstance(writer.appender.attempt(intent), Landed), what
check_books(store, [(writer, 4)])
writer.close()
"""


def test_a_permission_taken_away_blocks_and_given_back_heals(tmp_path: Path) -> None:
    """As a user whom permissions stop."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o711)
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, "-c", PERMISSIONS, str(folder)], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_a_crash_between_any_two_steps_with_another_daemon_on_the_file(tmp_path: Path) -> None:
    for fuse in every_step(12):
        at = fuse.at
        store = LocalDirectory(tmp_path / f"store{at}")
        other = Writer(tmp_path / f"other{at}", store, name="o")
        other.run(1)
        writer = Writer(tmp_path / f"spool{at}", store)
        with wired(fuse, steps(LocalDirectory)):
            try:
                writer.run(2)
            except Crash:
                pass
        writer.close()
        other.run(2)
        writer = Writer(tmp_path / f"spool{at}", store, seed=at)
        writer.run(3)
        check_books(store, [(writer, 3), (other, 2)])
        writer.close()
        other.close()
