"""Disks that are full, or turn read-only: nothing acknowledged is lost, and the daemon goes on by itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from collectord_client import Client

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

BUDGET = 256 << 20


def fill(disk: Path) -> Path:
    """Takes every byte that is left."""
    filler = disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True)
    assert shutil.disk_usage(disk).free == 0
    return filler


def peak_rss(daemon: Daemon) -> int:
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def rows_landed(daemon: Daemon) -> int:
    return sum(book.landed for book in daemon.books().values())


def uploads_failed(daemon: Daemon) -> bool:
    return any(
        name.startswith("collectord_upload_failures_total") and count for name, count in daemon.metrics().items()
    )


class Scorer:
    """Collects numbered rows; what was acknowledged is an obligation."""

    def __init__(self, daemon: Daemon) -> None:
        self.client = Client(model="disk", endpoint=daemon.endpoint, outbox_bytes=4 << 20, linger=0.05)
        self._numbers = self.client.collector("inputs", feature_names=["n", *"abcde"])
        self._next = 0

    def collect(self, rows: int) -> None:
        table = np.random.default_rng(self._next).standard_normal((rows, 6))
        table[:, 0] = np.arange(self._next, self._next + rows)
        self._numbers.collect(table)
        self._next += rows

    def land(self, daemon: Daemon, rows: int) -> None:
        """The first rows of all, up to the store."""
        self.collect(rows)
        assert self.client.flush(30)
        eventually(lambda: rows_landed(daemon) == rows, "the first rows have landed")

    def check(self, daemon: Daemon) -> None:
        """All that was taken in is in the blobs once, and a fresh row goes through."""
        self.collect(1)
        assert self.client.flush(30), self.client.stats()
        daemon.flush(60)
        stats = self.client.stats()
        assert stats["acknowledged"] == stats["collected"] > 1
        numbers = [float(row["n"]) for row in landed.rows(landed.directory(Path(str(daemon.settings["store"]))))]
        assert len(numbers) == len(set(numbers)) == stats["acknowledged"]
        assert max(numbers) == self._next - 1
        (book,) = daemon.books().values()
        assert book.received == book.landed == stats["acknowledged"]


@pytest.fixture
def scorer() -> Iterator[Callable[[Daemon], Scorer]]:
    made: list[Scorer] = []

    def make(daemon: Daemon) -> Scorer:
        made.append(Scorer(daemon))
        return made[-1]

    yield make
    for one in made:
        one.client.close(1)


def test_a_spool_without_a_byte_left_drains_when_the_store_is_back(
    make_daemon: MakeDaemon, small_disk: Callable[[str, int], Path], folder: Path, scorer: Callable[[Daemon], Scorer]
) -> None:
    """The store refuses until the log has filled its disk; then the disk is filled to the last byte; then the store heals.
    Meanwhile the client's outbox fills and it drops and counts; memory stays within the budget."""
    disk = small_disk("spool", 72)
    store = folder / "store"
    store.write_text("in the way")
    daemon = make_daemon(
        spool=disk / "s", store=store, flush_interval=1, segment_bytes=16 << 20, spool_budget=1 << 30,
        memory_budget=BUDGET,
    ).start()  # fmt: skip
    score = scorer(daemon)

    def outbox_is_full() -> bool:
        score.collect(2000)
        return bool(score.client.stats()["dropped"].get("outbox_full"))

    eventually(outbox_is_full, "the log takes no more and the outbox is full", 60)
    assert any("not acknowledged" in event["event"] for event in daemon.events())
    filler = fill(disk)
    store.unlink()
    daemon.flush(60)
    assert any("reserve" in event["event"] for event in daemon.events())
    filler.unlink()
    score.check(daemon)
    assert peak_rss(daemon) < BUDGET


