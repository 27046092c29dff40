"""Parked files: what was written is found again, each entry at its own position, whatever happens to the bytes around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn, Partition, Place, Stored
from collectord.testing.clock import ManualClock
from collectord.wal.damage import DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import Copied, ParkedFile, parked_batches, parked_bytes
from collectord.wal.raw import Raw
from tests.wal.powerloss import ForgetfulDisk

SPOOL = b"p" * 16
SCHEMA = b"s" * 16
PARTITION = Partition(SCHEMA, 480_000, 1440)


def copied(lsn: int, payload: bytes, rows: int = 1, *, good: bool = True) -> Copied:
    place = Place(Lsn(lsn), len(payload))
    stored = Stored(
        place.lsn,
        Lsn(lsn + parked_bytes(place)),
        EntryKind.BATCH,
        b"c" * 16,
        lsn,
        rows,
        SCHEMA,
        480_000,
        1440,
        len(payload),
    )
    return Copied(place, PARTITION, rows, Raw(stored, payload, good))


def write(log: ParkedLog, entries: list[Copied], base: int, end: int) -> ParkedFile:
    size = sum(parked_bytes(one.place) for one in entries)
    file = log.write(Lsn(base), Lsn(end), {SCHEMA: (b"raw schema", "a/b")}, iter(entries), size)
    log.add(file)
    return file


def some(number: int, base: int = 4096) -> list[Copied]:
    """Entries with gaps between their positions, as the log has them."""
    return [copied(base + 1000 * at, bytes([at % 251]) * (50 + at), rows=at + 1) for at in range(number)]


@settings(max_examples=30)
@given(payloads=st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=20))
def test_what_was_parked_is_read_back_also_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "parked"
    log = ParkedLog(directory, SPOOL)
    entries = [copied(4096 + 1000 * at, payload, at + 1) for at, payload in enumerate(payloads)]
    write(log, entries, 4096, 10**6)
    for opened in (log, ParkedLog(directory, SPOOL)):
        assert [bytes(opened.read_payload(one.place)) for one in entries] == payloads
        assert list(opened.entries()) == [one.raw.stored for one in entries]
        assert (opened.end, len(opened), opened.damages) == (10**6, 1, [])
        assert opened.schema(SCHEMA) == b"raw schema" and opened.schema(b"?" * 16) is None
        assert opened.used_bytes == sum(path.stat().st_size for path in directory.iterdir())


def test_positions_without_an_entry_are_damage_and_beyond_the_files_nothing_is_held(tmp_path: Path) -> None:
    """A place that was landed when its segment was parked is not there; the log is asked for what lies beyond."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    write(log, some(3), 4096, 8192)
    write(log, some(2, 20_000), 20_000, 30_000)
    assert [log.holds(Lsn(lsn)) for lsn in (0, 4096, 8191, 8192, 20_000, 29_999, 30_000)] == [
        False, True, True, False, True, True, False,
    ]  # fmt: skip
    with pytest.raises(DamagedEntry):
        log.read_payload(Place(Lsn(4104), 50))
    with pytest.raises(DamagedEntry):
        log.read_payload(Place(Lsn(4096), 51))


def test_a_file_that_is_discarded_is_gone_and_the_end_stays(tmp_path: Path) -> None:
    """What is known to have been parked is never asked of the log again."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    file = write(log, some(3), 4096, 8192)
    log.discard(file)
    assert not list((tmp_path / "parked").iterdir()) and not len(log)
    assert log.end == 8192 and not log.holds(Lsn(4096))


def test_damaged_bytes_stay_damaged(tmp_path: Path) -> None:
    """Their rows are known, they are read as they are, and never taken for good."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    bad = copied(6000, b"x" * 50, rows=9, good=False)
    lost = Copied(Place(Lsn(7000), 30), PARTITION, 4, Raw(None, b"", good=False))
    write(log, [*some(1), bad, lost], 4096, 8192)
    for opened in (log, ParkedLog(tmp_path / "parked", SPOOL)):
        assert [stored.rows for stored in opened.entries()] == [1, 9, 4]
        assert opened.read_raw(bad.place).payload == b"x" * 50
        for one in (bad, lost):
            with pytest.raises(DamagedEntry):
                opened.read_payload(one.place)


