"""A repair puts back what is certain, keeps what it changes, and never makes the log worse."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew, SpoolInUse, SpoolUnusable
from collectord.model import Lsn, Stored
from collectord.wal.reader import LogReader
from collectord.wal.repair import Repaired, locked, plan_repair, repair
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import SPOOL_ID, FakeClock, Spool, batch, flip, payload_of, payloads

ALL = [(number, payload_of(number, 1000)) for number in range(1, 31)]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def stored(spool: Spool) -> list[Stored]:
    """Thirty entries in three segments, the log closed."""
    for number in range(1, 31):
        assert spool.commit(batch(number, payload_of(number, 1000))) is None
    found = LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    spool.writer.close()
    return found


def mend(spool: Spool) -> Repaired:
    return repair(spool.log, spool.quarantine, SPOOL_ID, disk=spool.disk, clock=FakeClock())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def offset_of(spool: Spool, one: Stored, index: int) -> int:
    return one.lsn - int(spool.files()[index].stem)


def test_a_whole_log_stays_as_it_is(spool: Spool, stored: list[Stored]) -> None:
    before = contents(spool.log)
    done = mend(spool)
    assert done.plan.lines() == [] and done.backup is None
    assert contents(spool.log) == before
    assert payloads(done.recovered) == ALL


@pytest.mark.parametrize("where", ["log", "quarantine"])
@pytest.mark.parametrize("at", [40, 500])
def test_damaged_entries_are_put_back_from_a_copy_of_their_segment(
    spool: Spool, stored: list[Stored], where: str, at: int
) -> None:
    path = spool.files()[0]
    whole = path.read_bytes()
    if where == "log":
        shutil.copy(path, spool.log / f"{1 << 20:020d}.seg")
    else:
        spool.quarantine.mkdir(parents=True)
        shutil.copy(path, spool.quarantine / f"{path.name}.1")
    flip(path, offset_of(spool, stored[2], 0) + at)
    flip(path, offset_of(spool, stored[5], 0) + at)
    damaged = path.read_bytes()
    done = mend(spool)
    assert payloads(done.recovered) == ALL and done.recovered.damages == ()
    assert path.read_bytes() == whole
    assert sum(patch.rows for patch in done.plan.patches) == 6
    assert done.backup is not None and (done.backup / path.name).read_bytes() == damaged


def test_a_header_is_put_back_from_a_copy(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[1]
    whole = path.read_bytes()
    shutil.copy(path, spool.log / f"{1 << 20:020d}.seg")
    flip(path, 50)
    done = mend(spool)
    assert payloads(done.recovered) == ALL and done.recovered.damages == ()
    assert path.read_bytes() == whole


def test_a_segment_that_lost_header_and_name_gets_its_name_back(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[1]
    flip(path, 50)
    path.rename(spool.log / "lost.seg")
    done = mend(spool)
    assert path.exists() and payloads(done.recovered) == ALL
    assert done.recovered.losses == ()
    assert done.plan.lines() == [f"{path.name}: gets its name back (was lost.seg)"]


def test_entries_of_another_segment_are_never_put_in(spool: Spool, stored: list[Stored]) -> None:
    """A segment with the same positions and another marker is no copy, whatever its name."""
    path = spool.files()[0]
    other = Spool(spool.log.parent / "other")
    other.ids = itertools.count(1000)
    for number in range(1, 31):
        assert other.commit(batch(number, payload_of(number + 100, 1000))) is None
    other.writer.close()
    assert [file.name for file in other.files()] == [file.name for file in spool.files()]
    spool.quarantine.mkdir(parents=True)
    shutil.copy(other.files()[0], spool.quarantine / path.name)
    flip(path, offset_of(spool, stored[2], 0) + 500)
    done = mend(spool)
    assert done.plan.patches == ()
    assert [damage.reason for damage in done.recovered.damages] == ["payload"]


def test_the_end_of_a_truncated_segment_is_put_back_from_a_copy(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[0]
    shutil.copy(path, spool.log / "copy.seg")
    os.truncate(path, offset_of(spool, stored[3], 0) + 50)
    done = mend(spool)
    assert payloads(done.recovered) == ALL and done.recovered.damages == ()


def test_what_a_start_has_reported_is_left_alone(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[0]
    shutil.copy(path, spool.log.parent / "copy")
    flip(path, offset_of(spool, stored[2], 0) + 500)
    reported = spool.recover().damages
    shutil.copy(spool.log.parent / "copy", spool.quarantine / path.name)
    done = mend(spool)
    assert done.plan.patches == () and done.recovered.damages == reported
    assert [copy.stem for copy in done.plan.written_off] == [f"{stored[2].lsn:020d}"]


def test_an_unfinished_segment_is_kept_in_the_backup(spool: Spool, stored: list[Stored]) -> None:
    left = spool.log / "00000000000001048576.new"
    left.write_bytes(b"begun")
    done = mend(spool)
    assert not left.exists()
    assert done.backup is not None and (done.backup / left.name).read_bytes() == b"begun"


def test_a_plan_changes_nothing(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[0]
    shutil.copy(path, spool.log / f"{1 << 20:020d}.seg")
    flip(path, offset_of(spool, stored[2], 0) + 500)
    spool.files()[1].rename(spool.log / "lost.seg")
    before = contents(spool.log.parent)
    assert len(plan_repair(spool.log, spool.quarantine, SPOOL_ID).lines()) == 1
    assert contents(spool.log.parent) == before


def test_a_repair_that_is_cut_short_is_finished_by_the_next(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    for number in range(1, 31):
        assert spool.commit(batch(number, payload_of(number, 1000))) is None
    first = LogReader(spool.writer.catalog, Lsn(0)).read(1000)[2]
    spool.writer.close()
    path = spool.files()[0]
    shutil.copy(path, spool.log / f"{1 << 20:020d}.seg")
    flip(path, offset_of(spool, first, 0) + 500)
    disk.torn = 300
    disk.fail("write", EIO)
    with pytest.raises(SpoolUnusable, match="cannot be repaired"):
        mend(spool)
    assert disk.fired == ["write"]
    assert payloads(mend(spool).recovered) == ALL


def test_a_later_version_is_not_touched(spool: Spool, stored: list[Stored]) -> None:
    content = bytearray(spool.files()[0].read_bytes())
    content[8:16] = (2).to_bytes(4, "little") + (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    spool.files()[0].write_bytes(content)
    (spool.log / "x.seg").write_bytes(b"foreign")
    before = contents(spool.log)
    with pytest.raises(FormatTooNew):
        mend(spool)
    assert contents(spool.log) == before


def test_the_lock_keeps_a_repair_and_a_daemon_apart(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(SpoolInUse, match="stop it first"), locked(tmp_path):
        raise AssertionError("two hold the lock")
    with locked(tmp_path):
        pass
    with pytest.raises(SpoolUnusable, match="not a directory"), locked(tmp_path / "none"):
        raise AssertionError("there is no spool")