def test_a_directory_store_that_is_full_gets_no_torn_row(
    make_daemon: MakeDaemon, small_disk: Callable[[str, int], Path], scorer: Callable[[Daemon], Scorer]
) -> None:
    """Appends fail in the middle for want of room; when there is room again everything lands, once."""
    disk = small_disk("store", 4)
    daemon = make_daemon(store=disk / "data", flush_interval=0.2).start()
    score = scorer(daemon)
    score.land(daemon, 1000)
    filler = fill(disk)
    for _ in range(20):
        score.collect(1000)
    assert score.client.flush(30)
    eventually(lambda: uploads_failed(daemon), "an append has failed")
    filler.unlink()
    score.check(daemon)


def test_a_store_that_turns_read_only_is_taken_up_again(
    make_daemon: MakeDaemon, small_disk: Callable[[str, int], Path], scorer: Callable[[Daemon], Scorer]
) -> None:
    """The stream is blocked and says why; it goes on when the disk may be written again."""
    disk = small_disk("store", 32)
    daemon = make_daemon(store=disk / "data", flush_interval=0.2).start()
    score = scorer(daemon)
    score.land(daemon, 100)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    score.collect(100)
    assert score.client.flush(30), "the store is not asked for an acknowledgement"
    eventually(lambda: uploads_failed(daemon), "an append has failed")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    score.check(daemon)


def test_a_store_whose_disk_goes_is_not_begun_anew_below_its_mount_point(
    make_daemon: MakeDaemon, small_disk: Callable[[str, int], Path], folder: Path, scorer: Callable[[Daemon], Scorer]
) -> None:
    """Neither by the daemon that ran nor by one that starts meanwhile; it goes on when the disk is back."""
    disk = small_disk("store", 32)
    daemon = make_daemon(store=disk / "data", flush_interval=0.2, claim_interval=1).start()
    score = scorer(daemon)
    score.land(daemon, 100)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(elsewhere)], check=True)
    subprocess.run(["umount", "-l", str(disk)], check=True)
    try:
        score.collect(100)
        assert score.client.flush(30), "the store is not asked for an acknowledgement"
        eventually(lambda: "nothing is mounted at" in str(daemon.status()["troubles"]), "the status says it")
        daemon.kill9()
        daemon.start()
        eventually(lambda: "nothing is mounted at" in daemon.http("/readyz")[1], "so does the next daemon")
        examined = daemon.cli("doctor").stdout
        assert "BROKEN store" in examined and "nothing is mounted at" in examined
        assert not [*disk.iterdir()]
    finally:
        subprocess.run(["mount", "--bind", str(elsewhere), str(disk)], check=True)
        subprocess.run(["umount", "-l", str(elsewhere)], check=True)
    score.check(daemon)


def test_a_full_disk_is_told_everywhere_and_a_daemon_that_was_killed_on_it_starts_and_drains(
    make_daemon: MakeDaemon, small_disk: Callable[[str, int], Path], scorer: Callable[[Daemon], Scorer]
) -> None:
    """What it has taken in lands, with the help of its reserve, though there is not a byte left to begin with."""
    disk = small_disk("spool", 56)
    daemon = make_daemon(spool=disk / "s", flush_interval=3600, segment_bytes=16 << 20, spool_budget=256 << 20).start()
    score = scorer(daemon)
    score.collect(2000)
    assert score.client.flush(30)
    taken = score.client.stats()["acknowledged"]
    daemon.kill9()
    filler = fill(disk)
    refused = make_daemon(spool=disk / "other").spawn()
    assert refused.wait() == 2
    assert "database or disk is full; make room on the disk of" in refused.said()
    shutil.rmtree(disk / "other")
    daemon.start()
    assert daemon.events("the spool's disk is full; its reserve is used to start")

    def told() -> list[str]:
        return [one["what"] for one in daemon.status()["machine"] if one["about"] == "disk"]

    assert "the next segment of the log needs 16.0 MiB" in eventually(told, "the status says that the disk is full")[0]
    (said,) = daemon.events("the machine needs somebody: disk")
    assert said["todo"].startswith(f"make room on the disk of {disk / 's'}")
    examined = daemon.cli("doctor").stdout
    assert "BROKEN disk" in examined and "make room on the disk of" in examined
    daemon.flush(60)
    assert rows_landed(daemon) == taken
    filler.unlink()
    score.check(daemon)
    eventually(lambda: not told(), "it is over")
