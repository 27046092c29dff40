"""Events of the log go to one exporter, at its own pace, with a position of its own in the log.

What an answer has settled stands in the ledger before the next request is sent, so a process that dies sends again what was in
one request at most. An exporter that lies too far behind loses its oldest events, counted: the log is not kept for it for ever.

Threads: one of its own, which reads and sends; `expire` belongs to the pipeline's; questions come from any. The lock guards what
they share, and is not held while something is sent.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from collectord.clock import CLOCK_STEP_NS, Clock, offset_ns
from collectord.errors import CollectordError
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Cursor, Lsn
from collectord.pipeline.event_reader import EventReader
from collectord.pipeline.known import Known
from collectord.pipeline.lag import Limits, floor_of, held_bytes, marked, oldest_seconds, shifted, too_old
from collectord.telemetry.delivery import Delivery, Outcome, Pending, fitting
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Exporter, Item, Unfit
from collectord.upload.exported import Exported, ExportState
from collectord.upload.store import BlobStore
from collectord.upload.whole import put_whole
from collectord.wal.writer import LogWriter

LOOK_SECONDS = 1.0
"""Nobody says when a segment ends."""
BREATH_SECONDS = 0.05
"""Between a commit and a look at what it brought: more may come."""
RETRY_SECONDS = 1.0
KEEP_MARKS_SECONDS = 60.0
TELL_SECONDS = 60.0
"""While it loses events all the time."""

_log = logging.getLogger("collectord.export")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all exporters of a daemon share."""

    log: LogWriter
    known: Known
    exported: Exported
    store: BlobStore
    metrics: Metrics
    clock: Clock
    limits: Limits


