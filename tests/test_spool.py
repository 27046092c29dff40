"""A spool is opened, whichever of its two halves is gone, and nothing is taken for lost that is not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew, SpoolUnusable
from collectord.model import Cursor, EntryKind, Lsn, Partition, Place, Stored
from collectord.pipeline import Pipeline
from collectord.spool import lock_spool, open_ledger
from collectord.testing.store import MemoryStore
from collectord.upload.held import DROPPED, REQUEUED
from collectord.upload.ledger import Ledger
from collectord.upload.records import Intent
from collectord.wal.identity import spool_of
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import Copied, parked_bytes
from collectord.wal.raw import Raw
from tests.pipeline.node import Client, Node, schema
from tests.wal.test_identity import write

SPOOL = b"s" * 16
SCHEMA = schema()
DAY = Partition(b"p" * 16, 24 * 365, 1440)


def test_a_fresh_spool_has_lost_nothing(tmp_path: Path) -> None:
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert not opened.log_lost
    assert not opened.ledger.rebuild_needed
    assert opened.received({"a": 3}) == {"a": 3}
    opened.ledger.close()


def test_a_spool_that_somebody_else_owns_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the directory can read and change what is in it, whatever its mode. Root's is good, as of a volume, and root
    itself may open any."""
    spool = tmp_path / "spool"
    spool.mkdir()
    owner = os.getuid() or 65534
    os.chown(spool, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(
        SpoolUnusable, match=f"^spool: {spool} belongs to user {owner}, .* and this is user {owner + 1}; give"
    ):
        lock_spool(spool)
    assert not list(spool.iterdir())
    for user in (owner, 0):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        os.close(lock_spool(spool))


def test_a_ledger_that_is_missing_beside_a_log_takes_its_id_and_another_writer_s(tmp_path: Path) -> None:
    """Clients see the same spool; frames of the two ledgers can be told apart."""
    before = Ledger(tmp_path)
    before.close()
    write(tmp_path / "log", 4096, before.spool_id)
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    for _ in range(2):
        opened = open_ledger(tmp_path, tmp_path / "log")
        assert opened.ledger.rebuild_needed, "also after the next crash"
        assert opened.ledger.spool_id == before.spool_id
        assert opened.ledger.writer_id != before.writer_id
        opened.ledger.close()


def test_a_file_that_is_still_empty_beside_a_log_is_a_lost_ledger(tmp_path: Path) -> None:
    write(tmp_path / "log", 4096, SPOOL)
    (tmp_path / "ledger.sqlite").touch()
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert opened.ledger.rebuild_needed
    opened.ledger.close()


def _noise(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 8192)


def _an_index_that_lies(path: Path) -> None:
    """Every page is well formed, and two of them contradict each other: only the integrity check sees it."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE extra (a INTEGER, b TEXT)")
        db.execute("CREATE INDEX extra_b ON extra (b)")
        db.executemany("INSERT INTO extra VALUES (?, ?)", ((n, f"text {n}") for n in range(100)))
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'extra'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    raw = bytearray(path.read_bytes())
    page = raw[(root - 1) * size : root * size]
    raw[(root - 1) * size : root * size] = page.replace(b"text 50", b"text XX")
    path.write_bytes(raw)


@pytest.mark.parametrize("harm", [_noise, _torn, _an_index_that_lies])
@pytest.mark.parametrize("with_log", [True, False])
def test_a_damaged_ledger_is_set_aside_and_begun_again(
    tmp_path: Path, harm: Callable[[Path], None], with_log: bool
) -> None:
    """With a log it has to be rebuilt; without one there is nothing that could land twice."""
    Ledger(tmp_path).close()
    harm(tmp_path / "ledger.sqlite")
    raw = (tmp_path / "ledger.sqlite").read_bytes()
    if with_log:
        write(tmp_path / "log", 4096, SPOOL)
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert opened.ledger.rebuild_needed == with_log
    (aside,) = tmp_path.glob("ledger.sqlite.damaged-*")
    assert aside.read_bytes() == raw
    opened.ledger.close()


def test_what_is_of_a_later_version_or_another_program_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "log", 4096, SPOOL)
    path = tmp_path / "ledger.sqlite"
    for statement, kind in (("CREATE TABLE theirs (x)", SpoolUnusable), ("PRAGMA user_version = 99", FormatTooNew)):
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()
        raw = path.read_bytes()
        with pytest.raises(kind):
            open_ledger(tmp_path, tmp_path / "log")
        assert path.read_bytes() == raw
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_log_that_is_gone_is_told_and_the_books_begin_with_what_the_ledger_knows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.quarantine("a/b", DAY, 5, "damaged", Cursor(Lsn(5000), 0))
    ledger.checkpoint(Lsn(0), (), (), {("a/b", "lost"): 2, ("a/b", "other"): 9})
    ledger.close()
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert opened.log_lost
    assert not opened.ledger.rebuild_needed
    assert opened.received({"a/b": 1}) == {"a/b": 8}
    opened.ledger.close()
    write(tmp_path / "log", 8192, opened.ledger.spool_id)
    again = open_ledger(tmp_path, tmp_path / "log")
    assert not again.log_lost
    assert again.received({"a/b": 1}) == {"a/b": 8}, "remembered"
    again.ledger.close()


def test_books_after_a_lost_log_hold_what_was_dropped_requeued_or_is_parked(tmp_path: Path) -> None:
    """Each row once: also one of a frame under way whose entry is parked, and none that had landed from there."""
    key = SCHEMA.stream.key()
    day = Partition(SCHEMA.id, 24 * 365, 1440)
    ledger = Ledger(tmp_path)
    ledger.checkpoint(Lsn(30_000), (), (), {(key, DROPPED): 100, (key, REQUEUED): 1000, (key, "lost"): 3})
    ledger.quarantine(key, day, 20, "damaged", Cursor(Lsn(5000), 4))
    ledger.stage(Intent(1, "a/data.csv.zst", 1, 0, b"h" * 16, 1, 2, b"c" * 16, 13, key, day, Cursor(Lsn(9000), 2), 0))
    parked = ParkedLog(tmp_path / "parked", ledger.spool_id)
    entries = []
    # Landed before; 6 of 10 rows wait, all of them under way; 2 of 7 are; none of 9 is. 5 of the frame are in the lost log.
    for lsn, rows in ((4096, 50), (5000, 10), (9000, 7), (9500, 9)):
        stored = Stored(
            Lsn(lsn), Lsn(lsn + 104), EntryKind.BATCH, b"c" * 16, lsn, rows, day.schema_id, day.start_hour, 1440, 3
        )
        entries.append(Copied(Place(Lsn(lsn), 3), day, rows, Raw(stored, b"abc", good=True)))
    size = sum(parked_bytes(one.place) for one in entries)
    parked.write(Lsn(4096), Lsn(20_000), {SCHEMA.id: (SCHEMA.raw, key)}, entries, size)
    ledger.close()
    for _ in range(2):
        opened = open_ledger(tmp_path, tmp_path / "log")
        assert opened.log_lost and len(opened.parked) == 1
        assert opened.received({}) == {key: 100 + 1000 + 3 + 20 + (6 + 7 + 9) + (13 - 6 - 2)}
        opened.ledger.close()


def test_a_log_is_not_read_where_all_has_landed_and_the_cursors_are_forgotten(tmp_path: Path) -> None:
    """A retired segment that somebody puts back would land twice; a log begun anew never has entries before that."""
    ledger = Ledger(tmp_path)
    ledger.quarantine("a/b", DAY, 5, "damaged", Cursor(Lsn(5000), 0))
    ledger.checkpoint(Lsn(7000), ())
    ledger.close()
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert opened.reads_from(Lsn(4096)) == 4096
    opened.ledger.forget_cursors(Lsn(6000))
    opened.ledger.forget_cursors(Lsn(5500))
    assert (opened.reads_from(Lsn(4096)), opened.reads_from(Lsn(6500))) == (6000, 6500)
    opened.ledger.forget_cursors(Lsn(90_000))
    assert opened.reads_from(Lsn(0)) == opened.ledger.lsn_floor() == 7000
    opened.ledger.close()


def test_losses_are_counted_once_however_often_a_daemon_starts_before_the_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery tells all of them each time, for no segment goes meanwhile; only what is new comes in."""
    told = [("a/b", 4), ("a/b", 3), ("c", 1)]
    store = MemoryStore()
    node = Node(tmp_path / "spool", store)
    node.append(Client(schema()).batch(10))
    node.stop()
    for path in node.spool.glob("ledger.sqlite*"):
        path.unlink()
    monkeypatch.setattr("tests.pipeline.node.Ledger", lambda spool: Ledger(spool, spool_of(spool / "log")))
    replay = Pipeline.replay
    monkeypatch.setattr(Pipeline, "replay", lambda pipeline, damaged: replay(pipeline, True, told))
    for extra in (0, 0, 5):
        told.append(("c", extra))
        node = Node(node.spool, store)
        assert node.ledger.rebuild_needed
        lost = {stream: rows for (stream, name), rows in node.ledger.counts().items() if name == "lost"}
        node.stop()
        assert lost == {"a/b": 7, "c": 1 + extra}
