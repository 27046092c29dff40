"""What the ledger says of the quarantine: which items it holds, and what became of their rows.

An item goes in and out in one transaction with the counts that it changes, so that the books balance whenever the process
dies. Its file is synced before it goes in, and removed after it has gone out.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from collectord.model import Cursor, Partition
from collectord.upload import tables
from collectord.upload.database import Database

REQUEUED = "requeued"
"""Name of the count of rows that went from the quarantine through the log once more: the log has counted them twice."""
DROPPED = "dropped_from_quarantine"
"""Name of the count of rows that somebody dropped from the quarantine."""


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item of the quarantine."""

    id: bytes
    stream_key: str
    reason: str
    rows: int
    """Rows of it that are in quarantine now."""
    entries: int
    again: int
    """So many of its entries are in the log again: always the first ones."""
    gone: bool
    """It holds nothing any more; only its file may still be there."""


class Held:
    """A part of the ledger; threads and errors are the ledger's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, item: HeldItem, partition: Partition, after: Cursor, frame_id: int | None = None) -> None:
        """Rows go into quarantine and the cursor passes them; the open intent `frame_id`, if any, is given up.

        Raises ValueError if that intent is not open.
        """
        with self._database.transaction() as db:
            given_up = db.execute("DELETE FROM intents WHERE frame_id = ?", (frame_id,)).rowcount
            if given_up != (frame_id is not None):
                raise ValueError(f"frame {frame_id} is not on its way")
            tables.advance(db, partition, after, 0)
            hold(db, item)

    def adopt(self, item: HeldItem) -> None:
        """An item whose file is there and which the ledger has lost."""
        with self._database.transaction() as db:
            hold(db, item)

    def put_again(self, id_: bytes, sequence: int, rows: int) -> None:
        """The entries of an item up to `sequence` (1, 2, ...) stand in the log again. `rows`: of those that this says for
        the first time. Saying so twice changes nothing, nor does it of an item that has gone."""
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT stream_key, reason, again, entries FROM held WHERE id = ? AND NOT gone", (id_,)
            ).fetchone()
            if row is None or row[2] >= sequence:
                return
            db.execute(
                "UPDATE held SET again = ?, rows = rows - ?, gone = ? WHERE id = ?",
                (sequence, rows, int(sequence == row[3]), id_),
            )
            _move(db, row[0], row[1], rows, REQUEUED)

    def drop(self, id_: bytes) -> int:
        """Gives an item up for good. Returns its rows; 0 if it is not there or has gone."""
        with self._database.transaction() as db:
            row = db.execute("SELECT stream_key, reason, rows FROM held WHERE id = ? AND NOT gone", (id_,)).fetchone()
            if row is None:
                return 0
            db.execute("UPDATE held SET rows = 0, gone = 1 WHERE id = ?", (id_,))
            _move(db, row[0], row[1], row[2], DROPPED)
            return int(row[2])

    def forget(self, id_: bytes) -> None:
        """The file of an item that has gone is removed."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM held WHERE id = ? AND gone", (id_,))

    def items(self) -> list[HeldItem]:
        """All of them, also those that have gone and are not forgotten."""
        with self._database.transaction() as db:
            rows = db.execute("SELECT id, stream_key, reason, rows, entries, again, gone FROM held").fetchall()
        return [HeldItem(bytes(row[0]), row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows]


def hold(db: sqlite3.Connection, item: HeldItem) -> None:
    """An item and its rows are in quarantine; a part of its caller's transaction."""
    db.execute(
        "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?, 0, 0)",
        (item.id, item.stream_key, item.reason, item.rows, item.entries),
    )
    tables.quarantine(db, item.stream_key, item.reason, item.rows)


def _move(db: sqlite3.Connection, stream_key: str, reason: str, rows: int, count: str) -> None:
    db.execute("UPDATE quarantined SET rows = rows - ? WHERE stream_key = ? AND reason = ?", (rows, stream_key, reason))
    db.execute(
        "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (stream_key, name) DO UPDATE SET rows = rows + excluded.rows",
        (stream_key, count, rows),
    )
