"""What has landed is let go: segments of the log, marks of silent clients, frames and cursors that nobody asks for any more.

Thread: the pipeline's; at the end, whoever stops it. What is shared is in `State`.
"""

from __future__ import annotations

from collections.abc import Callable

from collectord.clock import CLOCK_STEP_NS, Clock, offset_ns
from collectord.files import Reserve
from collectord.ingest.marks import Marks
from collectord.model import Lsn
from collectord.pipeline.exports import Exports
from collectord.pipeline.parking import HIGH_WATER, LOW_WATER, Parking
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.state import State
from collectord.upload.ledger import Ledger
from collectord.upload.records import ClientMark, DroppedRows
from collectord.wal.parked import ParkedLog
from collectord.wal.writer import LogWriter

RETIRE_EVERY = 1.0
PRUNE_EVERY = 3600.0
KEPT_PARTS_NS = 40 * 86_400_000_000_000


class Upkeep:
    """Done again and again, in no hurry."""

    def __init__(
        self,
        state: State,
        *,
        log: LogWriter,
        ledger: Ledger,
        marks: Marks,
        parked: ParkedLog,
        parking: Parking,
        shelf: Shelf,
        reserve: Reserve,
        clock: Clock,
        mark_seconds: float,
        connected: Callable[[], frozenset[bytes]],
        exports: Exports,
    ) -> None:
        """Marks are kept for `mark_seconds` after a client was last heard, and those of `connected` in any case."""
        self._state = state
        self._log = log
        self._ledger = ledger
        self._marks = marks
        self._parked = parked
        self._parking = parking
        self._shelf = shelf
        self._reserve = reserve
        self._clock = clock
        self._mark_seconds = mark_seconds
        self._connected = connected
        self._exports = exports
        self._retired = Lsn(0)
        self._retired_at = 0.0
        # Not at the start: clients that were silent while nobody ran get an hour to come back.
        self._pruned_at = clock.monotonic()
        self._clock_offset = offset_ns(clock)

    def next_timer(self, now: float) -> float:
        """Monotonic seconds at which there may be something to do."""
        return now + RETIRE_EVERY

    def maintain(self) -> None:
        """Does what is due. Called often, without the lock."""
        now = self._clock.monotonic()
        if now - self._retired_at < RETIRE_EVERY:
            return
        self._retired_at = now
        self._follow_clock()
        self._exports.expire()
        with self._state.lock:
            free = self._free_before()
        self._make_haste()
        self._shelf.settle()
        if free > self._retired and self._shelf.returning.settled:
            self.checkpoint(retire=True)
            self._retired = free
        self._parking.maintain(self._state.taken_to)
        with self._state.lock:
            # Under the lock, as releasing is: else it could count as held when its file has just been given up.
            if not self._state.troubles:
                self._reserve.hold()
        if now - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = now
            self._prune(free)

    def _follow_clock(self) -> None:
        """Nobody has been silent for an hour because the clock was set an hour ahead, nor was heard of in the future."""
        step = offset_ns(self._clock) - self._clock_offset
        if abs(step) > CLOCK_STEP_NS:
            self._clock_offset += step
            self._marks.shift(step, self._clock.wall_ns())

    def _make_haste(self) -> None:
        """In a log that is nearly full, what keeps the oldest segments is due: else a few rows that may wait for their time would
        keep what has landed of everybody."""
        left, low = self._log.used_bytes, LOW_WATER * self._log.budget
        if left <= HIGH_WATER * self._log.budget:
            return
        before = Lsn(0)
        for segment in self._log.catalog.segments()[:-1]:
            if left <= low or segment.end is None:
                break
            before, left = segment.end, left - segment.size
        with self._state.lock:
            self._state.index.flush(before)
            self._state.wake()

    def checkpoint(self, *, retire: bool) -> None:
        """Writes down the marks, after which the log needs no segment that has landed."""
        with self._state.lock:
            free = self._free_before()
            drops = [DroppedRows(*drop, total) for drop, total in self._state.books.take_fresh_drops()]
        marks = [ClientMark(*mark) for mark in self._marks.changed()]
        self._ledger.checkpoint(free, marks, drops, gone=self._marks.forgotten_payloads(self._clock.wall_ns()))
        self._marks.told()
        if retire:
            self._log.retire(free)

    def _free_before(self) -> Lsn:
        """Where the log's first entry that is still needed begins; what is parked is not needed there. With the lock held."""
        wanted = (self._state.index.waiting_from(self._parked.end), self._exports.needed_from(), self._state.taken_to)
        return min(lsn for lsn in wanted if lsn is not None)

    def _prune(self, free: Lsn) -> None:
        wall = self._clock.wall_ns()
        silent_since = wall - int(self._mark_seconds * 1e9)
        connected = self._connected()
        gone = self._marks.expire(silent_since, connected)
        self._ledger.forget_clients(silent_since, connected)
        self._ledger.prune(wall - KEPT_PARTS_NS)
        bases = [segment.base for segment in self._log.catalog.segments()]
        first = min([free, *bases, *(file.base for file in self._parked.files())])
        self._ledger.forget_cursors(first)
        with self._state.lock:
            self._state.books.forget_clients(gone)
            self._state.index.forget(first)
