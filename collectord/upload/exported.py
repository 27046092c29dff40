"""How far each exporter has come: a part of the ledger.

Threads: any. Raises as `Ledger` does.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

from collectord.model import Cursor, Lsn
from collectord.upload.database import Database

_LEFT = struct.Struct("<QI")
_MARK = struct.Struct("<Qq")


@dataclass(frozen=True, slots=True)
class Mark:
    """What was durable before `lsn` had been received at this time."""

    lsn: Lsn
    wall_ns: int


@dataclass(frozen=True, slots=True)
class ExportTotals:
    """Events, since the exporter was first configured."""

    delivered: int = 0
    refused: int = 0
    expired: int = 0
    doubtful: int = 0
    """Sent again although they may have arrived."""


@dataclass(frozen=True, slots=True)
class ExportState:
    """Everything before `cursor` is settled, but the events (entry, row) in `left`."""

    cursor: Cursor
    left: tuple[Cursor, ...] = ()
    marks: tuple[Mark, ...] = ()
    """Oldest first; what they are for: `pipeline/lag.py`."""
    totals: ExportTotals = ExportTotals()


class Exported:
    """The states of the exporters, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> ExportState | None:
        rows = self._database.query(
            "SELECT lsn, row, left_over, marks, delivered, refused, expired, doubtful FROM exports WHERE name = ?",
            (name,),
        )
        if not rows:
            return None
        lsn, row, left, marks, *totals = rows[0]
        return ExportState(
            Cursor(Lsn(lsn), row),
            tuple(Cursor(Lsn(at), nth) for at, nth in _LEFT.iter_unpack(left)),
            tuple(Mark(Lsn(at), wall) for at, wall in _MARK.iter_unpack(marks)),
            ExportTotals(*totals),
        )

    def put(self, name: str, state: ExportState) -> None:
        """Replaces what is there."""
        left = b"".join(_LEFT.pack(one.lsn, one.row) for one in state.left)
        marks = b"".join(_MARK.pack(one.lsn, one.wall_ns) for one in state.marks)
        totals = state.totals
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO exports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, state.cursor.lsn, state.cursor.row, left, marks,
                 totals.delivered, totals.refused, totals.expired, totals.doubtful),
            )  # fmt: skip

    def keep_only(self, names: Collection[str]) -> dict[str, ExportState]:
        """Forgets the others: whoever is configured again later begins with what comes then. Returns how far those had come."""
        found = [name for (name,) in self._database.query("SELECT name FROM exports")]
        gone = {name: state for name in found if name not in names and (state := self.get(name)) is not None}
        with self._database.transaction() as db:
            for name in gone:
                db.execute("DELETE FROM exports WHERE name = ?", (name,))
        return gone
