"""The reader hands out what is durable, once and in order, live and after a crash."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectord.model import Lsn
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.reader import LogReader
from collectord.wal.segment import Segment
from tests.wal.spool import SCHEMA, Spool, batch, flip, payload_of, read_back


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def fill(spool: Spool, numbers: range, length: int = 1000) -> None:
    for number in numbers:
        assert spool.commit(batch(number, payload_of(number, length))) is None


def test_a_reader_keeps_up_over_segments_and_is_told_nothing_twice(spool: Spool) -> None:
    reader = LogReader(spool.writer.catalog, Lsn(0))
    seen: list[int] = []
    for number in range(1, 60):
        fill(spool, range(number, number + 1))
        seen += [s.sequence for s in reader.read(100)]
        assert reader.read(100) == []
    assert seen == list(range(1, 60))


@pytest.mark.parametrize("limit", [1, 3, 7])
@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_limit_only_cuts_the_same_sequence_into_pieces(spool: Spool, limit: int, length: int) -> None:
    fill(spool, range(1, 40), length)
    reader = LogReader(spool.writer.catalog, Lsn(0))
    seen = []
    while entries := reader.read(limit):
        assert len(entries) <= limit
        seen += entries
    assert seen == LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    assert [s.sequence for s in seen] == list(range(1, 40))


def test_reading_can_begin_behind_any_entry(spool: Spool) -> None:
    fill(spool, range(1, 31))
    stored = LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    for index, entry in enumerate(stored):
        assert LogReader(spool.writer.catalog, entry.lsn).read(1000) == stored[index:]
        assert LogReader(spool.writer.catalog, entry.end).read(1000) == stored[index + 1 :]


def test_live_and_after_a_restart_the_same_entries_are_read(spool: Spool) -> None:
    fill(spool, range(1, 31))
    live = LogReader(spool.writer.catalog, Lsn(0)).read(1000)
    spool.writer.close()
    assert read_back(spool.recover()) == live


def test_a_schema_declared_before_the_start_is_known(spool: Spool) -> None:
    fill(spool, range(1, 5))
    reader = LogReader(spool.writer.catalog, spool.writer.durable)
    assert reader.schema(SCHEMA.id) == SCHEMA.raw
    with pytest.raises(DamagedEntry):
        reader.schema(bytes(16))


def test_payloads_are_read_into_reused_memory_where_it_is_large_enough(spool: Spool) -> None:
    fill(spool, range(1, 3))
    reader = LogReader(spool.writer.catalog, Lsn(0))
    page = bytearray(4096)
    for stored in reader.read(10):
        view = reader.read_payload(stored, page)
        assert view.obj is page and view == payload_of(stored.sequence, 1000)
        assert reader.read_payload(stored, bytearray(10)) == payload_of(stored.sequence, 1000)


def test_payloads_can_be_read_by_many_threads(spool: Spool) -> None:
    fill(spool, range(1, 60))
    reader = LogReader(spool.writer.catalog, Lsn(0))
    stored = reader.read(1000)
    wrong: list[int] = []

    def check() -> None:
        page = bytearray(4096)
        wrong.extend(s.sequence for s in stored if reader.read_payload(s, page) != payload_of(s.sequence, 1000))

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(stored) == 59


def test_an_entry_of_a_retired_segment_is_said_to_be_gone_also_when_its_file_is_used_again(spool: Spool) -> None:
    fill(spool, range(1, 31))
    reader = LogReader(spool.writer.catalog, Lsn(0))
    first = reader.read(1000)[0]
    old = spool.writer.catalog.segments()[0]
    spool.writer.retire(spool.writer.durable)
    fill(spool, range(31, 60))
    with pytest.raises(DamagedEntry, match="gone"):
        reader.read_payload(first)
    # Even a reader that still believes in the old segment, whose file now belongs to another one, gets no wrong bytes.
    reused = spool.writer.catalog.segments()[1]
    stale = replace(old, path=reused.path)
    believer = Catalog([stale], first.end)
    with pytest.raises(DamagedEntry, match="checksum"):
        believer.read_payload(first)
    believer.close()


def test_an_entry_that_goes_bad_later_is_refused_by_its_checksum(spool: Spool) -> None:
    fill(spool, range(1, 4))
    reader = LogReader(spool.writer.catalog, Lsn(0))
    stored = reader.read(10)
    flip(spool.files()[0], stored[1].lsn - int(spool.files()[0].stem) + 96 + 17)
    with pytest.raises(DamagedEntry, match="checksum"):
        reader.read_payload(stored[1])
    assert reader.read_payload(stored[2]) == payload_of(3, 1000)


def test_a_header_that_goes_bad_later_is_skipped_and_listed(spool: Spool) -> None:
    fill(spool, range(1, 6))
    stored = LogReader(spool.writer.catalog, Lsn(0)).read(10)
    flip(spool.files()[0], stored[2].lsn - int(spool.files()[0].stem) + 40)
    reader = LogReader(spool.writer.catalog, Lsn(0))
    assert [s.sequence for s in reader.read(10)] == [1, 2, 4, 5]
    assert [(d.from_lsn, d.to_lsn) for d in reader.damages] == [(stored[2].lsn, stored[2].end)]


@pytest.mark.parametrize("broken", range(1, 4))
def test_a_disk_that_fails_in_the_middle_loses_and_repeats_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """The `broken`th segment cannot be opened once: what was read before it is handed out, and the rest by the next call."""
    fill(spool, range(1, 60))
    catalog = spool.writer.catalog
    opened, opens = catalog.opened, 0

    def failing(segment: Segment) -> Any:
        nonlocal opens
        opens += 1
        if opens == broken:
            raise OSError(errno.EMFILE, "too many open files")
        return opened(segment)

    monkeypatch.setattr(catalog, "opened", failing)
    reader = LogReader(catalog, Lsn(0))
    seen: list[int] = []
    for _ in range(10):
        try:
            seen += [stored.sequence for stored in reader.read(1000)]
        except OSError:
            assert broken == 1, "only where there is nothing to hand out"
    assert opens > broken
    assert seen == list(range(1, 60))


def test_a_segment_that_is_gone_is_damage_and_does_not_hold_up_the_rest(spool: Spool) -> None:
    """Somebody has deleted a file under the reader: its range is listed, and what follows is read."""
    fill(spool, range(1, 60))
    reader = LogReader(spool.writer.catalog, Lsn(0))
    second = spool.writer.catalog.segments()[1]
    second.path.unlink()
    seen = [stored.sequence for stored in reader.read(1000)]
    (damage,) = reader.damages
    assert damage.segment == second.base and damage.to_lsn == second.end
    assert damage.reason == "missing segment"
    assert seen == sorted(seen) and seen[-1] == 59 and len(seen) < 59
