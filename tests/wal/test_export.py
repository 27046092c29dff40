"""What can still be read is handed out once, wherever it lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from collectord.model import Lsn, Place, Stored
from collectord.wal import export
from collectord.wal.export import batches_of_file, batches_of_spool, bytes_of
from collectord.wal.loose import base_by_proof, loose_entries, loose_files
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import Copied, parked_bytes
from collectord.wal.raw import Raw
from collectord.wal.reader import LogReader
from tests.wal.spool import SCHEMA, Spool, batch, flip, payload_of


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def stored(spool: Spool) -> list[Stored]:
    """Thirty entries in groups of two, in three segments; the writer still runs."""
    for number in range(1, 31, 2):
        assert spool.commit(*(batch(n, payload_of(n, 1000)) for n in (number, number + 1))) is None
    return LogReader(spool.writer.catalog, Lsn(0)).read(1000)


def exported(spool: Spool) -> list[tuple[int, str]]:
    found = []
    for one in batches_of_spool(spool.log, spool.quarantine):
        assert bytes(one.payload) == payload_of(one.stored.sequence, 1000)
        assert one.schema == SCHEMA.raw
        found.append((one.stored.sequence, one.source))
    return found


def test_all_batches_of_a_log_are_handed_out_in_order_beside_its_writer(spool: Spool, stored: list[Stored]) -> None:
    assert exported(spool) == [(number, "log") for number in range(1, 31)]
    progress: list[int] = []
    assert len(list(batches_of_spool(spool.log, spool.quarantine, progress.append))) == 30
    assert 0 < sum(progress) <= bytes_of(spool.log, spool.quarantine)


def test_what_only_quarantine_still_has_comes_behind_and_nothing_twice(spool: Spool, stored: list[Stored]) -> None:
    """A good entry behind a torn one at an unknown end, and a copy of a segment."""
    spool.writer.close()
    first = spool.files()[0]
    held = [one for one in stored if one.lsn < int(first.stem) + 16384]
    flip(first, held[-2].lsn - int(first.stem) + 40)
    spool.files()[1].unlink()
    shutil.copy(spool.files()[1], spool.log / f"{1 << 20:020d}.seg")
    recovered = spool.recover()
    assert {damage.reason for damage in recovered.damages} == {"unknown end", "missing segment"}
    found = exported(spool)
    inside = [number for number, source in found if source == "log"]
    assert held[-1].sequence not in inside
    copy = f"{held[-2].lsn:020d}.bin"
    assert [one for one in found if one[1] != "log"] == [(held[-1].sequence, copy)]
    assert len({number for number, _ in found}) == len(found)


def test_only_what_quarantine_may_hold_too_is_remembered(spool: Spool, stored: list[Stored]) -> None:
    """A file of one entry must not cost memory for every batch of a long log."""
    spool.quarantine.mkdir(parents=True, exist_ok=True)
    one = stored[4]
    first = next(path for path in reversed(spool.files()) if int(path.stem) <= one.lsn)
    at = one.lsn - int(first.stem)
    (spool.quarantine / f"{one.lsn:020d}.bin").write_bytes(first.read_bytes()[at : at + one.end - one.lsn])
    spans = export._spans([], loose_files(spool.quarantine))
    assert [other for other in stored if export._within(spans, other.lsn)] == [one]
    assert exported(spool) == [(number, "log") for number in range(1, 31)]


def test_parked_batches_are_handed_out_once(spool: Spool, stored: list[Stored]) -> None:
    """Two that are in the log still, and one that is parked alone."""
    parked = ParkedLog(spool.log.parent / "parked", b"s" * 16)
    alone = replace(stored[0], lsn=Lsn(8), end=Lsn(16), sequence=31)
    entries = []
    for one in (alone, *stored[:2]):
        payload = payload_of(one.sequence, 1000)
        entries.append(Copied(Place(one.lsn, one.length), one.partition, one.rows, Raw(one, payload, good=True)))
    size = sum(parked_bytes(one.place) for one in entries)
    file = parked.write(Lsn(0), stored[2].lsn, {SCHEMA.id: (SCHEMA.raw, "a/b")}, entries, size)
    assert exported(spool) == [*((number, "log") for number in range(1, 31)), (31, file.path.name)]


@pytest.mark.parametrize("headless", [False, True])
def test_a_single_file_is_read_by_what_its_entries_prove(spool: Spool, stored: list[Stored], headless: bool) -> None:
    spool.writer.close()
    path = spool.files()[1]
    if headless:
        flip(path, 20)
    lost = path.rename(spool.log.parent / "found.seg")
    found = list(batches_of_file(lost))
    base = int(path.stem)
    assert [one.stored for one in found] == [one for one in stored if base <= one.lsn < base + 16384]
    assert {one.source for one in found} == {"found.seg"} and {one.schema for one in found} == {SCHEMA.raw}
    assert base_by_proof(lost) == base


@pytest.mark.parametrize("content", [b"", b"short", bytes(20000), b"\xff" * 20000])
def test_a_file_of_something_else_gives_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "00000000000000004096.seg"
    path.write_bytes(content)
    assert list(loose_entries(path)) == [] and base_by_proof(path) is None
    copy = tmp_path / "00000000000000004096.bin"
    copy.write_bytes(content)
    assert list(batches_of_file(copy)) == []


def test_damaged_entries_of_a_file_are_stepped_over(spool: Spool, stored: list[Stored]) -> None:
    spool.writer.close()
    path = spool.files()[0]
    held = [one for one in stored if one.lsn < int(path.stem) + 16384]
    flip(path, held[1].lsn - int(path.stem) + 300)
    flip(path, held[3].lsn - int(path.stem) + 30)
    assert [one.stored for one in batches_of_file(path)] == [one for one in held if one not in (held[1], held[3])]
