"""The tables are those of the document, and what is added to them adds up."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectord.model import Cursor, Lsn, Partition
from collectord.upload import tables
from collectord.upload.rollover import PartState

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats" / "ledger.md"
DAY = Partition(b"s" * 16, 24, 1440)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.executescript(tables.SCHEMA)
    made.execute(tables.ADDED)
    made.execute(tables.EXPORTS)
    yield made
    made.close()


def test_the_document_lists_every_table_and_no_other(db: sqlite3.Connection) -> None:
    section = DOCUMENT.read_text().partition("## Tables")[2].partition("##")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(
        name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    )


def test_a_cursor_moves_and_its_rows_add_up(db: sqlite3.Connection) -> None:
    tables.advance(db, DAY, Cursor(Lsn(10), 1), 5)
    tables.advance(db, DAY, Cursor(Lsn(20), 0), 2)
    assert db.execute("SELECT lsn, row, rows FROM cursors").fetchall() == [(20, 0, 7)]


def test_what_is_learned_of_a_part_replaces_all_but_its_appends(db: sqlite3.Connection) -> None:
    tables.learn(db, "a.csv", 0, b"h" * 16, 100, PartState.OPEN, "", 1)
    db.execute("UPDATE parts SET appends = 3")
    tables.learn(db, "a.csv", 0, None, 200, PartState.FOREIGN, "no header of ours", 2)
    assert db.execute("SELECT header, length, appends, state, reason, touched_ns FROM parts").fetchall() == [
        (None, 200, 3, "foreign", "no header of ours", 2)
    ]


def test_rows_in_quarantine_add_up_by_stream_and_reason(db: sqlite3.Connection) -> None:
    for stream, reason in (("a", "damaged"), ("a", "damaged"), ("a", "unencodable"), ("b", "damaged")):
        tables.quarantine(db, stream, reason, 4)
    assert db.execute("SELECT * FROM quarantined ORDER BY 1, 2").fetchall() == [
        ("a", "damaged", 8), ("a", "unencodable", 4), ("b", "damaged", 4),
    ]  # fmt: skip


def test_the_floor_only_rises(db: sqlite3.Connection) -> None:
    db.executemany("INSERT INTO meta VALUES (?, ?)", [("lsn_floor", 0), ("checkpoint", 5)])
    for lsn, floor in ((30, 30), (20, 30), (40, 40)):
        tables.advance(db, DAY, Cursor(Lsn(lsn), 0), 0)
        tables.raise_floor(db)
        assert db.execute("SELECT value FROM meta WHERE key = 'lsn_floor'").fetchone() == (floor,)
