"""The journey itself: its parts, its thread, and what others ask of it.

One thread reads the log, live and after a crash alike, and decides what is due; a few workers (`dispatch.py`) take the due frames,
one at a time per blob, from the log to the store. Everything a worker needs after a crash is in the log and the ledger.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from collectord.books import LOST
from collectord.buffer.seal import SealRules
from collectord.clock import Clock
from collectord.errors import CollectordError, SpoolFull, described
from collectord.files import Reserve
from collectord.ingest.marks import Marks
from collectord.ingest.openings import Openings
from collectord.ingest.purses import service_name
from collectord.ingest.shares import allowed
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Lsn, Partition
from collectord.pipeline.dispatch import RETRY_UNEXPECTED, Dispatch
from collectord.pipeline.event_minutes import EventMinutes
from collectord.pipeline.exports import Destinations, Exports
from collectord.pipeline.framer import Framer
from collectord.pipeline.known import Known
from collectord.pipeline.overview import Overview
from collectord.pipeline.parking import Parking
from collectord.pipeline.reading import Reading
from collectord.pipeline.rebuild import Found, Options, Search
from collectord.pipeline.sending import Sending
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.snapshot import Snapshots
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.pipeline.traffic import Traffic
from collectord.pipeline.upkeep import Upkeep
from collectord.pipeline.upload_events import UploadEvents
from collectord.upload.appender import Appender
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout
from collectord.upload.records import Progress
from collectord.upload.schemas import SchemaPublisher
from collectord.upload.store import BlobStore
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import parked_name
from collectord.wal.reader import LogReader
from collectord.wal.writer import LogWriter

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
REBUILD = "rebuild"
"""Holds all uploads: what has landed is not known."""
REST_SECONDS = 0.1
"""Between two looks at the log while little comes: a look costs a wake-up, and those who wait for an answer the interpreter."""
LAST_LOOK = 1.0
"""Seconds for the log to be read to its end before the thread ends."""
UNREAD_BYTES = 1 << 20
"""With so many in the log that it has not looked at, it looks at once."""

_log = logging.getLogger("collectord.pipeline")


class Pipeline:
    """From the log to the store. `start` begins to read at the log's first entry; `stop` leaves the rest in the log."""

    def __init__(
        self,
        *,
        log: LogWriter,
        reader: LogReader,
        ledger: Ledger,
        appender: Appender,
        schemas: SchemaPublisher,
        reserve: Reserve,
        layout: Layout,
        marks: Marks,
        metrics: Metrics,
        clock: Clock,
        rules: SealRules,
        codec: str,
        level: int,
        lowercase_workspace: bool,
        workers: int,
        makers: int,
        max_streams: int,
        mark_seconds: float,
        share: float,
        connected: Callable[[], frozenset[bytes]],
        received: dict[str, int],
        received_to: Lsn,
        parked: ParkedLog,
        parked_budget: int,
        quarantine: Path,
        quarantine_budget: int,
        destinations: Destinations | None = None,
        node: str = "",
    ) -> None:
        """`makers`: frames that `workers` may make at the same time; `received`: rows per stream key that the log has ever taken in before `received_to`; `share`: what one tenant or service
        may have of open partitions and log, of what the others leave."""
        self._log = log
        self._share = share
        self._log_bytes = log.budget // log.segment_bytes * log.segment_bytes
        self._ledger = ledger
        self._appender = appender
        self._reserve = reserve
        self._clock = clock
        self._parked = parked
        self._sources = Sources(log.catalog, parked)
        self._known = Known(
            self._sources.schema, layout, lowercase_workspace=lowercase_workspace, max_streams=max_streams
        )
        self._framer = Framer(codec, level, ledger.writer_id, ledger.next_frame_id)
        self._state = state = State(ledger, rules, received, reader.position, clock, workers)
        self._openings = Openings(max_streams, state.index, share)
        state.index.whose = self._whose
        self._parking = Parking(
            state, log=log, ledger=ledger, parked=parked, known=self._known, clock=clock, budget=parked_budget,
            flush_interval=rules.flush_interval,
        )  # fmt: skip
        self.shelf = Shelf(
            state, quarantine, quarantine_budget, held=ledger.held, spool_id=ledger.spool_id, log=log,
            sources=self._sources, metrics=metrics, clock=clock,
        )  # fmt: skip
        """The quarantine."""
        self.traffic = Traffic(clock)
        """What goes to the blobs of each stream."""
        self.event_minutes = EventMinutes(clock)
        """The telemetry events of the last hour."""
        self.overview = Overview(
            state, log=log, known=self._known, sources=self._sources, parked=parked, parking=self._parking, clock=clock,
            begun=tuple(state.intents.values()),
        )  # fmt: skip
        """Answers to whoever asks."""
        self.snapshots = Snapshots(
            state, log=log, ledger=ledger, known=self._known, sources=self._sources, framer=self._framer
        )
        """What waits, for questions about rows."""
        self._reading = Reading(
            state, reader=reader, ledger=ledger, known=self._known, parked=parked, returning=self.shelf.returning,
            marks=marks, openings=self._openings, metrics=metrics, clock=clock, received_to=received_to, event_minutes=self.event_minutes,
        )  # fmt: skip
        self.upload_events = UploadEvents(
            log, self._openings, clock, writer=ledger.writer_id, node=node,
            store=destinations.store if destinations is not None else None,
        )  # fmt: skip
        """Tells services of their uploads."""
        self._sending = Sending(
            state, ledger=ledger, appender=appender, publisher=schemas, known=self._known, sources=self._sources,
            framer=self._framer, shelf=self.shelf, metrics=metrics, clock=clock,
            upload_events=self.upload_events, traffic=self.traffic, makers=makers,
        )  # fmt: skip
        begin = reader.position if ledger.rebuild_needed else log.durable
        self.exports = Exports(
            destinations,
            log=log,
            known=self._known,
            exported=ledger.exported,
            metrics=metrics,
            clock=clock,
            begin=begin,
        )
        """Events on their way to other services."""
        self._upkeep = Upkeep(
            state, log=log, ledger=ledger, marks=marks, parked=parked, parking=self._parking, shelf=self.shelf,
            reserve=reserve, clock=clock, mark_seconds=mark_seconds, connected=connected, exports=self.exports,
        )  # fmt: skip
        self.dispatch = Dispatch(
            state, known=self._known, sending=self._sending, clock=clock, workers=workers, make_room=self.make_room
        )
        """The upload workers, and what holds them up."""
        if ledger.rebuild_needed:
            self.dispatch.hold(REBUILD, "the ledger was lost; run `collectord ledger rebuild`", lasting=True)
        self._rests_until: float | None = None
        """The thread looks at the log then, by itself; None: a commit has to wake it. Written by it alone."""
        self._thread = threading.Thread(target=self._run, name="collectord-pipeline", daemon=True)

    # ------------------------------------------------------------------ life

    def replay(self, damaged: bool = False, losses: Iterable[tuple[str, int]] = ()) -> None:
        """Reads all of the log once, so that marks and buffers are what they were. Call before clients are let in.

        `damaged`: recovery could not read all of it; of what is parked this finds out itself. What the log has counted and neither holds nor has landed is then
        written into the books as lost; without damage there is no such row. `losses`: rows per stream that recovery
        has missed in the log itself, all that is known of them if the ledger has to be rebuilt.
        """
        taken = {stream: rows for (stream, name), rows in self._ledger.counts().items() if name == LOST}
        # A file that was removed may be back after a power loss: of what lies before this no cursor says any more that it has
        # landed.
        landed_before = self._ledger.forgotten()
        for stored in self._parked.entries():
            if stored.lsn >= landed_before and self._known.knows(stored.schema_id):
                self._state.index.add(stored, self._clock.monotonic())
        while self._reading.read():
            pass
        self.shelf.open(ledger_lost=self._ledger.rebuild_needed)
        there = {file.base for file in self._parked.files()}
        missing = self._ledger.parked() - there
        if missing:
            event(
                _log, logging.ERROR, "parked files are gone; what waited there is lost",
                files=[parked_name(base) for base in sorted(missing)],
            )  # fmt: skip
        damaged = damaged or bool(self._parked.damages) or bool(missing)
        if self._ledger.rebuild_needed:
            # Recovery tells all of them at every start until the rebuild: those of earlier starts stand in the ledger.
            found = Counter[str]()
            for stream, rows in losses:
                found[stream] += rows
            for stream, rows in found.items():
                more = rows - taken.get(stream, 0)
                if more > 0:
                    self._reading.lose(stream, more, "found at the start")
            # What the log has counted and does not hold any more can only have landed, or been set aside.
            with self._state.lock:
                self._state.books.presume_landed(self.overview.rows_in_log())
        elif damaged:
            for book in self.overview.books():
                if book.missing > 0:
                    self._reading.lose(book.stream, book.missing, "found at the start")
        self._ledger.note_parked(there)

    def start(self, *, exporting: bool = True) -> None:
        """Starts the threads; `exporting`: also those of the exporters."""
        self._log.on_commit = self._committed
        self._appender.on_finding = self._sending.found
        self.dispatch.start()
        self._parking.start()
        if exporting:
            self.exports.start()
        self._thread.start()

    def stop(self, patience: float = 60.0) -> bool:
        """What has not landed stays in the log. Waits `patience` seconds for attempts under way.

        Returns whether they ended; if not, their threads still run, and the next start settles what they did.
        """
        deadline = self._clock.monotonic() + patience
        with self._state.lock:
            if self._thread.is_alive():
                # Else what came last would be missing in what is said to be left.
                self._state.take_in(self._log.durable, LAST_LOOK)
            self._state.stopping = True
            self._state.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._parking.stop()
        self.shelf.returning.close()
        self.dispatch.stop()
        quiet = self.exports.stop(max(0.0, deadline - self._clock.monotonic()))
        idle = self.dispatch.await_idle(deadline)
        self._upkeep.checkpoint(retire=False)
        return idle and quiet

    # ------------------------------------------------------------------ what others tell and ask

    @property
    def last_error(self) -> str:
        """What has failed last, even if all is well again; empty if nothing ever has."""
        return self._state.errors.newest

    def let_in(self, partition: Partition, whose: str) -> str:
        """Why a batch of this partition may not be taken in from a tenant or service, empty: it may; from the event loop, so without
        the lock. `gave_up` has to follow if it does not get into the log."""
        return self._openings.let_in(partition, whose)

    def room(self, whose: str) -> int:
        """Bytes that a tenant or service may have waiting in the log, more than it has; likewise without the lock."""
        index = self._state.index
        _, mine = index.held(whose)
        # What has not been read yet may be anybody's.
        others = index.bytes - mine + max(0, self._log.durable - self._state.taken_to)
        return allowed(self._share, self._log_bytes, others) - mine

    def _whose(self, partition: Partition) -> str:
        """Whom a partition that opens is counted for: who sends it, or after a restart the service that its stream names."""
        return self._openings.whose(partition) or service_name(self._known.service(partition.schema_id))

    def is_open(self, partition: Partition) -> bool:
        """Whether rows of this partition wait, or are about to; from the event loop, so without the lock."""
        return self._openings.is_open(partition)

    def gave_up(self, partition: Partition) -> None:
        """A batch that there was room for did not get into the log."""
        self._openings.gave_up(partition)

    def tune(self, flush_interval: float, flush_bytes: int) -> None:
        """When rows are sealed from now on; those that wait already keep their time."""
        with self._state.lock:
            self._state.index.rules = replace(
                self._state.index.rules, flush_interval=flush_interval, flush_bytes=flush_bytes
            )
            self._state.wake()

    def is_refused(self, partition: Partition) -> bool:
        """Whether what may wait for this partition's blob is used up, so that its rows are rejected; from any thread."""
        refused = self._parking.refused
        return bool(refused) and partition in refused

    def flush(self, timeout: float, *, insist: bool = True) -> bool:
        """Seals and uploads what is durable now; waits for it. Returns whether all of it has landed.

        `insist`: blobs that are left alone for a while are tried once at once. Who asks again and again does not insist.
        """
        target = self._log.durable
        deadline = self._clock.monotonic() + timeout
        state = self._state
        with state.lock:
            if insist:
                state.troubles.hurry()
            while not self._landed_before(target):
                state.index.flush(target)
                state.wake()
                rest = deadline - self._clock.monotonic()
                if rest <= 0 or state.stopping or self.dispatch.held_for_long:
                    return False
                state.lock.wait(min(rest, 0.5))
        return True

    def _landed_before(self, target: Lsn) -> bool:
        waiting = self._state.index.waiting_from()
        return self._state.taken_to >= target and (waiting is None or waiting >= target)

    def make_room(self, error: Exception) -> bool:
        """On a full disk gives up the reserve, so that uploading can free the log. Returns whether there was one."""
        full = isinstance(error, SpoolFull) or (isinstance(error, OSError) and error.errno in _NO_SPACE)
        with self._state.lock:
            given = full and self._reserve.release()
        if given:
            event(_log, logging.WARNING, "the spool's disk is full; its reserve is used to upload what waits")
        return given

    # ------------------------------------------------------------------ the thread

    def _committed(self) -> None:
        """There is more in the log. On the log's thread."""
        self.exports.wake()
        rests_until = self._rests_until
        if (
            rests_until is not None
            and self._clock.monotonic() < rests_until
            and self._log.durable - self._state.taken_to < UNREAD_BYTES
        ):
            return
        with self._state.lock:
            self._state.wake()

    def _run(self) -> None:
        state = self._state
        while True:
            with state.lock:
                if not state.work and not state.stopping:
                    state.lock.wait(self._pause())
                state.work = False
                if state.stopping:
                    return
            # What cannot be read does not keep what has been read from its blob.
            well = [self._outlives(step) for step in (self._read_on, self._send_on)]
            if not all(well):
                with state.lock:
                    state.lock.wait_for(lambda: state.stopping, RETRY_UNEXPECTED)

    def _read_on(self) -> None:
        # Before the look: what is committed during it may not be seen by it, and wakes the thread again.
        self._rests_until = None
        found = False
        while self._reading.read():
            found = True
            self.dispatch.hand_out()
        if found:
            self._rests_until = self._clock.monotonic() + REST_SECONDS

    def _send_on(self) -> None:
        self.dispatch.hand_out()
        if not self.dispatch.is_held(REBUILD):
            self._upkeep.maintain()

    def _outlives(self, step: Callable[[], None]) -> bool:
        """Whether a step has succeeded; it is tried again if not."""
        try:
            step()
        except (CollectordError, OSError) as error:
            # The spool's disk, mostly: it heals when there is room again.
            self._state.errors.say(f"pipeline: {error}")
            self.make_room(error)
            event(_log, logging.WARNING, "the pipeline waits for its spool", why=str(error))
            return False
        except Exception as error:  # noqa: BLE001
            # The journey must outlive what nobody thought of; nothing has been lost, for nothing was confirmed.
            self._state.errors.say(f"pipeline: {described(error)}")
            _log.exception("the pipeline failed and goes on")
            return False
        return True

    def _pause(self) -> float:
        """Seconds until something becomes due by itself."""
        now = self._clock.monotonic()
        timers = (
            self._upkeep.next_timer(now), self._state.index.next_timer(), self._state.troubles.next_until(now),
            self._rests_until,
        )  # fmt: skip
        return max(0.0, min(timer for timer in timers if timer is not None) - now)

    # ------------------------------------------------------------------ a ledger that was lost

    def search_for_landed(self, store: BlobStore, options: Options) -> Search:
        """What finds out how far a partition has landed."""
        return Search(
            store, self._known, self._framer, self._sources.read_payload, self.shelf.undecided.set_aside,
            self._ledger.writer_id, options,
        )  # fmt: skip

    def rebuild(self, findings: Iterable[Found]) -> None:
        """Takes what `rebuild.Search` has found into ledger, buffers and books, all at once, and uploads again."""
        findings = list(findings)
        cursors = {one.partition: Progress(one.after, one.landed) for one in findings if one.after is not None}
        state = self._state
        with state.lock:
            landed = Counter({book.stream: book.landed for book in state.books.view(()) if book.landed})
        given_up = Counter[str]()
        for one in findings:
            landed[one.stream] += one.landed
            given_up[one.stream] += one.given_up
        aside = self.shelf.undecided.passed({partition: progress.cursor for partition, progress in cursors.items()})
        self._ledger.rebuilt(
            cursors, landed, {stream: rows for stream, rows in given_up.items() if rows}, aside,
            [part for one in findings for part in one.torn], self._clock.wall_ns(),
        )  # fmt: skip
        self._appender.sweep()
        with state.lock:
            now = self._clock.monotonic()
            for one in findings:
                state.books.land(one.stream, one.landed)
                state.books.quarantine(one.stream, one.given_up)
                if one.after is not None:
                    state.index.landed(one.partition, one.after, now)
        self.shelf.undecided.decide(aside)
        self.dispatch.let_go(REBUILD)
