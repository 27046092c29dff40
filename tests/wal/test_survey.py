"""What is left of a log proves: where each segment ended, what is missing, what is none of ours."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import xxhash

from collectord.errors import SpoolUnusable
from collectord.model import Entry, Lsn, Stored
from collectord.wal.reader import LogReader
from collectord.wal.recovery import Recovered
from collectord.wal.segment import SegmentHeader, read_header
from collectord.wal.survey import survey
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import SCHEMA, SPOOL_ID, Spool, batch, flip, payload_of, payloads

KEY = SCHEMA.stream.key()


def entry(number: int, length: int = 1000) -> Entry:
    return batch(number, payload_of(number, length))


def expected(numbers: Sequence[int]) -> list[tuple[int, bytes]]:
    return [(number, payload_of(number, 1000)) for number in numbers]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def stored(spool: Spool) -> list[Stored]:
    """Thirty entries of three rows, in groups of two, in three segments, the log closed."""
    for number in range(1, 31, 2):
        assert spool.commit(entry(number), entry(number + 1)) is None
    found = LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    spool.writer.close()
    assert len(spool.files()) == 3
    return found


def at(spool: Spool, one: Stored) -> tuple[Path, int]:
    path = next(p for p in reversed(spool.files()) if int(p.stem) <= one.lsn)
    return path, one.lsn - int(path.stem)


def zero(path: Path, offset: int, length: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = bytes(length)
    path.write_bytes(content)


def of_segment(spool: Spool, stored: list[Stored], index: int) -> list[Stored]:
    return [one for one in stored if at(spool, one)[0] == spool.files()[index]]


def without(*gone: Stored) -> list[int]:
    return [number for number in range(1, 31) if number not in {one.sequence for one in gone}]


def ranges(recovered: Recovered) -> list[tuple[str, int, int]]:
    return [(damage.reason, damage.from_lsn, damage.to_lsn) for damage in recovered.damages]


def test_a_damaged_header_is_reported_and_copied(spool: Spool, stored: list[Stored]) -> None:
    path = spool.files()[1]
    flip(path, 100)
    recovered = spool.recover()
    (damage,) = recovered.damages
    assert (damage.reason, damage.from_lsn, damage.to_lsn) == ("header", int(path.stem), int(path.stem) + 4096)
    assert damage.copy is not None and damage.copy.read_bytes() == path.read_bytes()[:4096]
    assert payloads(recovered) == expected(without())


@pytest.mark.parametrize("index", [1, 2])
def test_the_first_group_says_where_the_log_before_a_lost_header_ended(
    spool: Spool, stored: list[Stored], index: int
) -> None:
    flip(spool.files()[index], 30)
    last = of_segment(spool, stored, index - 1)[-1]
    path, offset = at(spool, last)
    flip(path, offset + 40)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(last))
    assert ("entry", last.lsn, last.end) in ranges(recovered)


def test_void_entries_stay_void_although_the_header_that_voids_them_is_lost(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    assert spool.commit(entry(1)) is None
    disk.fail("sync", EIO)
    assert spool.commit(entry(2)) is not None
    assert spool.commit(entry(2)) is None
    spool.writer.close()
    flip(spool.files()[-1], 60)
    assert payloads(spool.recover()) == expected([1, 2])


def test_rows_known_of_damage_before_the_last_lost_header_stay_in_the_books(spool: Spool, stored: list[Stored]) -> None:
    flip(spool.files()[2], 30)
    hit = of_segment(spool, stored, 1)[3]
    path, offset = at(spool, hit)
    flip(path, offset + 96)
    recovered = spool.recover()
    assert recovered.counts.rows(KEY) == 90
    assert [(loss.stream, loss.rows) for loss in recovered.losses] == [(KEY, 3)]


def test_the_first_segment_of_all_counts_from_nothing_although_its_header_is_lost(
    spool: Spool, stored: list[Stored]
) -> None:
    flip(spool.files()[0], 30)
    hit = stored[3]
    flip(spool.files()[0], at(spool, hit)[1] + 40)
    recovered = spool.recover()
    assert [(loss.stream, loss.rows) for loss in recovered.losses] == [(KEY, 3)]
    assert recovered.counts.rows(KEY) == 90


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_segment_without_header_and_first_entries_is_read_from_the_first_that_proves_itself(
    spool: Spool, stored: list[Stored], index: int
) -> None:
    held = of_segment(spool, stored, index)
    path, offset = at(spool, held[2])
    zero(path, 0, offset)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(*held[:2]))
    assert ("header", int(path.stem), held[2].lsn) in ranges(recovered)
    assert recovered.set_aside == ()


def test_where_nobody_states_an_end_any_more_the_rest_is_listed(spool: Spool, stored: list[Stored]) -> None:
    newest = of_segment(spool, stored, 2)
    zero(spool.files()[2], 0, at(spool, newest[2])[1])
    held = of_segment(spool, stored, 1)
    path, offset = at(spool, held[-2])
    zero(path, offset, 96)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(*held[-2:], *newest[:2]))
    found = {damage.reason: damage for damage in recovered.damages}
    assert found["unknown end"].from_lsn == held[-2].lsn
    assert found["unknown end"].to_lsn == int(spool.files()[2].stem)
    copy = found["unknown end"].copy
    assert copy is not None and payload_of(held[-1].sequence, 1000) in copy.read_bytes()


def test_damage_at_the_end_before_a_missing_segment_is_listed(spool: Spool, stored: list[Stored]) -> None:
    held, gone = of_segment(spool, stored, 0), of_segment(spool, stored, 1)
    path, offset = at(spool, held[-2])
    flip(path, offset + 40)
    spool.files()[1].unlink()
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(*held[-2:], *gone))
    assert ranges(recovered) == [
        ("unknown end", held[-2].lsn, held[-1].end),
        ("missing segment", held[-1].end, gone[-1].end),
    ]
    assert sum(loss.rows for loss in recovered.losses) == 3 * (2 + len(gone))


def test_the_last_entry_before_a_missing_segment_is_within_what_is_called_missing(
    spool: Spool, stored: list[Stored]
) -> None:
    held, gone = of_segment(spool, stored, 0), of_segment(spool, stored, 1)
    path, offset = at(spool, held[-1])
    zero(path, offset, 1200)
    spool.files()[1].unlink()
    recovered = spool.recover()
    assert ranges(recovered) == [("missing segment", held[-1].lsn, gone[-1].end)]
    assert sum(loss.rows for loss in recovered.losses) == 3 * (1 + len(gone))


def test_damage_before_a_newest_segment_of_which_nothing_is_left_is_listed(spool: Spool, stored: list[Stored]) -> None:
    held = of_segment(spool, stored, 1)
    path, offset = at(spool, held[-2])
    flip(path, offset + 40)
    spool.files()[2].write_bytes(bytes(16384))
    recovered = spool.recover()
    assert [one.reason for one in recovered.set_aside] == ["foreign"]
    assert ranges(recovered) == [("unknown end", held[-2].lsn, held[-1].end)]
    assert recovered.damages[0].copy is not None


def test_two_problems_at_once_are_both_shown(spool: Spool, stored: list[Stored]) -> None:
    """A truncated segment beside one with a flipped bit and a foreign file: each is told as if it were alone."""
    first, second = of_segment(spool, stored, 0), of_segment(spool, stored, 1)
    os.truncate(spool.files()[0], at(spool, first[-1])[1] + 50)
    path, offset = at(spool, second[2])
    flip(path, offset + 300)
    (spool.log / "00000000000001048576.seg").write_bytes(b"something else")
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(first[-1], second[2]))
    assert {damage.reason for damage in recovered.damages} == {"entry", "truncated", "payload"}
    assert [one.reason for one in recovered.set_aside] == ["foreign"]
    assert sum(loss.rows for loss in recovered.losses) == 6


def test_an_entry_damaged_in_a_segment_whose_header_is_lost_costs_that_entry_only(
    spool: Spool, stored: list[Stored]
) -> None:
    hit = of_segment(spool, stored, 1)[4]
    path, offset = at(spool, hit)
    flip(path, 3)
    flip(path, offset + 44)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(hit))
    assert [reason for reason, _, _ in ranges(recovered)] == ["header", "entry"]
    assert [loss.rows for loss in recovered.losses] == [3]


def test_a_segment_that_claims_positions_of_another_is_set_aside(spool: Spool, stored: list[Stored]) -> None:
    first = spool.files()[0]
    with first.open("rb") as file:
        read = read_header(file.fileno())
    assert read is not None
    header = read[0]
    false = SegmentHeader(bytes(16), SPOOL_ID, Lsn(header.base + 8192), Lsn(0), 16384, 1, header.counts)
    path = spool.log / f"{header.base + 8192:020d}.seg"
    path.write_bytes(false.pack() + first.read_bytes()[4096:])
    recovered = spool.recover()
    assert payloads(recovered) == expected(without())
    assert [(one.reason, one.path.name) for one in recovered.set_aside] == [("overlap", path.name)]
    assert recovered.damages == ()


def test_a_lengthened_segment_without_header_does_not_push_the_next_one_aside(
    spool: Spool, stored: list[Stored]
) -> None:
    path = spool.files()[0]
    flip(path, 10)
    with path.open("ab") as file:
        file.write(bytes(50_000))
    recovered = spool.recover()
    assert payloads(recovered) == expected(without())
    assert recovered.set_aside == ()


def test_a_version_that_never_was_is_damage(spool: Spool, stored: list[Stored]) -> None:
    """Before version 1 there was none: a header that says 0 is not believed, its entries are."""
    path = spool.files()[1]
    content = bytearray(path.read_bytes())
    content[8:16] = (0).to_bytes(4, "little") + (0xFFFFFFFF).to_bytes(4, "little")
    text = content[96 : 96 + int.from_bytes(content[84:88], "little")]
    content[88:96] = xxhash.xxh3_64_intdigest(bytes(content[:88] + text)).to_bytes(8, "little")
    path.write_bytes(content)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without())
    assert [reason for reason, _, _ in ranges(recovered)] == ["header"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "link to nothing", "link to a directory"])
def test_what_is_no_file_is_set_aside(spool: Spool, stored: list[Stored], tmp_path: Path, kind: str) -> None:
    path = spool.log / "00000000000001048576.seg"
    if kind == "directory":
        path.mkdir()
        (path / "inside").write_text("kept")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path if "directory" in kind else tmp_path / "nothing")
    recovered = spool.recover()
    assert payloads(recovered) == expected(without())
    ((aside),) = recovered.set_aside
    assert aside.reason == "no file" and os.path.lexists(aside.path) and not os.path.lexists(path)


def test_a_link_to_a_segment_is_read_and_its_file_never_used_again(
    spool: Spool, stored: list[Stored], tmp_path: Path
) -> None:
    path = spool.files()[0]
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert payloads(spool.recover()) == expected(without())
    spool.write()
    spool.writer.retire(spool.recovered.end)
    for number in range(31, 60):
        assert spool.commit(entry(number)) is None
    assert elsewhere.read_bytes() == before and not os.path.lexists(path)


@pytest.mark.parametrize("name", ["README", "00000000000001048576.seg.bak", "x.tmp", "00000000000001048576.spare"])
def test_files_without_the_suffix_of_a_segment_are_let_be(spool: Spool, stored: list[Stored], name: str) -> None:
    (spool.log / name).write_bytes(b"something else")
    recovered = spool.recover()
    assert payloads(recovered) == expected(without())
    assert recovered.set_aside == () and (spool.log / name).read_bytes() == b"something else"


def test_a_page_that_the_disk_cannot_read_costs_its_entries(
    spool: Spool, stored: list[Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, offset = at(spool, of_segment(spool, stored, 1)[3])
    bad = range(offset // 4096 * 4096, offset // 4096 * 4096 + 4096)
    inode, fired, real = path.stat().st_ino, [], os.preadv

    def preadv(fd: int, buffers: Sequence[memoryview], position: int) -> int:
        end = position + sum(len(buffer) for buffer in buffers)
        if os.fstat(fd).st_ino == inode and position < bad.stop and end > bad.start:
            fired.append(position)
            raise OSError(EIO, os.strerror(EIO))
        return real(fd, buffers, position)

    monkeypatch.setattr(os, "preadv", preadv)
    recovered = spool.recover()
    hit = [one for one in of_segment(spool, stored, 1) if one.lsn - int(path.stem) < bad.stop]
    hit = [one for one in hit if one.end - int(path.stem) > bad.start]
    assert fired and payloads(recovered) == expected(without(*hit))
    assert sum(loss.rows for loss in recovered.losses) == 3 * len(hit)


def test_a_file_that_the_disk_does_not_open_is_set_aside_and_missed(
    spool: Spool, stored: list[Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = spool.files()[1], os.open

    def broken(name: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(name) == path:
            raise OSError(EIO, os.strerror(EIO), str(name))
        return real(name, flags, mode)

    gone = of_segment(spool, stored, 1)
    monkeypatch.setattr(os, "open", broken)
    recovered = spool.recover()
    assert payloads(recovered) == expected(without(*gone))
    assert [one.reason for one in recovered.set_aside] == ["unreadable"]
    assert [reason for reason, _, _ in ranges(recovered)] == ["missing segment"]


@pytest.mark.parametrize("error", [errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_a_person_can_mend_stops_the_start_and_changes_nothing(
    spool: Spool, stored: list[Stored], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    path, real = spool.files()[1], os.open
    (spool.log / "00000000000001048576.seg").write_bytes(b"would be set aside")

    def broken(name: str | Path, flags: int, mode: int = 0o777) -> int:
        if Path(name) == path:
            raise OSError(error, os.strerror(error), str(name))
        return real(name, flags, mode)

    before = sorted(spool.log.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", broken)
        with pytest.raises(SpoolUnusable, match=os.strerror(error)):
            spool.recover()
    assert sorted(spool.log.iterdir()) == before and not spool.quarantine.exists()
    assert payloads(spool.recover()) == expected(without())


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_directory_that_cannot_be_listed_stops_the_start(
    spool: Spool, stored: list[Stored], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def broken(_: Path) -> None:
        raise OSError(error, os.strerror(error), "log")

    monkeypatch.setattr(Path, "iterdir", broken)
    with pytest.raises(SpoolUnusable, match=os.strerror(error)):
        spool.recover()


@pytest.mark.parametrize("name", [(1 << 63) - 4096, 1 << 62])
def test_a_name_beyond_all_positions_leaves_positions_for_the_log(
    spool: Spool, stored: list[Stored], name: int
) -> None:
    (spool.log / f"{name:020d}.seg").write_bytes(b"something else")
    recovered = spool.recover()
    assert [one.reason for one in recovered.set_aside] == ["foreign"]
    assert recovered.next_base < 1 << 40


def test_a_log_whose_newest_segment_has_a_header_only_still_knows_how_far_it_had_come(tmp_path: Path) -> None:
    disk = FaultyDisk()
    spool = Spool(tmp_path, disk=disk)
    assert spool.commit(entry(1)) is None
    end = spool.writer.durable
    disk.fail("write", EIO)
    assert spool.commit(entry(2)) is not None
    spool.writer.retire(end)
    spool.writer.close()
    assert len(spool.files()) == 1
    assert spool.recover().end == end


def test_without_a_spool_id_the_one_that_most_headers_name_is_ours(spool: Spool, stored: list[Stored]) -> None:
    other = spool.log / f"{1 << 20:020d}.seg"
    header = SegmentHeader(bytes(16), bytes(16), Lsn(1 << 20), Lsn(0), 8192, 1, spool.recover().counts)
    other.write_bytes(header.pack() + bytes(4096))
    found = survey(list(spool.log.iterdir()), None)
    assert [file.path for file in found.files] == spool.files()[:3]
    assert [(one.path, one.reason) for one in found.refused] == [(other, "other spool")]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_survey_changes_nothing(spool: Spool, stored: list[Stored], taken: int) -> None:
    zero(spool.files()[taken], 0, 6000)
    (spool.log / "00000000000001048576.seg").touch()
    (spool.log / "00000000000001048576.new").touch()
    before = {path: path.read_bytes() for path in spool.log.iterdir()}
    survey(list(spool.log.iterdir()), SPOOL_ID)
    assert {path: path.read_bytes() for path in spool.log.iterdir()} == before
    assert not spool.quarantine.exists()
