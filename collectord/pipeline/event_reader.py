"""The events of the log, in its order, from a position on: what an exporter reads.

Entries of rows are stepped over by their headers. Thread: one at a time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from collectord.errors import Rejected
from collectord.model import Cursor, EntryKind, Lsn, Schema, Stored, StreamKind
from collectord.pipeline.known import Known
from collectord.pipeline.unpacking import events_of
from collectord.telemetry.event import Event
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.reader import LogReader

READ_AT_ONCE = 64
ROWS_AT_ONCE = 100
"""Of one entry: an entry may have thousands, and becomes much larger as events."""


@dataclass(slots=True)
class _Entry:
    """The entry that is being read."""

    stored: Stored
    schema: Schema
    payload: memoryview
    row: int


class EventReader:
    """A position in the log, and the events behind it."""

    def __init__(self, log: Catalog, known: Known, cursor: Cursor) -> None:
        self._log = log
        self._known = known
        self.cursor = cursor
        """Entry and row of the next event, or before it."""
        self.damaged = 0
        """Events that could not be read; the caller sets it back."""
        self._reader = LogReader(log, cursor.lsn)
        self._queue: deque[Stored] = deque()
        self._entry: _Entry | None = None

    def read(self) -> list[tuple[Cursor, Event]]:
        """Some of the next events; none when caught up. Raises OSError if the disk fails."""
        found: list[tuple[Cursor, Event]] = []
        while not found and (self._entry is not None or self._open_next()):
            found = self._read_on()
        return found

    def _read_on(self) -> list[tuple[Cursor, Event]]:
        """Some events of the open entry; none if they cannot be read."""
        entry = self._entry
        assert entry is not None
        stop = min(entry.stored.rows, entry.row + ROWS_AT_ONCE)
        found: list[tuple[Cursor, Event]] = []
        try:
            events = events_of(entry.schema, entry.payload, entry.row, stop)
        except Exception:  # noqa: BLE001
            # A fault of ours, and for ever: what is behind it must not wait for that. Its words may quote an event.
            self.damaged += stop - entry.row
        else:
            found = [(Cursor(entry.stored.lsn, row), one) for row, one in enumerate(events, entry.row)]
        entry.row = stop
        if stop < entry.stored.rows:
            self.cursor = Cursor(entry.stored.lsn, stop)
        else:
            self._queue.popleft()
            self.cursor = Cursor(entry.stored.end, 0)
            self._entry = None
        return found

    def reread(self, at: Cursor) -> Event | None:
        """One event, wherever the reader is; None: it is not in the log any more."""
        reader = LogReader(self._log, at.lsn)
        found = reader.read(1)
        if not found or found[0].lsn != at.lsn or not self._is_of_events(found[0]) or at.row >= found[0].rows:
            return None
        try:
            payload = reader.read_payload(found[0])
        except DamagedEntry:
            return None
        return events_of(self._known.schema(found[0].schema_id), payload, at.row, at.row + 1)[0]

    def skip(self, floor: Lsn) -> int:
        """Goes on to the first entry at or behind `floor`. Returns how many events it has stepped over."""
        first, events = self.cursor, 0
        reader = LogReader(self._log, first.lsn)
        end: Lsn | None = None
        while end is None and (found := reader.read(READ_AT_ONCE)):
            for stored in found:
                if stored.lsn >= floor:
                    end = stored.lsn
                    break
                if self._is_of_events(stored):
                    events += stored.rows - (first.row if stored.lsn == first.lsn else 0)
        self.cursor = max(first, Cursor(reader.position if end is None else end, 0))
        self._reader = LogReader(self._log, self.cursor.lsn)
        self._queue.clear()
        self._entry = None
        return events

    def _open_next(self) -> bool:
        """Takes up the next entry that has events; False if there is none yet."""
        while True:
            if not self._queue:
                self._queue.extend(self._reader.read(READ_AT_ONCE))
                for damage in self._reader.damages:
                    if damage.stored is not None and self._is_of_events(damage.stored):
                        self.damaged += damage.stored.rows
                self._reader.damages.clear()
                if not self._queue:
                    self.cursor = max(self.cursor, Cursor(self._reader.position, 0))
                    return False
            stored = self._queue[0]
            if self._is_of_events(stored) and self._open(stored):
                return True
            self._queue.popleft()
            self.cursor = max(self.cursor, Cursor(stored.end, 0))

    def _is_of_events(self, stored: Stored) -> bool:
        if stored.kind is not EntryKind.BATCH:
            return False
        try:
            return self._known.schema(stored.schema_id).stream.kind is not StreamKind.ROWS
        except (DamagedEntry, Rejected):
            # Whoever lands it says so.
            return False

    def _open(self, stored: Stored) -> bool:
        row = self.cursor.row if self.cursor.lsn == stored.lsn else 0
        if row >= stored.rows:
            return False
        try:
            payload = self._reader.read_payload(stored)
        except DamagedEntry:
            self.damaged += stored.rows - row
            return False
        self._entry = _Entry(stored, self._known.schema(stored.schema_id), payload, row)
        return True
