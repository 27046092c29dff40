"""One test per damage: what survives it, and what is said about the rest. `docs/formats/log.md` lists them."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew, SpoolUnusable
from collectord.model import Entry, EntryKind, Lsn, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.reader import LogReader
from collectord.wal.recovery import Recovered, recover
from collectord.wal.segment import read_header
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import CLIENT, SCHEMA, SPOOL_ID, Spool, batch, flip, payload_of, payloads, read_back, reading

LENGTH = 1000


def entry(number: int) -> Entry:
    return batch(number, payload_of(number, LENGTH))


def expected(*numbers: int) -> list[tuple[int, bytes]]:
    return [(number, payload_of(number, LENGTH)) for number in numbers]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def fill(spool: Spool, groups: list[list[int]]) -> list[Stored]:
    """Commits groups of one-entry appends, closes the log and returns the entries."""
    for group in groups:
        assert spool.commit_all([[entry(number)] for number in group]) == [None] * len(group)
    stored = LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    spool.writer.close()
    return stored


def check_it_still_works(spool: Spool, survivors: list[int], recovered: Recovered) -> None:
    """A log that was damaged takes entries, and shows the same survivors at the next start."""
    spool.write()
    assert spool.commit(entry(999)) is None
    spool.writer.close()
    again = spool.recover()
    assert payloads(again) == expected(*survivors, 999)
    assert {(d.from_lsn, d.to_lsn) for d in again.damages} == {(d.from_lsn, d.to_lsn) for d in recovered.damages}


def at(spool: Spool, stored: Stored) -> tuple[Path, int]:
    """File and offset of an entry."""
    path = next(p for p in reversed(spool.files()) if int(p.stem) <= stored.lsn)
    return path, stored.lsn - int(path.stem)


def test_an_intact_log_is_read_back_whole(spool: Spool) -> None:
    stored = fill(spool, [[1], [2, 3], [4]])
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 2, 3, 4)
    assert read_back(recovered) == stored
    assert recovered.end == stored[-1].end == spool.writer.durable
    assert (recovered.damages, recovered.losses, recovered.set_aside) == ((), (), ())
    with closing(Catalog(recovered.segments, recovered.end)) as catalog:
        assert catalog.schema(SCHEMA.id) == SCHEMA.raw


def test_an_empty_or_missing_directory_is_an_empty_log(tmp_path: Path) -> None:
    recovered = recover(tmp_path / "none" / "log", SPOOL_ID, floor=5000)
    assert (recovered.segments, recovered.end, recovered.entries) == ((), 0, 0)
    assert recovered.next_base == 8192


def test_a_torn_tail_is_cut_even_if_good_entries_stand_behind_it(spool: Spool) -> None:
    stored = fill(spool, [[1, 2], [3, 4, 5]])
    path, offset = at(spool, stored[3])
    flip(path, offset + 200)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 2, 3)
    assert recovered.end == stored[3].lsn
    assert recovered.damages == ()
    check_it_still_works(spool, [1, 2, 3], recovered)


def test_a_tail_whose_first_header_is_torn_is_cut(spool: Spool) -> None:
    stored = fill(spool, [[1, 2], [3, 4, 5]])
    path, offset = at(spool, stored[2])
    flip(path, offset + 20)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 2)
    assert recovered.damages == ()
    check_it_still_works(spool, [1, 2], recovered)


FIELDS = {
    "marker": 0, "header checksum": 8, "payload checksum": 16, "lsn": 24, "durable": 32, "length": 40, "kind": 44,
    "boundary": 46, "rows": 48, "start hour": 52, "client": 56, "sequence": 72, "schema": 80,
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_a_header_costs_that_entry_only(spool: Spool, field: str, bit: int) -> None:
    stored = fill(spool, [[1], [2], [3], [4]])
    path, offset = at(spool, stored[1])
    flip(path, offset + FIELDS[field], bit)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 3, 4)
    (damage,) = recovered.damages
    assert (damage.from_lsn, damage.to_lsn, damage.reason) == (stored[1].lsn, stored[1].end, "entry")
    assert damage.rows is None
    assert (
        damage.copy is not None
        and damage.copy.read_bytes() == path.read_bytes()[offset : offset + len(damage.copy.read_bytes())]
    )
    check_it_still_works(spool, [1, 3, 4], recovered)


@pytest.mark.parametrize("place", [0, LENGTH // 2, LENGTH - 1])
def test_a_flipped_bit_in_a_payload_costs_that_entry_and_tells_its_rows(spool: Spool, place: int) -> None:
    stored = fill(spool, [[1], [2], [3]])
    path, offset = at(spool, stored[1])
    flip(path, offset + 96 + place)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 3)
    (damage,) = recovered.damages
    assert (damage.stored, damage.rows, damage.reason) == (stored[1], 3, "payload")
    assert [(loss.stream, loss.rows) for loss in recovered.losses] == [(SCHEMA.stream.key(), 3)]
    assert recovered.counts.rows(SCHEMA.stream.key()) == 9
    check_it_still_works(spool, [1, 3], recovered)


def test_a_zeroed_page_costs_the_entries_that_it_touches(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=65536)
    stored = fill(spool, [[number] for number in range(1, 21)])
    path = spool.files()[0]
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    base = int(path.stem)
    hit = [s.sequence for s in stored if s.lsn < base + 12288 and s.lsn + 96 + LENGTH > base + 8192]
    survivors = [number for number in range(1, 21) if number not in hit]
    assert 3 <= len(hit) <= 5
    recovered = spool.recover()
    assert payloads(recovered) == expected(*survivors)
    assert min(d.from_lsn for d in recovered.damages) == stored[hit[0] - 1].lsn
    assert max(d.to_lsn for d in recovered.damages) == stored[hit[-1] - 1].end
    check_it_still_works(spool, survivors, recovered)


def test_a_zeroed_page_over_the_durable_mark_costs_what_is_below_it_and_cuts_what_is_above(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=65536)
    stored = fill(spool, [[1], [2], [3, 4, 5]])
    path, offset = at(spool, stored[1])
    content = bytearray(path.read_bytes())
    content[offset : stored[3].lsn - int(path.stem)] = bytes(stored[3].lsn - stored[1].lsn)
    path.write_bytes(content)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1)
    (damage,) = recovered.damages
    assert (damage.from_lsn, damage.to_lsn) == (stored[1].lsn, stored[2].lsn)
    assert recovered.end == stored[2].lsn
    check_it_still_works(spool, [1], recovered)


def many(spool: Spool) -> list[Stored]:
    """Thirty entries in at least three segments."""
    stored = fill(spool, [[number] for number in range(1, 31)])
    assert len(spool.files()) >= 3
    return stored


def held_by(path: Path, stored: list[Stored], size: int = 16384) -> list[int]:
    return [s.sequence for s in stored if int(path.stem) <= s.lsn < int(path.stem) + size]


def test_damage_in_an_older_segment_is_told_to_the_row(spool: Spool) -> None:
    stored = many(spool)
    path, offset = at(spool, stored[1])
    flip(path, offset + 40)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, *range(3, 31))
    (loss,) = recovered.losses
    assert (loss.segment, loss.stream, loss.rows) == (int(path.stem), SCHEMA.stream.key(), 3)


def test_the_last_entry_of_an_older_segment_is_damage_and_not_a_tail(spool: Spool) -> None:
    stored = many(spool)
    last = held_by(spool.files()[0], stored)[-1]
    path, offset = at(spool, stored[last - 1])
    flip(path, offset + 8)
    recovered = spool.recover()
    assert payloads(recovered) == expected(*(n for n in range(1, 31) if n != last))
    assert [(d.from_lsn, d.to_lsn) for d in recovered.damages] == [(stored[last - 1].lsn, stored[last - 1].end)]


def test_a_missing_segment_is_noticed_and_its_rows_are_counted(spool: Spool) -> None:
    stored = many(spool)
    path = spool.files()[1]
    gone = held_by(path, stored)
    path.unlink()
    recovered = spool.recover()
    survivors = [n for n in range(1, 31) if n not in gone]
    assert payloads(recovered) == expected(*survivors)
    assert [d.reason for d in recovered.damages] == ["missing segment"]
    assert [loss.rows for loss in recovered.losses] == [3 * len(gone)]
    assert recovered.counts.rows(SCHEMA.stream.key()) == 90
    check_it_still_works(spool, survivors, recovered)


def test_a_missing_oldest_segment_looks_retired(spool: Spool) -> None:
    stored = many(spool)
    gone = held_by(spool.files()[0], stored)
    spool.files()[0].unlink()
    recovered = spool.recover()
    assert payloads(recovered) == expected(*(n for n in range(1, 31) if n not in gone))
    assert recovered.damages == ()


def test_after_a_missing_newest_segment_the_floor_keeps_positions_rising(spool: Spool) -> None:
    stored = many(spool)
    gone = held_by(spool.files()[-1], stored)
    spool.files()[-1].unlink()
    recovered = spool.recover(floor=stored[-1].end)
    assert payloads(recovered) == expected(*(n for n in range(1, 31) if n not in gone))
    assert recovered.next_base > stored[-1].end


@pytest.mark.parametrize("keep", [6000, 4096, 9000])
def test_a_truncated_segment_keeps_what_is_whole(spool: Spool, keep: int) -> None:
    stored = many(spool)
    path = spool.files()[0]
    os.truncate(path, keep)
    whole = [n for n in held_by(path, stored) if stored[n - 1].lsn - int(path.stem) + 96 + LENGTH <= keep]
    survivors = whole + [n for n in range(1, 31) if n not in held_by(path, stored)]
    recovered = spool.recover()
    assert payloads(recovered) == expected(*survivors)
    assert recovered.damages[-1].reason == "truncated"
    assert max(d.to_lsn for d in recovered.damages) == stored[held_by(path, stored)[-1] - 1].end
    assert sum(loss.rows for loss in recovered.losses) == 3 * (30 - len(survivors))
    check_it_still_works(spool, survivors, recovered)


def test_a_truncated_newest_segment_keeps_what_is_whole(spool: Spool) -> None:
    stored = fill(spool, [[1], [2], [3]])
    os.truncate(spool.files()[0], stored[2].lsn - int(spool.files()[0].stem) + 50)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 2)
    check_it_still_works(spool, [1, 2], recovered)


def test_a_duplicated_segment_is_read_once_and_the_copy_set_aside(spool: Spool) -> None:
    many(spool)
    copy = spool.log / f"{int(spool.files()[-1].stem) + 65536:020d}.seg"
    shutil.copy(spool.files()[0], copy)
    recovered = spool.recover()
    assert payloads(recovered) == expected(*range(1, 31))
    assert [(s.reason, s.path.name) for s in recovered.set_aside] == [("duplicate", copy.name)]
    assert not copy.exists() and recovered.set_aside[0].path.exists()
    check_it_still_works(spool, list(range(1, 31)), recovered)


def test_a_segment_under_a_wrong_name_is_read_at_its_own_position(spool: Spool) -> None:
    many(spool)
    first = spool.files()[0]
    first.rename(spool.log / "99999999999999999999.seg")
    recovered = spool.recover()
    assert payloads(recovered) == expected(*range(1, 31))


def test_old_entries_of_a_recycled_file_never_come_back(spool: Spool) -> None:
    stored = many(spool)
    spool.write()
    spool.writer.retire(stored[-1].end)
    assert [p.suffix for p in sorted(spool.log.iterdir())] == [".spare", ".spare", ".seg"]
    assert spool.commit(entry(31)) is None
    spool.writer.close()
    content = spool.files()[-1].read_bytes()
    assert any(payload_of(number, LENGTH) in content for number in range(1, 31))
    recovered = spool.recover()
    assert payloads(recovered)[-1:] == expected(31)
    assert {s.lsn for s in read_back(recovered)[:-1]} <= {s.lsn for s in stored}
    assert recovered.damages == ()


def test_a_file_of_a_later_version_stops_the_start_and_stays_as_it_is(spool: Spool) -> None:
    many(spool)
    path = spool.files()[-1]
    content = bytearray(path.read_bytes())
    content[8:12] = (2).to_bytes(4, "little")
    content[12:16] = (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(content)
    (spool.log / "00000000000000000000.seg").write_bytes(b"foreign")
    before = {p: p.read_bytes() for p in spool.log.iterdir()}
    with pytest.raises(FormatTooNew, match="version 2"):
        spool.recover()
    assert {p: p.read_bytes() for p in spool.log.iterdir()} == before
    assert not spool.quarantine.exists()


@pytest.mark.parametrize("offset", [0, 8, 20, 40, 64, 90])
def test_a_segment_whose_header_is_damaged_is_read_by_what_its_entries_prove(spool: Spool, offset: int) -> None:
    many(spool)
    flip(spool.files()[1], offset)
    recovered = spool.recover()
    assert payloads(recovered) == expected(*range(1, 31))
    check_it_still_works(spool, list(range(1, 31)), recovered)


@pytest.mark.parametrize("content", [b"PK\x03\x04 something else", bytes(20000), os.urandom(16384)])
def test_a_foreign_file_is_set_aside(spool: Spool, content: bytes) -> None:
    fill(spool, [[1], [2]])
    foreign = spool.log / "00000000000001048576.seg"
    foreign.write_bytes(content)
    recovered = spool.recover()
    assert payloads(recovered) == expected(1, 2)
    assert [s.reason for s in recovered.set_aside] == ["foreign"]
    assert recovered.set_aside[0].path.read_bytes() == content
    check_it_still_works(spool, [1, 2], recovered)


def test_a_segment_of_another_spool_is_set_aside(spool: Spool, tmp_path: Path) -> None:
    fill(spool, [[1]])
    recovered = recover(spool.log, bytes(16), disk=spool.disk)
    assert read_back(recovered) == []
    assert [s.reason for s in recovered.set_aside] == ["other spool"]


def test_an_empty_segment_is_set_aside(spool: Spool) -> None:
    fill(spool, [[1]])
    empty = spool.log / "00000000000001048576.seg"
    empty.touch()
    recovered = spool.recover()
    assert payloads(recovered) == expected(1)
    assert [s.reason for s in recovered.set_aside] == ["empty"]
    assert recovered.next_base > 1048576


def test_a_segment_with_a_header_only_is_an_empty_end_of_the_log(spool: Spool) -> None:
    stored = fill(spool, [[1]])
    spool.write()
    failures = []
    spool.disk = FaultyDisk()
    spool.write()
    spool.disk.fail("write", EIO, after=1)
    spool.writer.append([entry(2)], failures.append)
    spool.writer.commit()
    spool.writer.close()
    assert failures[0] is not None
    recovered = spool.recover()
    assert payloads(recovered) == expected(1)
    assert recovered.end == stored[0].end


def test_an_unfinished_segment_is_removed(spool: Spool) -> None:
    fill(spool, [[1]])
    left = spool.log / "00000000000001048576.new"
    left.write_bytes(bytes(100))
    assert payloads(spool.recover()) == expected(1)
    assert not left.exists()


def test_a_directory_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("not a directory")
    with pytest.raises(SpoolUnusable, match="log"):
        recover(tmp_path / "log", SPOOL_ID)


def test_a_tail_that_cannot_be_made_durable_stops_the_start(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    fill(spool, [[1]])
    disk.fail("sync", EIO)
    with pytest.raises(SpoolUnusable):
        spool.recover()
    assert disk.fired == ["sync"]


def test_a_damaged_declaration_leaves_the_entries_and_is_replaced_by_one_elsewhere(spool: Spool) -> None:
    stored = many(spool)
    path = spool.files()[0]
    with path.open("rb") as file:
        read = read_header(file.fileno())
    assert read is not None
    flip(path, read[1] + 96)
    recovered = spool.recover()
    assert read_back(recovered) == stored
    with closing(Catalog(recovered.segments, recovered.end)) as catalog:
        assert catalog.schema(SCHEMA.id) == SCHEMA.raw
    assert [d.stored.kind for d in recovered.damages if d.stored] == [EntryKind.DECLARE]


def test_a_schema_that_no_segment_declares_any_more_is_said_to_be_lost(spool: Spool) -> None:
    fill(spool, [[1], [2]])
    flip(spool.files()[0], 4096 + 96)
    recovered = spool.recover()
    with reading(recovered) as reader:
        assert [s.sequence for s in reader.read(10)] == [1, 2]
        with pytest.raises(DamagedEntry, match="not declared"):
            reader.schema(SCHEMA.id)


def test_counts_come_back_from_the_newest_header_and_the_entries_behind_it(spool: Spool) -> None:
    many(spool)
    spool.write()
    reject = Entry(EntryKind.REJECT, CLIENT, 31, 7, b"row_too_large", SCHEMA)
    unknown = Entry(EntryKind.REJECT, CLIENT, 32, 5, b"unknown_schema")
    assert spool.commit(reject, unknown) is None
    live = spool.writer.counts()
    spool.writer.close()
    recovered = spool.recover()
    assert recovered.counts.snapshot() == live
    assert (live[SCHEMA.stream.key()].rows, live[SCHEMA.stream.key()].batches) == (90, 30)
    assert live[SCHEMA.stream.key()].rejected == {"row_too_large": 7}
    assert live[""].rejected == {"unknown_schema": 5}
