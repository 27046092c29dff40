"""The log is read, live and after a crash alike: its entries go into index, marks and books.

Thread: the pipeline's; before its start, whoever replays. What is shared is in `State`.
"""

from __future__ import annotations

import logging
from collections import deque

from collectord._pb import collector_pb2 as pb
from collectord.books import LOST
from collectord.buffer.event_totals import EventTotals, event_totals
from collectord.clock import Clock
from collectord.errors import Rejected
from collectord.ingest.marks import Marks
from collectord.ingest.openings import Openings
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import EntryKind, Lsn, Stored
from collectord.pipeline.event_minutes import KINDS, TIMED, EventMinutes
from collectord.pipeline.known import Known
from collectord.pipeline.returning import Returning
from collectord.pipeline.state import State
from collectord.schema import stream_of
from collectord.upload.ledger import Ledger
from collectord.wal.damage import Damage, DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.reader import LogReader

READ_AT_ONCE = 1000
MOST_DECLARED = (1 << 20) + (16 << 10)
"""Bytes that a schema and the key of its stream may need."""
MOST_TOLD = 100
"""Streams and reasons of dropped rows that are said, of what is read at once; the books have all."""
_EVENT_KEYS = tuple(f"{kind.name.lower()}:" for kind in KINDS)
"""How the keys of streams of events begin that are counted."""

_log = logging.getLogger("collectord.pipeline")


