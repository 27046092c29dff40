"""A spool is opened, whichever of its two halves is gone, and nothing is taken for lost that is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew, SpoolUnusable
from collectord.model import Cursor, Lsn, Partition
from collectord.spool import open_ledger
from collectord.upload.ledger import Ledger
from tests.wal.test_identity import write

SPOOL = b"s" * 16
DAY = Partition(b"p" * 16, 24 * 365, 1440)


def test_a_fresh_spool_has_lost_nothing(tmp_path: Path) -> None:
    opened = open_ledger(tmp_path, tmp_path / "log")
    assert not opened.log_lost
    assert not opened.ledger.rebuild_needed
    assert opened.received({"a": 3}) == {"a": 3}
    opened.ledger.close()


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
