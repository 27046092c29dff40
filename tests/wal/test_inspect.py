"""The listing says what the log says, beside a running writer too."""

from __future__ import annotations

from pathlib import Path

from collectord.model import Lsn
from collectord.wal.inspect import list_segments
from collectord.wal.reader import LogReader
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import SCHEMA, Spool, batch, flip, payload_of


def test_segments_are_listed_with_what_they_hold_while_the_log_is_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(1, 31):
        spool.commit(batch(number, payload_of(number, 1000)))
    infos = list_segments(spool.log)
    assert [i.path for i in infos] == spool.files()
    assert sum(i.batches for i in infos) == 30 and sum(i.rows for i in infos) == 90
    assert sum(i.entries for i in infos) == 30 + len(infos)
    assert infos[-1].end == spool.writer.durable
    assert all(i.schemas == (SCHEMA.id,) and i.file_bytes == 16384 and not i.damages for i in infos)
    assert all(i.created.year == 2020 for i in infos)


def test_damage_and_void_entries_are_told_apart(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    for number in range(1, 4):
        spool.commit(batch(number, payload_of(number, 1000)))
    disk.fail("sync", EIO)
    assert spool.commit(batch(4, b"void")) is not None
    second = LogReader(spool.writer.catalog, Lsn(0)).read(10)[1]
    flip(spool.files()[0], second.lsn - int(spool.files()[0].stem) + 100)
    first, empty = list_segments(spool.log)
    assert (first.batches, [d.rows for d in first.damages]) == (2, [3])
    assert (empty.entries, empty.end) == (0, empty.base)


def test_a_file_that_is_no_segment_is_listed_with_its_problem(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (spool.log / "00000000000000004096.seg").write_bytes(b"something else")
    (info,) = list_segments(spool.log)
    assert info.problem == "no valid header" and info.file_bytes == 14