class Reading:
    """Takes in what the reader of the log gives, each entry once, also if that fails on the way."""

    def __init__(
        self,
        state: State,
        *,
        reader: LogReader,
        ledger: Ledger,
        known: Known,
        parked: ParkedLog,
        returning: Returning,
        marks: Marks,
        openings: Openings,
        metrics: Metrics,
        clock: Clock,
        received_to: Lsn,
        event_minutes: EventMinutes,
    ) -> None:
        """`received_to`: what lies before it was received, and counted, before the start."""
        self._state = state
        self._reader = reader
        self._ledger = ledger
        self._known = known
        self._parked = parked
        self._returning = returning
        self._marks = marks
        self._openings = openings
        self._metrics = metrics
        self._clock = clock
        self._received_to = received_to
        self._event_minutes = event_minutes
        self._pending: deque[Stored] = deque()
        """Read from the log and not taken in yet: more than nothing only while taking in fails."""
        self._damages: deque[Damage] = deque()
        self._last_end = Lsn(0)
        """Where the entry ends that was taken in last. What lies between it and the next is a declaration, as a rule."""
        self._dropped: list[tuple[str, str, int]] = []
        """Stream, reason and rows that clients gave up, to be said when the lock is free."""
        for reason in (*_REASONS, "other"):
            metrics.expect("collectord_client_dropped_total", reason=reason)

    def read(self) -> bool:
        """Takes in the next entries of the log; False when caught up. Without the lock."""
        if not self._pending:
            self._pending.extend(self._reader.read(READ_AT_ONCE))
            self._damages.extend(self._reader.damages)
            self._reader.damages.clear()
            for one in self._pending:
                self._count_events(one)
        while self._damages:
            stored = self._damages[0].stored
            if stored is not None and stored.kind is EntryKind.BATCH and self._known.knows(stored.schema_id):
                self._openings.seen(stored.partition)
                self.lose(self._known.stream_key(stored.schema_id), stored.rows, self._damages[0].reason)
            self._damages.popleft()
        found = bool(self._pending)
        now = self._clock.monotonic()
        wall = self._clock.wall_ns()
        with self._state.lock:
            try:
                while self._pending:
                    self._take(self._pending[0], now, wall)
                    self._pending.popleft()
            finally:
                # What could not be taken in is tried again, and until then nothing behind it counts as read.
                self._state.taken_to = self._pending[0].lsn if self._pending else self._reader.position
        self._returning.settle_round()
        self._tell_dropped()
        return found

    def _take(self, stored: Stored, now: float, wall: int) -> None:
        """Takes in one entry. Whatever may fail comes first, and may be repeated."""
        self._take_in(stored, now, wall)
        self._last_end = stored.end

    def _take_in(self, stored: Stored, now: float, wall: int) -> None:
        if stored.kind is EntryKind.DROPPED:
            self._take_dropped(stored)
        known = stored.kind is EntryKind.BATCH and self._known.knows(stored.schema_id)
        again = known and self._returning.recognise(stored)
        if stored.sequence:
            self._marks.observe(stored.client, stored.sequence, wall)
        if stored.kind is not EntryKind.BATCH:
            return
        if not known:
            # Its declaration is damaged. `Pipeline.replay` finds its rows missing, and of which stream.
            event(_log, logging.ERROR, "an entry's schema is lost", lsn=stored.lsn, rows=stored.rows)
            return
        if stored.lsn >= self._parked.end:
            gap = stored.lsn - self._last_end
            self._state.index.add(stored, now, gap if 0 < gap <= MOST_DECLARED else 0)
        self._openings.seen(stored.partition)
        if again != (stored.lsn >= self._received_to):
            rows = -stored.rows if again else stored.rows
            self._state.books.receive(self._known.stream_key(stored.schema_id), rows)

    def _take_dropped(self, stored: Stored) -> None:
        try:
            message = pb.Dropped.FromString(bytes(self._reader.read_payload(stored)))
            for count in message.counts[:1000]:
                reason = count.reason if _is_word(count.reason) else "other"
                more = self._state.books.drop((stored.client, stream_of(count.stream).key(), reason), count.rows)
                if more:
                    self._metrics.count("collectord_client_dropped_total", more, reason=_bounded(reason))
                    # That of a switch was said when it was switched.
                    if reason != "switched_off" and len(self._dropped) < MOST_TOLD:
                        self._dropped.append((stream_of(count.stream).key(), _bounded(reason), more))
        except (DamagedEntry, Rejected) as error:
            event(_log, logging.WARNING, "a client's report of dropped rows is unreadable", why=str(error))

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, []
        for stream, reason, rows in dropped:
            event(_log, logging.WARNING, "a client has dropped rows", stream=stream, reason=reason, rows=rows)

    def _count_events(self, stored: Stored) -> None:
        """Counts an entry's telemetry events, if it holds any, for the overview."""
        if stored.kind is not EntryKind.BATCH or stored.lsn < self._received_to:
            return
        try:
            # Their keys are remembered for longer than the schemas, which may be large.
            if not self._known.stream_key(stored.schema_id).startswith(_EVENT_KEYS):
                return
            schema = self._known.schema(stored.schema_id)
            kind = schema.stream.kind
            if kind not in KINDS:
                # A subscription may be called so too.
                return
            if kind in TIMED or schema.sampled:
                totals = event_totals(schema, self._reader.read_payload(stored), stored.rows)
            else:
                # All that is wanted of these is their number.
                totals = EventTotals(stored.rows)
            self._event_minutes.add(kind, totals)
        except (DamagedEntry, Rejected, OSError) as error:
            # Whoever lands it finds that too, and does what has to be done.
            event(_log, logging.WARNING, "events could not be counted for the overview", lsn=stored.lsn, why=str(error))

    def lose(self, stream: str, rows: int, why: str) -> None:
        """Rows that were acknowledged cannot be read back: the worst there is, and at least never silent."""
        with self._state.lock:
            total = self._state.books.lost(stream) + rows
        self._ledger.checkpoint(Lsn(0), (), (), {(stream, LOST): total})
        with self._state.lock:
            self._state.books.lose(stream, rows)
        self._metrics.count("collectord_records_quarantined_total", rows)
        event(_log, logging.ERROR, "acknowledged rows cannot be read back", stream=stream, rows=rows, why=why)


_REASONS = frozenset(
    ("outbox_full", "unsupported_media", "unsupported_type", "ragged", "no_rows", "no_columns", "too_many_columns",
     "row_too_large", "invalid_utf8", "bad_name", "bad_id", "bad_timestamp", "closed", "switched_off", "held_full",
     "bad_event", "bad_number", "internal_error")
)  # fmt: skip


def _bounded(reason: str) -> str:
    return reason if reason in _REASONS else "other"


def _is_word(text: str) -> bool:
    return 0 < len(text) <= 64 and all(c.isascii() and (c.islower() or c.isdigit() or c == "_") for c in text)
