"""Every acknowledged entry survives the loss of everything that was not synced, whenever the power fails.

A scripted run goes over commits, a rotation, a failed sync, retired segments and files that are used again; it is repeated once
for every moment at which the power may fail, with nothing, everything and several mixtures of the unsynced surviving.
Hypothesis makes other runs. After each loss the log starts, takes entries, loses power again, and is read once more.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.model import Lsn
from collectord.wal.disk import Disk
from collectord.wal.reader import LogReader
from collectord.wal.recovery import recover
from tests.wal.faults import PowerCut
from tests.wal.powerloss import Chance, ForgetfulDisk, by_seed, everything, nothing_more
from tests.wal.spool import SPOOL_ID, FakeClock, Spool, batch, payload_of, read_back

Step = tuple[str, int]
"""What is done, and how many appends or syncs it is about."""

SCRIPT: list[Step] = [
    ("commit", 3), ("commit", 12), ("rotate", 12), ("fail", 1), ("commit", 2), ("commit", 2), ("rotate", 10),
    ("retire", 0), ("rotate", 16), ("commit", 1), ("restart", 0), ("commit", 2), ("retire", 0), ("fail name", 2),
    ("rotate", 12), ("fail", 2), ("commit", 1), ("commit", 1), ("retire", 0), ("commit", 2),
]  # fmt: skip


class Run:
    """One log over a forgetful disk, and what it has promised."""

    def __init__(self, folder: Path, sector: int = 4096) -> None:
        self.folder = folder
        self.disk = ForgetfulDisk(folder / "log", sector)
        self.spool: Spool | None = None
        self.acknowledged: list[int] = []
        self.retired = 0
        """How many of them need not be there any more."""
        self.floor = 0
        self.failed: set[int] = set()
        self.doubtful: set[int] = set()
        """Handed in and not answered when the power failed."""
        self.numbers = 0

    def do(self, script: Sequence[Step]) -> None:
        self.start()
        for what, count in script:
            if what == "commit":
                self.commit([1 + self.numbers % 3] * count)
            elif what == "rotate":
                for _ in range(count):
                    self.commit([1])
            elif what == "fail":
                self.disk.failing_syncs += count
            elif what == "fail name":
                self.disk.failing_directory_syncs += count
            elif what == "retire":
                self.retire()
            else:
                assert what == "restart"
                self.opened.writer.close()
                self.start()
                # What failed last may have surfaced, and counts from now on.
                self.check()

    @property
    def opened(self) -> Spool:
        assert self.spool is not None
        return self.spool

    def start(self) -> None:
        self.disk.failing_syncs = self.disk.failing_directory_syncs = 0
        self.spool = Spool.__new__(Spool)
        # Not through its constructor, which recovers once more.
        self.spool.__dict__.update(_bare(self.folder, self.disk))
        self.spool.write(floor=self.floor)
        found = self.spool.recovered
        assert (found.damages, found.losses, found.set_aside) == ((), (), ())

    def commit(self, sizes: list[int]) -> None:
        """Appends of that many kilobytes each, in one group."""

        def settle(number: int, error: Exception | None) -> None:
            self.doubtful.discard(number)
            if error is None:
                self.acknowledged.append(number)
            else:
                self.failed.add(number)

        for size in sizes:
            self.numbers += 1
            number = self.numbers
            self.doubtful.add(number)
            # A client of its own each: what failed does not take others with it.
            entry = batch(1, payload_of(number, 1000 * size), client=number.to_bytes(16, "little"))
            self.opened.writer.append([entry], partial(settle, number))
        self.opened.writer.commit()

    def retire(self) -> None:
        """All that was read has landed; the ledger knows."""
        done = self.opened.writer.durable
        self.floor = max(self.floor, done)
        self.retired = len(self.acknowledged)
        try:
            self.opened.writer.retire(done)
        except OSError:
            assert self.disk.directory_syncs_failed

    def check(self) -> None:
        """What is in the log is what was promised."""
        reader = LogReader(self.opened.writer.catalog, Lsn(0))
        found = []
        for stored in reader.read(1 << 20):
            number = int.from_bytes(stored.client, "little")
            assert bytes(reader.read_payload(stored)) == payload_of(number, stored.length)
            found.append(number)
        assert not reader.damages
        promised = [number for number in found if number in self.acknowledged]
        assert promised == self.acknowledged[len(self.acknowledged) - len(promised) :]
        assert len(promised) >= len(self.acknowledged) - self.retired
        surprises = set(found) - set(promised)
        # A failed group that was the last thing to happen is void only once a later segment says so.
        assert surprises <= self.doubtful | self.failed, "nobody ever wrote that"
        if self.acknowledged and self.failed:
            before = {number for number in self.failed if number < self.acknowledged[-1]}
            assert not surprises & before, "what was reported as failed came back"
        # Whoever sees them from now on may rely on them.
        self.acknowledged = found
        self.retired = 0
        self.doubtful.clear()
        self.failed.clear()

    def lose_power(self, chance: Chance) -> None:
        self.opened.forget()
        self.disk.lose_power(chance)

    def survive(self, chance: Chance) -> None:
        self.disk.fails_at = None
        self.lose_power(chance)
        self.start()
        self.check()


def _bare(folder: Path, disk: Disk) -> dict[str, object]:
    """A spool that has not touched the disk yet."""
    return {
        "log": folder / "log", "quarantine": folder / "quarantine" / "log", "segment_bytes": 16384,
        "budget": 20 * 16384, "disk": disk, "clock": FakeClock(), "ids": itertools.count(1 + disk.moments if isinstance(disk, ForgetfulDisk) else 1),
    }  # fmt: skip


def power_fails(folder: Path, script: Sequence[Step], moment: int, chance: Chance, sector: int = 4096) -> Run:
    """Runs a script until the power fails, and checks; then loses power right after more entries, and checks again."""
    run = Run(folder, sector)
    run.disk.fails_at = moment
    with pytest.raises(PowerCut):
        run.do(script)
    run.survive(chance)
    run.commit([1, 2])
    run.survive(chance)
    run.commit([1])
    run.check()
    run.opened.writer.close()
    return run


def moments_of(script: Sequence[Step]) -> int:
    with scratch() as folder:
        run = Run(Path(folder))
        run.do(script)
        run.opened.writer.close()
        assert run.disk.recycled >= 2 or script is not SCRIPT, "no file was used again"
        assert run.disk.syncs_failed == sum(count for what, count in script if what == "fail") or script is not SCRIPT
        assert run.failed or script is not SCRIPT
        return run.disk.moments


MEMORY = Path("/dev/shm")
"""Where files cost no disk."""


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="power-", dir=MEMORY if MEMORY.is_dir() else None)


CHANCES: dict[str, Callable[[int], Chance]] = {
    "nothing": lambda _: nothing_more,
    "everything": lambda _: everything,
    "half": by_seed,
}


@pytest.mark.parametrize("survives", CHANCES)
def test_what_was_acknowledged_survives_a_power_loss_at_every_moment(survives: str) -> None:
    moments = moments_of(SCRIPT)
    assert moments > 200
    for moment in range(moments):
        with scratch() as folder:
            power_fails(Path(folder), SCRIPT, moment, CHANCES[survives](moment))


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(["commit", "rotate", "fail", "fail name", "retire", "restart"]), st.integers(1, 9)),
        min_size=1,
        max_size=12,
    ),
    place=st.floats(0, 1, exclude_max=True),
    chance=st.randoms(use_true_random=False),
    sector=st.sampled_from([512, 4096]),
)
def test_what_was_acknowledged_survives_a_power_loss_in_any_run(
    script: list[Step], place: float, chance: object, sector: int
) -> None:
    moments = moments_of(script)
    with scratch() as folder:
        seed = chance.getrandbits(32)
        power_fails(Path(folder), script, int(place * moments), by_seed(seed), sector)


def test_the_power_may_fail_while_the_log_is_being_recovered(tmp_path: Path) -> None:
    """The tail that a start rewrites is cut short at each of its moments."""
    for moment in range(100):
        run = Run(tmp_path / str(moment))
        run.do([("commit", 2), ("commit", 3)])
        run.lose_power(by_seed(moment))
        run.disk.fails_at = run.disk.moments + moment
        try:
            run.start()
        except PowerCut:
            run.survive(by_seed(moment + 1))
            continue
        finally:
            run.opened.writer.close()
        assert moment >= 5
        break
    else:
        raise AssertionError("the power always failed")


@pytest.mark.parametrize("survives", list(itertools.product([False, True], repeat=4)))
def test_a_segment_that_could_not_be_named_voids_nothing_when_it_comes_back(
    tmp_path: Path, survives: tuple[bool, ...]
) -> None:
    """Its rename may be on disk though the sync of the directory failed, and taking it back may not."""
    run = Run(tmp_path)
    run.do([("rotate", 5)])
    run.disk.failing_directory_syncs = 2
    run.commit([12])
    assert run.failed == {6} and run.disk.directory_syncs_failed == 2
    run.disk.failing_directory_syncs = 1
    run.commit([1])
    run.commit([1])
    assert run.acknowledged[-1] == 8
    run.survive(itertools.cycle(survives).__next__)
    run.opened.writer.close()


def test_a_segment_whose_retirement_failed_is_disposed_of_the_next_time(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.do([("rotate", 40)])
    run.disk.failing_directory_syncs = 1
    run.retire()
    assert run.disk.directory_syncs_failed == 1
    run.retire()
    files = sorted(path.suffix for path in run.opened.log.iterdir())
    assert files == [".seg", ".spare", ".spare"]
    assert run.opened.writer.used_bytes == sum(path.stat().st_size for path in run.opened.log.iterdir())
    run.survive(nothing_more)
    run.opened.writer.close()


class Careless(ForgetfulDisk):
    """Leaves out one thing that durability rests on."""

    def __init__(self, folder: Path, omits: str) -> None:
        super().__init__(folder)
        self._omits = omits

    def sync(self, fd: int) -> None:
        if self._omits != "sync":
            super().sync(fd)

    def _sync_directory(self) -> None:
        if self._omits != "directory":
            super()._sync_directory()

    def make_directory(self, path: Path) -> None:
        super().make_directory(path)
        if self._omits == "parent":
            self._made_certain = False


@pytest.mark.parametrize("omits", ["sync", "directory", "parent"])
def test_a_log_that_leaves_out_a_sync_is_caught(tmp_path: Path, omits: str) -> None:
    """The check of the check: without any one of the syncs an acknowledged entry is gone."""
    run = Run(tmp_path)
    run.disk = Careless(tmp_path / "log", omits)
    run.do([("commit", 2)])
    assert run.acknowledged == [1, 2]
    run.lose_power(nothing_more)
    (tmp_path / "log").mkdir(exist_ok=True)
    assert read_back(recover(tmp_path / "log", SPOOL_ID)) == []
