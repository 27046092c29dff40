"""What a daemon says of the machine below it, and when."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from collectord.machine import LEAST_AVAILABLE, MAX_SKEW, SAY_AGAIN, Machine, of_clock, of_disk, of_memory, of_spool
from collectord.memory import Memory

MIB = 1 << 20
SPOOL = Path("/spool")
WELL = Memory(100 * MIB, None, 8 << 30)


def test_a_spool_is_its_owners_alone(tmp_path: Path) -> None:
    for mode, ok in ((0o700, True), (0o500, True), (0o750, False), (0o701, False)):
        tmp_path.chmod(mode)
        found = of_spool(tmp_path)
        assert (found is None) is ok
        assert found is None or found.todo == f"chmod 0700 {tmp_path}"
    tmp_path.chmod(0o700)
    assert of_spool(tmp_path / "absent") is None


def test_a_disk_must_have_room_for_the_next_segment_of_the_log() -> None:
    """Unless there is a spare one; and that nothing is taken in is worse than that nothing soon will be."""
    assert of_disk(SPOOL, 64 * MIB, "", 64 * MIB) is None
    assert of_disk(SPOOL, 0, "", 0) is None
    assert of_disk(SPOOL, None, "", 64 * MIB) is None
    soon, now = of_disk(SPOOL, 63 * MIB, "", 64 * MIB), of_disk(SPOOL, 63 * MIB, "no room", 64 * MIB)
    assert soon is not None and "63.0 MiB free, and the next segment of the log needs 64.0 MiB" in soon.what
    assert now is not None and now.what == "the log takes nothing in: no room"
    assert now.todo.startswith("make room on the disk of /spool; clients keep their rows")
    budget = of_disk(SPOOL, 99 * MIB, "the log's budget is used up", 64 * MIB)
    assert budget is not None and "raise spool_budget" in budget.todo


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (WELL, ""),
        (Memory(None, None, None), ""),
        (Memory(100 * MIB, 256 * MIB, None), ""),
        (Memory(100 * MIB, 255 * MIB, None), "may have 255.0 MiB, less than the memory_budget of 256.0 MiB"),
        (Memory(460 * MIB, 512 * MIB, None), ""),
        (Memory(461 * MIB, 512 * MIB, None), "461.0 MiB of the 512.0 MiB that this process may have are in use"),
        (Memory(100 * MIB, None, LEAST_AVAILABLE - 1), "the machine has 64.0 MiB left"),
        (Memory(100 * MIB, None, LEAST_AVAILABLE), ""),
    ],
)
def test_a_process_that_will_be_killed_is_told_before(found: Memory, says: str) -> None:
    complaint = of_memory(found, 256 * MIB)
    assert (complaint is None) is (not says)
    assert complaint is None or (says in complaint.what and complaint.todo)


def test_a_clock_may_be_off_by_minutes() -> None:
    assert of_clock(None, "x") is of_clock(MAX_SKEW, "x") is of_clock(-MAX_SKEW, "x") is None
    ahead, behind = of_clock(3600.4, "the store's"), of_clock(-301, "the store's")
    assert ahead is not None and ahead.what == "3,600 s ahead of the store's" and "NTP" in ahead.todo
    assert behind is not None and behind.what == "301 s behind the store's"


class FakeLog:
    stuck = ""
    next_bytes = 64 * MIB


def test_a_spool_that_is_not_there_any_more_is_told_until_it_is_back(tmp_path: Path) -> None:
    """The disk below it was unmounted, or somebody removed it: the daemon's files are still open, and all else looks well."""
    spool, away = tmp_path / "spool", tmp_path / "away"
    spool.mkdir(0o700)
    machine = Machine(spool, 256 * MIB, FakeLog(), lambda: None, free=lambda path: 99 * MIB, measure=lambda: WELL)
    assert not machine.look() and not machine.misplaced
    spool.rename(away)
    for _ in range(2):
        (complaint,) = machine.look()
        assert machine.misplaced == complaint.what
        assert complaint.about == "spool" and f"{spool} is gone, or another directory" in complaint.what
        spool.mkdir(0o755, exist_ok=True)
    spool.rmdir()
    away.rename(spool)
    assert not machine.look() and not machine.misplaced


def test_the_log_hears_of_what_is_new_and_of_its_end_but_not_all_the_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The status always has what is so now."""
    tmp_path.chmod(0o700)
    log, now, off = FakeLog(), 0.0, 0.0
    free: int | None = 1 << 40

    def room(path: Path) -> int:
        if free is None:
            raise OSError("unmounted")
        return free

    machine = Machine(tmp_path, 256 * MIB, log, lambda: off, free=room, measure=lambda: WELL, monotonic=lambda: now)
    caplog.set_level(logging.INFO, "collectord")
    assert machine.look() == ()
    assert machine.memory == WELL
    off, log.stuck = 3600.0, "no room"
    assert [one.about for one in machine.look()] == ["disk", "clock"]
    machine.look()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["the machine needs somebody: disk", "the machine needs somebody: clock"]
    off, log.stuck, free = 0.0, "", None
    assert machine.look() == (), "a disk that cannot be asked is no full one"
    assert [record.getMessage() for record in caplog.records][2:] == [
        "the machine is well again: clock", "the machine is well again: disk",
    ]  # fmt: skip
    for count, later in ((0, SAY_AGAIN - 1), (1, SAY_AGAIN)):
        caplog.clear()
        now, off = later, 3600.0
        assert [one.about for one in machine.look()] == ["clock"]
        off = 0.0
        machine.look()
        assert sum("needs somebody" in record.getMessage() for record in caplog.records) == count


def test_what_comes_and_goes_and_stays_in_the_end_is_not_well_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It came back too soon to be said again; as it stays, it is said as soon as may be."""
    tmp_path.chmod(0o700)
    now, off = 0.0, 3600.0
    machine = Machine(
        tmp_path, 256 * MIB, FakeLog(), lambda: off, free=lambda _: 1 << 40, measure=lambda: WELL, monotonic=lambda: now
    )
    caplog.set_level(logging.INFO, "collectord")
    for now, off in ((0.0, 3600.0), (5.0, 0.0), (10.0, 3600.0), (15.0, 0.0), (20.0, 3600.0), (SAY_AGAIN, 3600.0)):  # noqa: B007  (read by the lambdas)
        machine.look()
    assert [record.getMessage() for record in caplog.records] == [
        "the machine needs somebody: clock", "the machine is well again: clock", "the machine needs somebody: clock",
    ]  # fmt: skip
