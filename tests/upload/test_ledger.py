"""Each sentence of the ledger changes all that it says, in one step, and saying it twice counts once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from collectord.errors import SpoolUnusable
from collectord.model import Cursor, Lsn, Partition
from collectord.upload.database import Database
from collectord.upload.ledger import Ledger, peek_parked
from collectord.upload.records import ClientMark, DroppedRows, Intent, Progress, StreamTotals
from collectord.upload.rollover import Part, PartState, Place

DAY = Partition(b"s" * 16, 24 * 17000, 1440)
BASE = "a/2018/12/31/data.csv.zst"


def intent(frame_id: int, *, lsn: int = 0, position: int = 100, rows: int = 7, day: Partition = DAY) -> Intent:
    return Intent(
        frame_id=frame_id,
        base=BASE,
        part=0,
        position=position,
        header=b"h" * 16,
        header_length=20,
        length=120,
        checksum=b"c" * 16,
        rows=rows,
        stream_key="a/b",
        partition=day,
        after=Cursor(Lsn(lsn or frame_id * 10), 3),
        created_ns=5,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def reopened(ledger: Ledger) -> Ledger:
    ledger.close()
    return Ledger(ledger.path.parent)


def test_a_ledger_has_an_identity_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    assert not Database.exists(tmp_path)
    ledger = Ledger(tmp_path)
    assert Database.exists(tmp_path)
    assert len({ledger.writer_id, ledger.spool_id}) == 2
    assert {len(ledger.writer_id), len(ledger.spool_id)} == {16}
    again = reopened(ledger)
    assert (again.writer_id, again.spool_id) == (ledger.writer_id, ledger.spool_id)
    again.close()


def test_what_was_staged_is_open_until_it_is_confirmed(ledger: Ledger) -> None:
    first, second = intent(1), intent(2)
    ledger.stage(first)
    ledger.stage(second)
    assert ledger.intents() == [first, second]
    assert ledger.intent(2) == second
    ledger.confirm(first, 200, None, 9)
    assert ledger.intents() == [second]
    with pytest.raises(ValueError, match="frame 1 is not on its way"):
        ledger.intent(1)


def test_a_frame_is_staged_once(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    with pytest.raises(SpoolUnusable):
        ledger.stage(intent(1))
    assert len(ledger.intents()) == 1


def test_confirming_moves_cursor_part_and_totals_together(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    ledger.confirm(intent(1), 200, None, 9)
    ledger.stage(intent(2, position=0))
    ledger.confirm(intent(2, position=0), 400, 17, 10)
    assert ledger.cursors() == {DAY: Progress(Cursor(Lsn(20), 3), 14)}
    assert ledger.parts(BASE) == [Part(BASE, 0, b"h" * 16, 400, 17, PartState.OPEN, "")]
    assert ledger.landed_totals() == {"a/b": StreamTotals(rows=14, bytes=100 + 120, frames=2)}


def test_confirming_twice_counts_once(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    ledger.confirm(intent(1), 200, None, 9)
    ledger.confirm(intent(1), 200, None, 9)
    assert ledger.landed_totals()["a/b"].rows == 7
    assert ledger.parts(BASE)[0].appends == 1


def test_a_moved_intent_stays_moved(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    moved = ledger.move(intent(1), 900, 9)
    assert moved == replace(intent(1), position=900)
    ledger = reopened(ledger)
    assert ledger.intents() == [moved]
    assert ledger.parts(BASE) == [Part(BASE, 0, b"h" * 16, 900, 0, PartState.OPEN, "")]
    ledger.close()


def test_beginning_afresh_forgets_what_the_part_was(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    ledger.move(intent(1), 900, 9)
    assert ledger.move(intent(1), 0, 9).position == 0
    assert ledger.parts(BASE) == []


def test_a_reassigned_intent_remembers_why(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    left = Part(BASE, 0, b"h" * 16, 500, 0, PartState.CLOSED, "sealed")
    assert ledger.reassign(intent(1), left, Place(1, 0), 9) == replace(intent(1), part=1, position=0)
    assert ledger.parts(BASE) == [left]
    assert [(one.part, one.position) for one in ledger.intents()] == [(1, 0)]


def test_quarantined_rows_are_counted_by_reason_and_passed_by_the_cursor(ledger: Ledger) -> None:
    ledger.quarantine("a/b", DAY, 5, "damaged", Cursor(Lsn(50), 0))
    ledger.quarantine("a/b", DAY, 2, "damaged", Cursor(Lsn(60), 1))
    assert ledger.quarantined_totals() == {("a/b", "damaged"): 7}
    assert ledger.cursors() == {DAY: Progress(Cursor(Lsn(60), 1), 0)}


def test_frame_numbers_are_never_given_twice_once_one_was_staged(ledger: Ledger) -> None:
    assert [ledger.next_frame_id() for _ in range(3)] == [1, 2, 3]
    ledger.stage(intent(3))
    ledger.confirm(intent(3), 200, None, 9)
    ledger.prune(0)
    again = reopened(ledger)
    assert again.next_frame_id() == 4
    again.close()


def test_the_floor_keeps_every_position_ever_named(ledger: Ledger) -> None:
    assert ledger.lsn_floor() == 0
    ledger.stage(intent(1, lsn=500))
    assert ledger.lsn_floor() == 500
    ledger.quarantine("a/b", replace(DAY, start_hour=0), 1, "damaged", Cursor(Lsn(700), 0))
    ledger.checkpoint(Lsn(650), [])
    assert ledger.forget_cursors(Lsn(701)) == 1
    assert ledger.lsn_floor() == 700
    ledger.checkpoint(Lsn(800), [])
    assert ledger.lsn_floor() == 800


def test_only_cursors_before_the_log_s_beginning_are_forgotten(ledger: Ledger) -> None:
    days = [replace(DAY, start_hour=hour) for hour in (0, 24, 48)]
    for number, day in enumerate(days):
        ledger.quarantine("a/b", day, 1, "damaged", Cursor(Lsn(100 * (number + 1)), 0))
    assert ledger.forget_cursors(Lsn(200)) == 1
    assert set(ledger.cursors()) == set(days[1:])


def test_a_checkpoint_keeps_marks_and_counts_and_never_goes_back(ledger: Ledger) -> None:
    one, two = b"1" * 16, b"2" * 16
    ledger.checkpoint(
        Lsn(100),
        [ClientMark(one, 5, 50), ClientMark(two, 1, 10)],
        [DroppedRows(one, "a/b", "full", 3)],
        {("a/b", "received"): 9},
    )
    ledger.checkpoint(
        Lsn(90), [ClientMark(one, 4, 40)], [DroppedRows(one, "a/b", "full", 8)], {("a/b", "received"): 12}
    )
    again = reopened(ledger)
    assert again.lsn_floor() == 100
    assert sorted(again.clients(), key=lambda mark: mark.client) == [ClientMark(one, 5, 50), ClientMark(two, 1, 10)]
    assert again.dropped() == [DroppedRows(one, "a/b", "full", 8)]
    assert again.counts() == {("a/b", "received"): 12}
    again.close()


def test_a_forgotten_client_leaves_its_drops_in_the_books(ledger: Ledger) -> None:
    old, older, live = b"1" * 16, b"2" * 16, b"3" * 16
    ledger.checkpoint(
        Lsn(1),
        [ClientMark(old, 5, 50), ClientMark(older, 5, 40), ClientMark(live, 5, 60)],
        [DroppedRows(old, "a/b", "full", 3), DroppedRows(older, "a/b", "full", 4), DroppedRows(live, "a/b", "full", 5)],
    )
    assert ledger.forget_clients(60) == 2
    assert ledger.clients() == [ClientMark(live, 5, 60)]
    assert sorted((drop.client, drop.rows) for drop in ledger.dropped()) == [(b"", 7), (live, 5)]


def test_a_checkpoint_forgets_the_clients_that_it_is_told(ledger: Ledger) -> None:
    one, two = b"1" * 16, b"2" * 16
    ledger.checkpoint(Lsn(1), [ClientMark(one, 1, 10), ClientMark(two, 1, 10)])
    ledger.checkpoint(Lsn(2), [ClientMark(b"3" * 16, 1, 20)], gone=[one, b"never" + bytes(11)])
    assert {mark.client for mark in ledger.clients()} == {two, b"3" * 16}


def test_pruning_keeps_the_parts_in_use(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    ledger.confirm(intent(1), 100, None, 5)
    other = replace(intent(9), base="b/data.csv")
    ledger.stage(other)
    ledger.move(other, 50, 1)
    ledger.prune(parts_before_ns=5)
    assert len(ledger.parts(BASE)) == len(ledger.parts("b/data.csv")) == 1
    ledger.prune(parts_before_ns=6)
    assert ledger.parts(BASE) == []
    assert len(ledger.parts("b/data.csv")) == 1


def test_what_0_1_0_writes_of_landed_frames_has_its_table_and_goes(ledger: Ledger) -> None:
    """After a downgrade that version must find it; after an upgrade nobody reads it."""
    columns = (
        "frame_id, base, part, position, length, rows, schema_id, start_hour, boundary_minutes, "
        "before_lsn, before_row, after_lsn, after_row, landed_ns"
    )
    with ledger._database.transaction() as db:
        db.execute(f"INSERT INTO frames ({columns}) VALUES ({', '.join('1' * 14)})")
    ledger.prune(0)
    with ledger._database.transaction() as db:
        assert db.execute("SELECT count(*) FROM frames").fetchone() == (0,)


def test_it_may_be_used_from_many_threads(ledger: Ledger) -> None:
    def one(number: int) -> None:
        frame = intent(ledger.next_frame_id())
        ledger.stage(frame)
        ledger.move(frame, 100 + number, 1)
        ledger.confirm(frame, 200, None, 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(80)))
    assert ledger.landed_totals()["a/b"] == StreamTotals(rows=560, bytes=8000, frames=80)


def test_what_was_found_out_about_a_lost_ledger_is_written_at_once(tmp_path: Path) -> None:
    """Cursors and totals, and from then on nothing tells it from another ledger."""
    ledger = Ledger(tmp_path, b"s" * 16)
    assert ledger.rebuild_needed
    assert ledger.spool_id == b"s" * 16
    ledger.rebuilt({DAY: Progress(Cursor(Lsn(70), 3), 12)}, {"a/b": 12}, {"a/b": 2})
    assert not ledger.rebuild_needed
    ledger.close()
    again = Ledger(tmp_path, b"t" * 16)
    assert not again.rebuild_needed
    assert again.spool_id == b"s" * 16
    assert again.cursors() == {DAY: Progress(Cursor(Lsn(70), 3), 12)}
    assert again.landed_totals()["a/b"].rows == 12
    assert again.quarantined_totals() == {("a/b", "rebuild"): 2}
    assert again.lsn_floor() == 70
    again.close()


def test_a_rebuild_that_fails_half_way_leaves_it_needing_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, b"s" * 16)
    with pytest.raises(SpoolUnusable):
        ledger.rebuilt({DAY: Progress(Cursor(Lsn(70), 3), 12)}, {"a/b": 12}, {"a/b": None})  # type: ignore[dict-item]
    assert ledger.rebuild_needed
    assert ledger.cursors() == {}
    ledger.close()
    again = Ledger(tmp_path)
    assert again.rebuild_needed
    again.close()


def test_facts_are_remembered_under_their_key(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.recall("x") is None
    ledger.remember("x", "one")
    ledger.remember("x", "two")
    assert ledger.recall("x") == "two"


def test_parked_files_are_noted_and_can_be_looked_up_whoever_has_the_ledger_open(tmp_path: Path) -> None:
    """Beside a daemon and without one, and nothing is made by looking; of what is no ledger nothing is known."""
    assert peek_parked(tmp_path) == frozenset()
    ledger = Ledger(tmp_path)
    assert ledger.parked() == peek_parked(tmp_path) == frozenset()
    ledger.note_parked([Lsn(81920), Lsn(4096)])
    assert ledger.parked() == peek_parked(tmp_path) == {4096, 81920}
    ledger.close()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert peek_parked(tmp_path) == {4096, 81920}
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "ledger.sqlite").write_bytes(b"rubbish" * 1000)
    assert peek_parked(tmp_path) == frozenset()
