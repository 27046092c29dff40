"""The books are right after any crash, and are not touched by a version that cannot read them."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew, SpoolFull, SpoolUnusable
from collectord.model import Cursor, Lsn
from collectord.upload.database import FILE_NAME, VERSION
from collectord.upload.ledger import Ledger
from collectord.upload.records import Progress
from tests.upload.test_ledger import DAY, intent


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def test_its_files_are_for_the_daemon_alone(ledger: Ledger, tmp_path: Path) -> None:
    ledger.stage(intent(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes[FILE_NAME] == 0o600
    assert set(modes.values()) == {0o600}


def test_it_syncs_every_transaction(ledger: Ledger) -> None:
    assert ledger._database._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._database._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_kill_between_two_transactions_keeps_the_first_whole(tmp_path: Path) -> None:
    """The process dies without closing anything."""
    script = f"""
import os, signal
from pathlib import Path
from collectord.upload.ledger import Ledger
from tests.upload.test_ledger import intent
ledger = Ledger(Path({str(tmp_path)!r}))
ledger.stage(intent(1))
ledger.confirm(intent(1), 200, None, 9)
ledger.stage(intent(2))
ledger._database._db.execute("BEGIN IMMEDIATE")
ledger._database._db.execute("DELETE FROM intents")
ledger._database._db.execute("DELETE FROM cursors")
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    ledger = Ledger(tmp_path)
    assert ledger.intents() == [intent(2)]
    assert ledger.cursors() == {DAY: Progress(Cursor(Lsn(10), 3), 7)}
    ledger.close()


def test_a_ledger_of_a_later_version_is_left_alone(ledger: Ledger) -> None:
    ledger.close()
    with sqlite3.connect(ledger.path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = ledger.path.read_bytes()
    with pytest.raises(FormatTooNew, match=f"has format {VERSION + 1}; this version knows up to {VERSION}"):
        Ledger(ledger.path.parent)
    assert ledger.path.read_bytes() == before


def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(SpoolUnusable, match="not a ledger"):
        Ledger(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(SpoolUnusable, match="cannot be read as a ledger"):
        Ledger(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == b"not a database" * 100


def test_an_empty_file_left_by_a_crash_at_the_very_beginning_becomes_a_ledger(tmp_path: Path) -> None:
    os.close(os.open(tmp_path / FILE_NAME, os.O_CREAT | os.O_WRONLY, 0o600))
    Ledger(tmp_path).close()


def test_a_full_disk_is_told_apart_and_changes_nothing(ledger: Ledger) -> None:
    ledger.stage(intent(1))
    pages = ledger._database._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._database._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SpoolFull, match="no room to grow"):
        for number in range(2, 2000):
            ledger.stage(intent(number))
    staged = len(ledger.intents())
    ledger._database._db.execute("PRAGMA max_page_count = 1000000")
    ledger.stage(intent(5000))
    assert len(ledger.intents()) == staged + 1


def test_a_ledger_of_before_gets_the_table(tmp_path: Path) -> None:
    """Tables are only ever added within a format."""
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("DROP TABLE held")
    db.close()
    again = Ledger(tmp_path)
    assert again.held.items() == []
    again.close()
