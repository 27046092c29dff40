"""`verify` tells what a start would find, and changes nothing."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from collectord.model import Lsn
from collectord.wal.reader import LogReader
from collectord.wal.verify import Verdict, verify
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import SPOOL_ID, Spool, batch, flip, payload_of


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path)
    for number in range(1, 31):
        assert spool.commit(batch(number, payload_of(number, 1000))) is None
    return spool


def look(spool: Spool) -> Verdict:
    return verify(spool.log, spool.quarantine)


def test_a_whole_log_is_clean_beside_its_writer(spool: Spool) -> None:
    found = look(spool)
    assert found.clean
    assert [one.path for one in found.segments] == spool.files()
    assert sum(one.rows for one in found.segments) == 90 and sum(one.batches for one in found.segments) == 30
    assert found.segments[-1].end == spool.writer.durable
    assert all(one.tail_bytes == 0 and not one.damages for one in found.segments)


def test_an_empty_log_is_clean(tmp_path: Path) -> None:
    assert look(Spool(tmp_path)).clean


def test_damage_is_told_per_segment_with_rows_and_nothing_is_changed(spool: Spool) -> None:
    second = LogReader(spool.writer.catalog, Lsn(0)).read(10)[1]
    spool.writer.close()
    path = spool.files()[0]
    flip(path, second.lsn - int(path.stem) + 200)
    (spool.log / "00000000000001048576.seg").write_bytes(b"something else")
    before = sorted(spool.log.iterdir())
    found = look(spool)
    assert not found.clean
    assert [(d.reason, d.from_lsn, d.to_lsn, d.rows) for d in found.segments[0].damages] == [
        ("payload", second.lsn, second.end, 3)
    ]
    assert found.segments[0].rows == 3 * (found.segments[0].batches)
    assert [(one.path.name, one.reason) for one in found.refused] == [("00000000000001048576.seg", "foreign")]
    assert sorted(spool.log.iterdir()) == before and not spool.quarantine.exists()
    recovered = spool.recover()
    assert [d.from_lsn for d in recovered.damages] == [second.lsn]
    again = look(spool)
    assert not again.refused and len(again.quarantined) == 2


def test_a_missing_segment_alone_is_not_clean(spool: Spool) -> None:
    spool.writer.close()
    spool.files()[1].unlink()
    found = look(spool)
    assert [d.reason for one in found.segments for d in one.damages] == ["missing segment"]
    assert found.losses and not found.clean


def test_a_foreign_file_alone_is_not_clean(spool: Spool) -> None:
    spool.writer.close()
    (spool.log / "00000000000001048576.seg").write_bytes(b"something else")
    found = look(spool)
    assert not found.clean and not found.losses and not any(one.damages for one in found.segments)


def test_entries_that_were_reported_as_failed_are_no_damage(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    assert spool.commit(batch(1, b"kept")) is None
    disk.fail("sync", EIO)
    assert spool.commit(batch(2, b"failed")) is not None
    assert disk.fired and look(spool).clean


def test_a_tail_behind_a_torn_entry_is_named(spool: Spool) -> None:
    assert spool.commit_all([[batch(n, payload_of(n, 100))] for n in (31, 32, 33)]) == [None] * 3
    last = LogReader(spool.writer.catalog, Lsn(0)).read(100)[-2]
    spool.writer.close()
    path = spool.files()[-1]
    flip(path, last.lsn - int(path.stem) + 40)
    found = look(spool)
    assert found.clean and found.segments[-1].tail_bytes > 0


def test_while_a_daemon_writes_and_retires_the_log_is_clean(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ended = threading.Event()
    told: list[Exception | None] = []

    def write() -> None:
        for number in range(1, 500):
            told.append(spool.commit(batch(number, payload_of(number, 1000))))
            if number % 50 == 0:
                spool.writer.retire(spool.writer.durable)
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    looked = 0
    while not ended.is_set() or not looked:
        found = verify(spool.log, spool.quarantine, SPOOL_ID)
        assert found.clean, found
        looked += 1
    thread.join()
    assert told == [None] * 499 and looked


def test_a_file_that_vanishes_between_listing_and_reading_is_left_out(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, real = spool.files()[0], os.open

    def vanish(name: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(name) == gone:
            gone.unlink(missing_ok=True)
        return real(name, flags, mode)

    monkeypatch.setattr(os, "open", vanish)
    found = look(spool)
    assert found.clean and [one.path for one in found.segments] == spool.files()