DAMAGES = {
    "header of the file": (slice(0, 60), 6, 0),
    "header of an entry": (slice(8, 90), 5, 1),
    "payload": (slice(96, 100), 5, 0),
    "two entries": (slice(20, 300), 4, 1),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage_costs_what_it_hits(tmp_path: Path, what: str) -> None:
    """The table of docs/formats/parked.md: entries around it survive, and what is missing is told."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    entries = some(6)
    file = write(log, entries, 4096, 20_000)
    where, survivors, told = DAMAGES[what]
    begin = 0 if "file" in what else file.offsets[2]
    content = bytearray(file.path.read_bytes())
    for at in range(where.start, where.stop):
        content[begin + at] ^= 0x55
    file.path.write_bytes(content)
    again = ParkedLog(tmp_path / "parked", SPOOL)
    good = []
    for one in entries:
        try:
            good.append(bytes(again.read_payload(one.place)))
        except DamagedEntry:
            continue
    assert len(good) == survivors
    assert bool(again.damages) == bool(told or "file" in what)


@pytest.mark.parametrize("length", [0, 10, 128, 200, 700])
def test_a_cut_file_gives_what_is_left(tmp_path: Path, length: int) -> None:
    """One with nothing in it is moved into quarantine; the start goes on."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    file = write(log, some(6), 4096, 20_000)
    content = file.path.read_bytes()
    file.path.write_bytes(content[:length])
    again = ParkedLog(tmp_path / "parked", SPOOL)
    whole = [stored.lsn for stored in again.entries() if file.offset_of(stored.lsn) is not None]
    assert whole == sorted(whole) and len(whole) < 6
    assert again.damages
    assert file.path.exists() == (length > 128 + 96)
    assert file.path.exists() or list((tmp_path / "quarantine" / "log").iterdir())


def test_foreign_unfinished_and_later_files(tmp_path: Path) -> None:
    """Half a copy goes, another spool's is moved away, a later version's stops the start before anything is touched."""
    directory = tmp_path / "parked"
    file = write(ParkedLog(directory, SPOOL), some(2), 4096, 8192)
    (directory / "x.new").write_bytes(b"half")
    content = bytearray(file.path.read_bytes())
    content[8:16] = (2).to_bytes(4, "little") + (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    later = directory / f"{9000:020d}.parked"
    later.write_bytes(content)
    with pytest.raises(FormatTooNew):
        ParkedLog(directory, SPOOL)
    assert (directory / "x.new").exists()
    later.unlink()
    log = ParkedLog(directory, b"q" * 16)
    assert log.damages and not len(log)
    assert not list(directory.iterdir())


@given(content=st.binary(max_size=600), keep=st.integers(0, 600))
@settings(max_examples=60)
def test_random_bytes_never_stop_the_start(tmp_path_factory: pytest.TempPathFactory, content: bytes, keep: int) -> None:
    """Whatever stands in the file, behind a beginning of ours of any length."""
    directory = tmp_path_factory.mktemp("spool") / "parked"
    file = write(ParkedLog(directory, SPOOL), some(4), 4096, 8192)
    file.path.write_bytes(file.path.read_bytes()[:keep] + content)
    log = ParkedLog(directory, SPOOL)
    for stored in log.entries():
        log.read_raw(Place(stored.lsn, stored.length))


@pytest.mark.parametrize("at", [0, 5, 12])
def test_a_declaration_with_a_flipped_bit_is_not_taken(tmp_path: Path, at: int) -> None:
    """Its rows would land under a header that nobody declared; the entries themselves are still there to be counted."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    file = write(log, some(3), 4096, 20_000)
    content = bytearray(file.path.read_bytes())
    content[content.index(b"raw schema") + at] ^= 1
    file.path.write_bytes(content)
    again = ParkedLog(tmp_path / "parked", SPOOL)
    assert again.schema(SCHEMA) is None
    assert len(again.damages) == 1 and "declaration" in again.damages[0]
    assert len(list(again.entries())) == 3
    assert [schema for _, schema, _ in parked_batches(file.path)] == [None] * 3


def test_announced_and_written_bytes_must_agree(tmp_path: Path) -> None:
    """A fault of ours is noticed before the file is taken for whole."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    with pytest.raises(ValueError, match="announced"):
        log.write(Lsn(0), Lsn(10), {}, iter(some(2)), parked_bytes(some(1)[0].place))
    assert not list((tmp_path / "parked").iterdir()), "half a file stays behind"


@pytest.mark.parametrize("removes", [True, False], ids=["mended", "the disk fails again"])
def test_a_file_whose_name_was_not_made_durable_does_not_come_back(tmp_path: Path, removes: bool) -> None:
    """What it holds stays in the log and lands from there: nobody knows of the file any more. Where the disk does not even
    let it be removed for good, the next file that is written takes it along."""
    directory = tmp_path / "parked"
    disk = ForgetfulDisk(directory)
    disk.make_directory(directory)
    log = ParkedLog(directory, SPOOL, disk=disk)
    disk.failing_directory_syncs = 1 if removes else 2
    with pytest.raises(OSError):
        write(log, some(3), 4096, 8192)
    assert disk.directory_syncs_failed == (1 if removes else 2)
    assert not list(directory.iterdir()) and not len(log)
    if not removes:
        write(log, some(3, 20_000), 20_000, 30_000)
    surviving = iter([True, True])
    disk.lose_power(lambda: next(surviving, False))
    again = ParkedLog(directory, SPOOL)
    assert [file.base for file in again.files()] == ([] if removes else [20_000])


GOLDEN = Path(__file__).parents[1] / "golden" / "parked" / "v1.parked"
"""What version 1 wrote; never made again: a format that changes gets a version number and a file of its own."""


def test_the_golden_file_is_written_and_read_as_ever(tmp_path: Path) -> None:
    """Byte for byte what the document says, and read to the same entries."""
    directory = tmp_path / "parked"
    log = ParkedLog(
        directory, SPOOL, clock=ManualClock(1_700_000_000_000_000_000), random=lambda number: bytes(range(number))
    )
    file = write(log, [*some(3), copied(9000, b"damaged", rows=2, good=False)], 4096, 12_288)
    assert file.path.read_bytes() == GOLDEN.read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{4096:020d}.parked").write_bytes(GOLDEN.read_bytes())
    again = ParkedLog(tmp_path / "other", SPOOL)
    assert [(one.lsn, one.rows) for one in again.entries()] == [(4096, 1), (5096, 2), (6096, 3), (9000, 2)]
    assert bytes(again.read_payload(some(2)[1].place)) == bytes([1]) * 51
    assert again.end == 12_288 and not again.damages