class Exporting:
    """One exporter, and how far it has come."""

    def __init__(self, exporter: Exporter, around: Surroundings, begin: Lsn) -> None:
        """`begin`: where it begins if it has never been here."""
        self.name = exporter.name
        self._exporter = exporter
        self._around = around
        self._log = around.log
        state = around.exported.get(self.name)
        if state is None:
            state = ExportState(Cursor(begin, 0))
            around.exported.put(self.name, state)
        self._lock = threading.Lock()
        """Guards everything below."""
        self.totals = state.totals
        self.delivery = Delivery()
        self._reader = EventReader(self._log.catalog, around.known, state.cursor)
        around.metrics.expect("collectord_export_expired_total", exporter=self.name)
        self._left = state.left
        """Events from before the start that were not settled; read at the first step."""
        self._flying: Sequence[Pending] = ()
        """What was sent and is not answered."""
        self._marks = state.marks
        self._kept_marks_at = around.clock.monotonic()
        self._clock_offset = offset_ns(around.clock)
        self._unsaved = False
        self._expired_to = Lsn(0)
        self.needed_from = min([state.cursor.lsn, *(one.lsn for one in state.left)])
        """The first entry that it needs; only rises. Read without the lock."""
        self._told = ""
        self._untold = 0
        """Events given up since that was last told."""
        self._tell_again_at = 0.0
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"collectord-{self.name}", daemon=True)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There may be more in the log."""
        self._wake.set()

    def ask_to_stop(self) -> None:
        """Nothing new is sent."""
        self._stopping.set()
        self._wake.set()

    def stop(self, patience: float) -> bool:
        """Whether nothing of it runs any more; if not, a request is under way."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(patience)
        if self._thread.is_alive():
            return False
        self._exporter.close()
        return True

    def is_done(self, target: Lsn) -> bool:
        """Whether it has settled all before `target`, or cannot go on now."""
        return bool(self.delivery.trouble) or not self._thread.is_alive() or self.needed_from >= target

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                pause = self._step()
            except (CollectordError, OSError) as error:
                # The spool's disk, mostly: it heals when there is room again.
                event(_log, logging.WARNING, "an exporter waits for its spool", exporter=self.name, why=str(error))
                self._stopping.wait(RETRY_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001
                # Its words may quote an event.
                event(
                    _log,
                    logging.ERROR,
                    "an exporter failed and goes on",
                    exporter=self.name,
                    error=type(error).__name__,
                )
                self._stopping.wait(RETRY_SECONDS)
                continue
            if pause > 0 and self._wake.wait(pause):
                self._wake.clear()
                self._stopping.wait(BREATH_SECONDS)

    def _step(self) -> float:
        """One request at most. Returns for how long there is nothing to do, unless somebody wakes us."""
        with self._lock:
            self._read()
            if self._unsaved:
                self._save()
            now = self._around.clock.monotonic()
            batch = self._flying = self.delivery.next(now)
            if not batch:
                return min(LOOK_SECONDS, max(0.0, self.delivery.wake_at() - now))
        answer = None
        try:
            batch = fitting([one for one in batch if self._is_whole(one)])
            if batch:
                answer = self._exporter.send([one.item for one in batch])
        finally:
            with self._lock:
                self._flying = ()
        if answer is not None:
            with self._lock:
                self._take(self.delivery.settle(batch, answer, self._around.clock.monotonic(), random.random()))
                self._tell()
        return 0.0

    def _is_whole(self, one: Pending) -> bool:
        """Whether what the item refers to is in the store; if not, it waits."""
        if one.item.whole is None:
            return True
        if not one.item.size and not self._make_again(one):
            return False
        assert one.item.whole is not None
        blob, data = one.item.whole
        failure = put_whole(self._around.store, blob, data, "application/json")
        if not failure:
            one.item = replace(one.item, whole=None)
            self._around.metrics.count("collectord_export_large_total", exporter=self.name)
            return True
        with self._lock:
            # What waits for the store takes no room from what goes on.
            one.item = Item(None, 0, one.item.lane, (blob, b""))
            self.delivery.put_off(one, self._around.clock.monotonic(), random.random())
            self._count_again(Counter({"store": 1}))
        event(_log, logging.WARNING, "a large event could not be stored", exporter=self.name, why=failure)
        return False

    def _make_again(self, one: Pending) -> bool:
        """Reads an event once more whose item was let go; False if it is in the log no more: then it waits to expire."""
        found = self._reader.reread(one.at)
        item = self._exporter.prepare(found) if found is not None else None
        if not isinstance(item, Item):
            with self._lock:
                self.delivery.put_off(one, self._around.clock.monotonic(), random.random())
            return False
        one.item = item
        return True

    # ------------------------------------------------------------------ reading; with the lock held

    def _read(self) -> None:
        while self._left:
            at = self._left[0]
            found = self._reader.reread(at)
            if found is None:
                self._expire(1)
            else:
                self._add(at, found, tried=True)
            self._left = self._left[1:]
        while self.delivery.has_room and (events := self._reader.read()):
            for at, one in events:
                self._add(at, one)
        if self._reader.damaged:
            self._refuse("damaged", self._reader.damaged)
            self._reader.damaged = 0
        self._settle_position()

    def _add(self, at: Cursor, one: Event, *, tried: bool = False) -> None:
        try:
            item = self._exporter.prepare(one)
        except Exception as error:  # noqa: BLE001
            # Whatever is in it, the others go on; the error's words may quote the event.
            event(
                _log, logging.ERROR, "an event could not be made an item", exporter=self.name, item_id=one.item_id,
                error=type(error).__name__,
            )  # fmt: skip
            item = Unfit("unencodable")
        match item:
            case Item():
                if item.cut:
                    self._around.metrics.count("collectord_export_cut_total", exporter=self.name)
                self.delivery.add(at, item, tried=tried)
            case Unfit(reason):
                self._refuse(reason, 1)

    # ------------------------------------------------------------------ settling; with the lock held

    def _take(self, outcome: Outcome) -> None:
        metrics = self._around.metrics
        if outcome.delivered:
            metrics.count("collectord_export_delivered_total", outcome.delivered, exporter=self.name)
        for reason, number in outcome.refused.items():
            self._refuse(reason, number)
        self._count_again(outcome.again)
        if outcome.doubtful:
            metrics.count("collectord_export_doubtful_total", outcome.doubtful, exporter=self.name)
        self.totals = replace(
            self.totals, delivered=self.totals.delivered + outcome.delivered,
            doubtful=self.totals.doubtful + outcome.doubtful,
        )  # fmt: skip
        if late := self.delivery.expire(self._expired_to):
            self._expire(late)
        self._settle_position()
        if outcome.settled or outcome.doubtful:
            self._unsaved = True
            self._save()

    def _count_again(self, again: Counter[str]) -> None:
        for reason, number in again.items():
            self._around.metrics.count("collectord_export_retried_total", number, exporter=self.name, reason=reason)

    def _refuse(self, reason: str, number: int) -> None:
        self._around.metrics.count("collectord_export_refused_total", number, exporter=self.name, reason=reason)
        event(
            _log,
            logging.WARNING,
            "events were refused and are given up",
            exporter=self.name,
            events=number,
            reason=reason,
        )
        self.totals = replace(self.totals, refused=self.totals.refused + number)
        self._unsaved = True

    def _expire(self, number: int) -> None:
        self._around.metrics.count("collectord_export_expired_total", number, exporter=self.name)
        self.totals = replace(self.totals, expired=self.totals.expired + number)
        self._unsaved = True
        self._untold += number
        now = self._around.clock.monotonic()
        if now >= self._tell_again_at:
            event(
                _log, logging.ERROR, "events were not delivered in time and are given up", exporter=self.name,
                events=self._untold, why=self.delivery.trouble,
            )  # fmt: skip
            self._untold, self._tell_again_at = 0, now + TELL_SECONDS

    def _settle_position(self) -> None:
        waiting = [self._reader.cursor.lsn, *(one.lsn for one in self._left), *self.delivery.entries()]
        self.needed_from = max(self.needed_from, self._expired_to, min(waiting))

    def _save(self) -> None:
        """Raises what the ledger raises; tried again with the next step then."""
        cursor, left = self.delivery.left(self._reader.cursor)
        self._around.exported.put(self.name, ExportState(cursor, (*self._left, *left), self._marks, self.totals))
        self._unsaved = False
        self._kept_marks_at = self._around.clock.monotonic()

    def _tell(self) -> None:
        """Says once what is wrong, and once that it is over."""
        trouble = self.delivery.trouble
        if trouble == self._told:
            return
        self._told = trouble
        if trouble:
            level = logging.ERROR if self.delivery.barred else logging.WARNING
            event(_log, level, "events are not delivered", exporter=self.name, why=trouble)
        else:
            event(_log, logging.INFO, "events are delivered again", exporter=self.name)

    # ------------------------------------------------------------------ the pipeline's thread

    def expire(self) -> None:
        """Gives up what is too far behind. Raises what the ledger raises."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            clock, limits, catalog = self._around.clock, self._around.limits, self._log.catalog
            now, wall, durable = clock.monotonic(), clock.wall_ns(), catalog.durable
            step = offset_ns(clock) - self._clock_offset
            if abs(step) > CLOCK_STEP_NS:
                self._clock_offset += step
                self._marks = shifted(self._marks, step)
            self._marks = marked(self._marks, durable, wall, self.needed_from, limits)
            held = floor_of(catalog.segments(), durable, limits.bytes_of(self._log.budget))
            floor = max(held, too_old(self._marks, wall, limits))
            if floor > self.needed_from:
                self._give_up_before(floor)
            if self._unsaved or (self._marks and now - self._kept_marks_at > KEEP_MARKS_SECONDS):
                self._save()
        finally:
            self._lock.release()

    def _give_up_before(self, floor: Lsn) -> None:
        gone = 0
        if floor > self._reader.cursor.lsn:
            gone = self._reader.skip(floor)
            floor = self._reader.cursor.lsn
        kept = tuple(one for one in self._left if one.lsn >= floor)
        gone += len(self._left) - len(kept) + self.delivery.expire(floor, self._flying)
        self._left = kept
        self._expired_to = max(self._expired_to, floor)
        self._settle_position()
        if gone:
            self._expire(gone)

    # ------------------------------------------------------------------ answers

    def lag_bytes(self) -> int:
        """Bytes of the log that it needs."""
        catalog = self._log.catalog
        return held_bytes(catalog.segments(), self.needed_from, catalog.durable)

    def lag_seconds(self) -> float:
        """For how long its oldest event has waited, at least."""
        waiting = [one for one in self._marks if one.lsn > self.needed_from]
        return oldest_seconds(waiting, self._around.clock.wall_ns())

    def status(self) -> dict[str, Any]:
        """As JSON values."""
        totals = self.totals
        return {
            "name": self.name,
            "target": self._exporter.describe(),
            "trouble": self.delivery.trouble or None,
            "blocked": self.delivery.barred,
            "lag_bytes": self.lag_bytes(),
            "lag_seconds": round(self.lag_seconds(), 1),
            "delivered": totals.delivered,
            "refused": totals.refused,
            "expired": totals.expired,
            "doubtful": totals.doubtful,
        }
