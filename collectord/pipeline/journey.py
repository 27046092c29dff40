"""The journey itself: who moves, when, and what becomes of what fails.

One thread reads the log, live and after a crash alike, and decides what is due; a few workers take the due frames, one
at a time per blob, from the log to the store. Everything a worker needs after a crash is in the log and the ledger.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from collectord._pb import collector_pb2 as pb
from collectord.books import Books, StreamBooks
from collectord.buffer.entries import Entries
from collectord.buffer.index import Index, Slice, after_entry
from collectord.buffer.seal import SealRules
from collectord.clock import Clock
from collectord.errors import CollectordError, Rejected, SpoolFull
from collectord.files import Reserve
from collectord.ingest.marks import Marks
from collectord.ingest.openings import Openings
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import EntryKind, Lsn, Partition, Place, Stored
from collectord.pipeline.framer import Frame, Framer
from collectord.pipeline.known import Known
from collectord.pipeline.parking import Parking
from collectord.pipeline.poison import Poisoned, Refusals, Suspects, Unencodable
from collectord.pipeline.rebuild import Found, Options, Search
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.sources import Sources
from collectord.pipeline.troubles import Trouble, Troubles
from collectord.schema import parse_schema, stream_of
from collectord.upload.appender import Appender, BlockedFor, Landed, Retry
from collectord.upload.backoff import BLOCKED_MOST
from collectord.upload.held import DROPPED, REQUEUED
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout
from collectord.upload.records import ClientMark, DroppedRows, Intent, Progress
from collectord.upload.schemas import SchemaPublisher
from collectord.upload.store import MAX_APPEND, BlobStore
from collectord.wal.damage import Damage, DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.reader import LogReader
from collectord.wal.writer import LogWriter

READ_AT_ONCE = 1000
RETIRE_EVERY = 1.0
PRUNE_EVERY = 3600.0
KEPT_FRAMES = 100_000
KEPT_PARTS_NS = 40 * 86_400_000_000_000
RETRY_UNEXPECTED = 1.0
RETRY_FULL = 0.1
BOOKS_PATIENCE = 5.0
TELL_RECOVERY_AFTER = 10.0

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
REBUILD = "rebuild"
"""Holds all uploads: what has landed is not known."""
_LOST = "lost"
"""Name of the ledger's count of acknowledged rows that the log no longer holds."""

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
        max_streams: int,
        mark_seconds: float,
        connected: Callable[[], frozenset[bytes]],
        received: dict[str, int],
        received_to: Lsn,
        parked: ParkedLog,
        parked_budget: int,
        quarantine: Path,
        quarantine_budget: int,
        log_lost: bool = False,
    ) -> None:
        """`received`: rows per stream key that the log has ever taken in before `received_to`. `log_lost`: the entries
        of the frames under way are in no log any more."""
        self._log = log
        self._reader = reader
        self._ledger = ledger
        self._appender = appender
        self._publisher = schemas
        self._reserve = reserve
        self._marks = marks
        self._metrics = metrics
        self._clock = clock
        self._parked = parked
        self._sources = Sources(log.catalog, parked)
        self._known = Known(
            self._sources.schema, layout, lowercase_workspace=lowercase_workspace, max_streams=max_streams
        )
        self._first_frame = ledger.last_frame_id
        """What an earlier run of the daemon has staged is not above this."""
        self._framer = Framer(codec, level, ledger.writer_id, ledger.next_frame_id)
        self._workers = workers
        self._mark_seconds = mark_seconds
        self._connected = connected
        self._lock = threading.Condition()
        """Guards everything below; notified when something lands or there is something to do."""
        self._index = Index(rules, {partition: progress.cursor for partition, progress in ledger.cursors().items()})
        self._openings = Openings(max_streams, self._index)
        self._intents: dict[str, Intent] = {intent.base: intent for intent in ledger.intents()}
        self._orphans = set(self._intents.values()) if log_lost else set()
        """Frames under way whose entries are in no log."""
        self._busy: set[str] = set()
        self._running = 0
        self._troubles = Troubles()
        self._received_to = received_to
        self._pending: deque[Stored] = deque()
        """Read from the log and not taken in yet: more than nothing only while taking in fails."""
        self._damages: deque[Damage] = deque()
        self._taken_to = reader.position
        """How far the log has been taken in."""
        quarantined: dict[str, int] = {}
        for (stream, _), rows in ledger.quarantined_totals().items():
            quarantined[stream] = quarantined.get(stream, 0) + rows
        counts = ledger.counts()
        requeued = {stream: rows for (stream, name), rows in counts.items() if name == REQUEUED}
        self._books = Books(
            # What went from the quarantine through the log again has been counted by it twice.
            {stream: rows - requeued.get(stream, 0) for stream, rows in received.items()},
            {stream: totals.rows for stream, totals in ledger.landed_totals().items()},
            quarantined,
            {stream: rows for (stream, name), rows in counts.items() if name == _LOST},
            {(drop.client, drop.stream_key, drop.reason): drop.rows for drop in ledger.dropped()},
            {stream: rows for (stream, name), rows in counts.items() if name == DROPPED},
        )
        self._suspects = Suspects()
        self._refusals = Refusals()
        self._parking = Parking(
            log=log, parked=parked, known=self._known, lock=self._lock, index=self._index, troubles=self._troubles,
            clock=clock, budget=parked_budget, flush_interval=rules.flush_interval,
        )  # fmt: skip
        self.shelf = Shelf(
            quarantine, quarantine_budget, held=ledger.held, spool_id=ledger.spool_id, log=log, sources=self._sources,
            lock=self._lock, index=self._index, books=self._books, metrics=metrics, clock=clock,
        )  # fmt: skip
        """The quarantine."""
        self._last_error = ""
        self._retired = Lsn(0)
        self._retired_at = 0.0
        # Not at the start: clients that were silent while nobody ran get an hour to come back.
        self._pruned_at = clock.monotonic()
        self._stopping = False
        self._work = False
        self._holds: dict[str, tuple[str, bool]] = {}
        """Why nothing is uploaded at the moment, and whether somebody has to act, by whoever says so."""
        if ledger.rebuild_needed:
            self._holds[REBUILD] = ("the ledger was lost; run `collectord ledger rebuild`", True)
        self._thread = threading.Thread(target=self._run, name="collectord-pipeline", daemon=True)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="collectord-upload")

    # ------------------------------------------------------------------ life

    def replay(self, damaged: bool = False, losses: Iterable[tuple[str, int]] = ()) -> None:
        """Reads all of the log once, so that marks and buffers are what they were. Call before clients are let in.

        `damaged`: recovery could not read all of it. What the log has counted and neither holds nor has landed is then
        written into the books as lost; without damage there is no such row. `losses`: rows per stream that recovery
        has missed in the log itself, all that is known of them if the ledger has to be rebuilt.
        """
        taken = {stream: rows for (stream, name), rows in self._ledger.counts().items() if name == _LOST}
        for stored in self._parked.entries():
            if self._known.knows(stored.schema_id):
                self._index.add(stored, self._clock.monotonic())
        while self._read():
            pass
        self.shelf.open()
        damaged = damaged or bool(self._parked.damages)
        if self._ledger.rebuild_needed:
            # Recovery tells all of them at every start until the rebuild: those of earlier starts stand in the ledger.
            found = Counter[str]()
            for stream, rows in losses:
                found[stream] += rows
            for stream, rows in found.items():
                more = rows - taken.get(stream, 0)
                if more > 0:
                    self._lose(stream, more, "found at the start")
            # What the log has counted and does not hold any more can only have landed, or been set aside.
            with self._lock:
                self._books.presume_landed(self._rows_in_log())
        elif damaged:
            for book in self.books():
                if book.missing > 0:
                    self._lose(book.stream, book.missing, "found at the start")

    def start(self) -> None:
        """Starts the threads."""
        self._log.on_commit = self._wake
        self._appender.on_finding = self._found
        self._thread.start()

    def stop(self, patience: float = 60.0) -> bool:
        """What has not landed stays in the log. Waits `patience` seconds for attempts under way.

        Returns whether they ended; if not, their threads still run, and the next start settles what they did.
        """
        deadline = self._clock.monotonic() + patience
        with self._lock:
            self._stopping = True
            self._work = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._parking.stop()
        self.shelf.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            while self._running and self._clock.monotonic() < deadline:
                self._lock.wait(max(0.0, deadline - self._clock.monotonic()))
            idle = not self._running
        self._checkpoint(retire=False)
        return idle

    def hold(self, name: str, why: str, lasting: bool = False) -> None:
        """Nothing is handed to a worker any more until `let_go` of the same name. `lasting`: until somebody acts."""
        with self._lock:
            self._holds[name] = (why, lasting)
            self._lock.notify_all()

    def let_go(self, name: str) -> None:
        """May be repeated."""
        with self._lock:
            if self._holds.pop(name, None) is not None:
                self._work = True
                self._lock.notify_all()

    @property
    def held(self) -> str:
        """Why nothing is uploaded; empty if nothing stands in the way. From any thread, without the lock."""
        return "; ".join(why for why, _ in list(self._holds.values()))

    def flush(self, timeout: float, *, insist: bool = True) -> bool:
        """Seals and uploads what is durable now; waits for it. Returns whether all of it has landed.

        `insist`: blobs that are left alone for a while are tried once at once. Who asks again and again does not insist.
        """
        target = self._log.durable
        deadline = self._clock.monotonic() + timeout
        with self._lock:
            if insist:
                self._troubles.hurry()
            while not self._landed_before(target):
                self._index.flush(target)
                self._work = True
                self._lock.notify_all()
                rest = deadline - self._clock.monotonic()
                if rest <= 0 or self._stopping or any(lasting for _, lasting in self._holds.values()):
                    return False
                self._lock.wait(min(rest, 0.5))
        return True

    def _landed_before(self, target: Lsn) -> bool:
        waiting = self._index.waiting_from()
        return self._taken_to >= target and (waiting is None or waiting >= target)

    def _wake(self) -> None:
        with self._lock:
            self._work = True
            self._lock.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._work and not self._stopping:
                    self._lock.wait(self._pause())
                self._work = False
                if self._stopping:
                    return
            # What cannot be read does not keep what has been read from its blob.
            well = [self._outlives(step) for step in (self._read_on, self._send_on)]
            if not all(well):
                with self._lock:
                    self._lock.wait_for(lambda: self._stopping, RETRY_UNEXPECTED)

    def _read_on(self) -> None:
        while self._read():
            self._dispatch()

    def _send_on(self) -> None:
        self._dispatch()
        self._maintain()

    def _outlives(self, step: Callable[[], None]) -> bool:
        """Whether a step has succeeded; it is tried again if not."""
        try:
            step()
        except (CollectordError, OSError) as error:
            # The spool's disk, mostly: it heals when there is room again.
            self._remember(f"pipeline: {error}")
            self.make_room(error)
            event(_log, logging.WARNING, "the pipeline waits for its spool", why=str(error))
            return False
        except Exception as error:  # noqa: BLE001
            # The journey must outlive what nobody thought of; nothing has been lost, for nothing was confirmed.
            self._remember(f"pipeline: {error!r}")
            _log.exception("the pipeline failed and goes on")
            return False
        return True

    def _pause(self) -> float:
        """Seconds until something becomes due by itself."""
        now = self._clock.monotonic()
        timers = [now + RETIRE_EVERY]
        timers += [timer for timer in (self._index.next_timer(), self._troubles.next_until(now)) if timer is not None]
        return max(0.0, min(timers) - now)

    # ------------------------------------------------------------------ from the log into the buffers

    def _read(self) -> bool:
        """Takes the next entries of the log; False when caught up."""
        if not self._pending:
            self._pending.extend(self._reader.read(READ_AT_ONCE))
            self._damages.extend(self._reader.damages)
            self._reader.damages.clear()
        while self._damages:
            stored = self._damages[0].stored
            if stored is not None and stored.kind is EntryKind.BATCH and self._known.knows(stored.schema_id):
                self._openings.seen(stored.partition)
                self._lose(self._known.stream_key(stored.schema_id), stored.rows, self._damages[0].reason)
            self._damages.popleft()
        found = bool(self._pending)
        now = self._clock.monotonic()
        wall = self._clock.wall_ns()
        with self._lock:
            try:
                while self._pending:
                    self._take(self._pending[0], now, wall)
                    self._pending.popleft()
            finally:
                # What could not be taken in is tried again, and until then nothing behind it counts as read.
                self._taken_to = self._pending[0].lsn if self._pending else self._reader.position
        self.shelf.settle_round()
        return found

    def _take(self, stored: Stored, now: float, wall: int) -> None:
        """Takes in one entry. Whatever may fail comes first, and may be repeated."""
        if stored.kind is EntryKind.DROPPED:
            self._take_dropped(stored)
        known = stored.kind is EntryKind.BATCH and self._known.knows(stored.schema_id)
        again = known and self.shelf.recognise(stored)
        if stored.sequence:
            self._marks.observe(stored.client, stored.sequence, wall)
        if stored.kind is not EntryKind.BATCH:
            return
        if not known:
            # Its declaration is damaged. `replay` finds its rows missing, and of which stream.
            event(_log, logging.ERROR, "an entry's schema is lost", lsn=stored.lsn, rows=stored.rows)
            return
        if stored.lsn >= self._parked.end:
            self._index.add(stored, now)
        self._openings.seen(stored.partition)
        if again != (stored.lsn >= self._received_to):
            rows = -stored.rows if again else stored.rows
            self._books.receive(self._known.stream_key(stored.schema_id), rows)

    def _lose(self, stream: str, rows: int, why: str) -> None:
        """Rows that were acknowledged cannot be read back: the worst there is, and at least never silent."""
        with self._lock:
            total = self._books.lost(stream) + rows
        self._ledger.checkpoint(Lsn(0), (), (), {(stream, _LOST): total})
        with self._lock:
            self._books.lose(stream, rows)
        self._metrics.count("collectord_records_quarantined_total", rows)
        event(_log, logging.ERROR, "acknowledged rows cannot be read back", stream=stream, rows=rows, why=why)

    def _take_dropped(self, stored: Stored) -> None:
        try:
            message = pb.Dropped.FromString(bytes(self._reader.read_payload(stored)))
            for count in message.counts[:1000]:
                reason = count.reason if _is_word(count.reason) else "other"
                more = self._books.drop((stored.client, stream_of(count.stream).key(), reason), count.rows)
                if more:
                    self._metrics.count("collectord_client_dropped_total", more, reason=_bounded(reason))
        except (DamagedEntry, Rejected) as error:
            event(_log, logging.WARNING, "a client's report of dropped rows is unreadable", why=str(error))

    # ------------------------------------------------------------------ from the buffers into the store

    def _dispatch(self) -> None:
        """Hands what is due to idle workers, one frame per blob at a time."""
        with self._lock:
            now = self._clock.monotonic()
            self._troubles.forget_over(now, keep=self._intents)
            if self._holds:
                self._index.due(now)  # so that its timers do not come back at once
                return
            for base, intent in list(self._intents.items()):
                if len(self._busy) >= self._workers:
                    return
                if self._is_free(base, now):
                    self._submit(base, intent.partition)
            # After a restart with another codec or layout, an open frame's blob has another name than its partition's next.
            on_their_way = {intent.partition for intent in self._intents.values()}
            for partition in list(self._index.due(now)):
                if len(self._busy) >= self._workers:
                    return
                base = self._known.base(partition)
                if base not in self._intents and partition not in on_their_way and self._is_free(base, now):
                    self._submit(base, partition)

    def _submit(self, base: str, partition: Partition) -> None:
        """Counted as running from here on, so that the end of the pipeline waits for it."""
        self._busy.add(base)
        self._running += 1
        self._pool.submit(self._work_on, base, partition).add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        with self._lock:
            self._running -= 1
            self._lock.notify_all()

    def _is_free(self, base: str, now: float) -> bool:
        return base not in self._busy and not self._troubles.holds(base, now)

    def _work_on(self, base: str, partition: Partition) -> None:
        """One frame of a blob, or one more attempt for the frame that is open; on a worker."""
        try:
            intent = self._intents.get(base)
            if intent is None:
                intent = self._stage(base, partition)
            if intent is not None:
                self._attempt(base, intent)
        except (CollectordError, OSError) as error:
            # The spool's disk, mostly: nothing was confirmed, and it heals when there is room again.
            pause = error.pause if isinstance(error, Unencodable) else RETRY_UNEXPECTED
            self._trouble_with(base, RETRY_FULL if self.make_room(error) else pause, str(error))
        except Exception as error:  # noqa: BLE001
            _log.exception("a frame could not be made; it will be tried again")
            self._trouble_with(base, RETRY_UNEXPECTED, repr(error))
        finally:
            with self._lock:
                self._busy.discard(base)
                self._work = True
                self._lock.notify_all()

    def _stage(self, base: str, partition: Partition) -> Intent | None:
        """Encodes the next rows of a partition and writes down where they will go. None: nothing is left to do."""
        began = time.perf_counter()
        scale = 1.0
        while True:
            with self._lock:
                cause = self._index.due(self._clock.monotonic()).get(partition)
                if partition not in self._index or cause is None:
                    return None
                slices = self._index.take(partition, scale)
            payloads = self._read_payloads(partition, slices)
            if payloads is None:
                return None
            schema = self._known.schema(partition.schema_id)
            made = self._suspects.make(partition, slices, payloads, self._make)
            if isinstance(made, Poisoned):
                piece = replace(slices[0], stop=slices[0].rows)
                self._quarantine(base, partition, [piece], "unencodable", repr(made.error))
                return None
            frame, number = made
            del slices[number:]
            if frame.size <= MAX_APPEND:
                break
            # Ingest has made sure that a single row fits, so this ends.
            scale *= 0.9 * MAX_APPEND / frame.size if frame.tag.rows > 1 else 0.0
        with self._lock:
            self._index.learn(partition, sum(piece.bytes for piece in slices), len(frame.data_frame))
        intent = self._appender.stage(
            schema.stream, partition, frame.header, frame.header_frame, frame.data_frame, frame.tag, frame.tag.rows,
            slices[-1].after,
        )  # fmt: skip
        with self._lock:
            self._intents[base] = intent
        self._metrics.count("collectord_frames_sealed_total", cause=cause.value)
        self._metrics.observe("collectord_encode_duration_seconds", time.perf_counter() - began)
        return intent

    def _read_payloads(self, partition: Partition, slices: list[Slice]) -> list[memoryview] | None:
        """The payloads of the slices. None if one is damaged: it has been set aside and the cursor moved past it."""
        payloads: list[memoryview] = []
        for piece in slices:
            try:
                payloads.append(self._sources.read_payload(piece.place))
            except DamagedEntry as error:
                if payloads:
                    # What lies before it goes first; the next round begins with the damaged one.
                    del slices[len(payloads) :]
                    return payloads
                self._set_aside(partition, piece, "damaged", str(error))
                return None
        return payloads

    def _make(self, partition: Partition, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> Frame:
        schema = self._known.schema(partition.schema_id)
        return self._framer.make(schema, self._known.plan(partition), slices, payloads)

    def _set_aside(self, partition: Partition, piece: Slice, reason: str, detail: str) -> None:
        """Rows that cannot be read back: kept in quarantine if there is anything to keep, and counted in any case."""
        piece = replace(piece, stop=piece.rows)
        stream = self._known.stream_key(partition.schema_id)
        raw = self._known.schema(partition.schema_id).raw
        if self.shelf.put(partition, [piece], stream, raw, reason, detail):
            return
        rows, after = piece.stop - piece.start, after_entry(piece.place.lsn)
        self._ledger.quarantine(stream, partition, rows, reason, after)
        with self._lock:
            self._index.landed(partition, after, self._clock.monotonic())
            self._books.quarantine(stream, rows)
        self._metrics.count("collectord_records_quarantined_total", rows)
        event(_log, logging.ERROR, "rows could not be read back", rows=rows, lsn=piece.place.lsn, why=detail)

    def _quarantine(
        self, base: str, partition: Partition, slices: Sequence[Slice], reason: str, detail: str,
        intent: Intent | None = None,
    ) -> bool:  # fmt: skip
        """Puts the next rows of a partition, and their open frame, out of the way. If there is no room, they block it."""
        schema = self._known.schema(partition.schema_id)
        if self.shelf.put(partition, slices, schema.stream.key(), schema.raw, reason, detail, intent):
            if intent is not None:
                self._appender.forget(intent)
            with self._lock:
                self._troubles.settle(base)
                if intent is not None:
                    self._intents.pop(base, None)
            return True
        self._trouble_with(base, BLOCKED_MOST, f"the quarantine is full: {reason}: {detail}", "quarantine_full")
        return False

    def _attempt(self, base: str, intent: Intent) -> None:
        """One pass of the recipe for an open intent."""
        began = time.perf_counter()
        self._refusals.begun(intent.frame_id, self._clock.monotonic(), doubtful=intent.frame_id <= self._first_frame)
        try:
            result = self._appender.attempt(intent)
        except BaseException:
            self._refusals.doubt(intent.frame_id)
            raise
        self._metrics.observe("collectord_upload_duration_seconds", time.perf_counter() - began)
        match result:
            case Landed():
                self._refusals.over(intent.frame_id)
                self._parking.landed()
                with self._lock:
                    self._intents.pop(base, None)
                    recovered = self._troubles.settle(base)
                    self._index.landed(intent.partition, intent.after, self._clock.monotonic())
                    self._books.land(intent.stream_key, intent.rows)
                self._publish(intent.partition)
                if recovered is not None and self._clock.monotonic() - recovered.since > TELL_RECOVERY_AFTER:
                    event(_log, logging.INFO, "uploading again", blob=result.blob)
                self._metrics.count("collectord_records_landed_total", intent.rows)
                self._metrics.count("collectord_frames_landed_total")
                self._metrics.observe(
                    "collectord_flush_duration_seconds", max(0, self._clock.wall_ns() - intent.created_ns) / 1e9
                )
                self._metrics.count("collectord_bytes_landed_total", intent.size)
            case Retry(after_seconds, detail):
                self._refusals.doubt(intent.frame_id)
                self._trouble_with(base, after_seconds, detail)
            case BlockedFor(after_seconds, reason, detail):
                hopeless = self._refusals.refused(intent.frame_id, result, self._clock.monotonic())
                if not (hopeless and self._give_up(intent, result)):
                    self._trouble_with(base, after_seconds, f"{reason}: {detail}", reason)

    def _give_up(self, intent: Intent, refused: BlockedFor) -> bool:
        """The store will never take a frame. False if it has to stay: it may be in its blob."""
        if self._refusals.is_doubtful(intent.frame_id) and not self._appender.is_absent(intent):
            return False
        with self._lock:
            slices = self._index.upto(intent.partition, intent.after)
        if sum(piece.stop - piece.start for piece in slices) != intent.rows:
            return False
        if self._quarantine(intent.base, intent.partition, slices, refused.reason, refused.detail, intent):
            self._refusals.over(intent.frame_id)
        return True

    def make_room(self, error: Exception) -> bool:
        """On a full disk gives up the reserve, so that uploading can free the log. Returns whether there was one."""
        full = isinstance(error, SpoolFull) or (isinstance(error, OSError) and error.errno in _NO_SPACE)
        with self._lock:
            given = full and self._reserve.release()
        if given:
            event(_log, logging.WARNING, "the spool's disk is full; its reserve is used to upload what waits")
        return given

    def _found(self, finding: str, blob: str) -> None:
        """What the appender has met at a blob; only what somebody else has done to it is worth a line."""
        self._metrics.count("collectord_blob_findings_total", finding=finding)
        if finding == "replaced":
            event(_log, logging.WARNING, "a blob was deleted or replaced behind our back; it begins afresh", blob=blob)
        elif finding == "rolled":
            event(
                _log, logging.INFO, "a part takes nothing more, or has another header; the next one is used", blob=blob
            )

    def _publish(self, partition: Partition) -> None:
        """Puts the schema's document beside the data. A frame settled after a restart leaves that to the next one."""
        header = self._known.header(partition)
        if header is not None and not self._publisher.publish(self._known.schema(partition.schema_id), header):
            event(_log, logging.WARNING, "a schema's document could not be written; the next frame tries again")

    def _trouble_with(self, base: str, seconds: float, detail: str, code: str = "") -> None:
        """`code` is the reason why the store refuses; empty if trying again may help."""
        with self._lock:
            self._troubles.add(base, self._clock.monotonic(), seconds, detail, code)
        self._remember(f"{base}: {detail}")
        self._metrics.count("collectord_upload_failures_total", code=code or "retry")
        event(_log, logging.WARNING, "an upload did not succeed", blob=base, why=detail, again_in=round(seconds, 1))

    def _remember(self, error: str) -> None:
        self._last_error = error

    # ------------------------------------------------------------------ upkeep

    def _maintain(self) -> None:
        now = self._clock.monotonic()
        if now - self._retired_at < RETIRE_EVERY:
            return
        self._retired_at = now
        if REBUILD in self._holds:
            return
        with self._lock:
            free = self._free_before()
        self.shelf.settle()
        if free > self._retired and self.shelf.settled:
            self._checkpoint(retire=True)
            self._retired = free
        self._parking.maintain(self._taken_to)
        if not self._troubles:
            self._reserve.hold()
        if now - self._pruned_at >= PRUNE_EVERY:
            self._pruned_at = now
            wall = self._clock.wall_ns()
            silent_since = wall - int(self._mark_seconds * 1e9)
            gone = self._marks.expire(silent_since, self._connected())
            self._ledger.forget_clients(silent_since)
            self._ledger.prune(KEPT_FRAMES, wall - KEPT_PARTS_NS)
            bases = [segment.base for segment in self._log.catalog.segments()]
            first = min([free, *bases, *(file.base for file in self._parked.files())])
            self._ledger.forget_cursors(first)
            with self._lock:
                self._books.forget_clients(gone)
                self._index.forget(first)

    def _free_before(self) -> Lsn:
        """Where the log's first entry that is still needed begins; what is parked is not needed there."""
        waiting = self._index.waiting_from(self._parked.end)
        return self._taken_to if waiting is None else min(waiting, self._taken_to)

    def _checkpoint(self, *, retire: bool) -> None:
        """Writes down the marks, after which the log needs no segment that has landed."""
        with self._lock:
            free = self._free_before()
            drops = [DroppedRows(*drop, total) for drop, total in self._books.take_fresh_drops()]
        marks = [ClientMark(*mark) for mark in self._marks.changed()]
        self._ledger.checkpoint(free, marks, drops)
        if retire:
            self._log.retire(free)

    # ------------------------------------------------------------------ a ledger that was lost

    def waiting_partitions(self) -> list[tuple[Partition, int]]:
        """The partitions with rows that have not landed, as far as the ledger knows, and how many."""
        with self._lock:
            return [(partition, rows) for partition, rows, _ in self._index.waiting_rows()]

    def waiting_entries(self, partition: Partition) -> Entries:
        """A copy of what waits of a partition, in the order of the log."""
        with self._lock:
            return self._index.copy(partition)

    def rebuild(self, findings: Iterable[Found]) -> None:
        """Takes what `rebuild.Search` has found into ledger, buffers and books, all at once, and uploads again."""
        findings = list(findings)
        cursors = {one.partition: Progress(one.after, one.landed) for one in findings if one.after is not None}
        with self._lock:
            landed = {book.stream: book.landed for book in self._books.view(()) if book.landed}
        given_up: dict[str, int] = {}
        for one in findings:
            landed[one.stream] = landed.get(one.stream, 0) + one.landed
            given_up[one.stream] = given_up.get(one.stream, 0) + one.given_up
        self._ledger.rebuilt(cursors, landed, {stream: rows for stream, rows in given_up.items() if rows})
        self._appender.sweep()
        with self._lock:
            now = self._clock.monotonic()
            for one in findings:
                self._books.land(one.stream, one.landed)
                self._books.quarantine(one.stream, one.given_up)
                if one.after is not None:
                    self._index.landed(one.partition, one.after, now)
        self.let_go(REBUILD)

    def search_for_landed(self, store: BlobStore, options: Options) -> Search:
        """What finds out how far a partition has landed."""
        return Search(store, self._known, self._framer, self._sources.read_payload, self._ledger.writer_id, options)

    # ------------------------------------------------------------------ answers

    def has_room(self, partition: Partition) -> bool:
        """Whether a batch of this partition may be taken in; from the event loop, so without the lock. `gave_up` has to
        follow if it does not get into the log."""
        return self._openings.let_in(partition)

    def gave_up(self, partition: Partition) -> None:
        """A batch that there was room for did not get into the log."""
        self._openings.gave_up(partition)

    def books(self) -> list[StreamBooks]:
        """Every stream's books, at one moment, after everything that is durable by now was taken in, if that does not last."""
        durable = self._log.durable
        deadline = self._clock.monotonic() + BOOKS_PATIENCE
        with self._lock:
            while self._taken_to < durable and not self._stopping and self._clock.monotonic() < deadline:
                self._work = True
                self._lock.notify_all()
                self._lock.wait(0.01)
            parked = self._parking.rows()
            in_log = [*self._rows_in_log(), *((stream, -rows) for stream, rows in parked)]
            books = {book.stream: book for book in self._books.view(in_log, parked)}
        for stream, count in self._log.counts().items():
            if count.rejected:
                books.setdefault(stream, StreamBooks(stream)).rejected = dict(count.rejected)
        return sorted(books.values(), key=lambda book: book.stream)

    def _rows_in_log(self) -> list[tuple[str, int]]:
        """Rows per stream that have not landed, the parked ones included; of a lost log, what its frames under way still hold."""
        waiting = [(self._known.stream_key(one.schema_id), rows) for one, rows, _ in self._index.waiting_rows()]
        under_way = {intent.frame_id for intent in self._intents.values()}
        # Of these, what is parked waits already.
        return waiting + [
            (
                one.stream_key,
                max(0, one.rows - sum(s.stop - s.start for s in self._index.upto(one.partition, one.after))),
            )
            for one in self._orphans
            if one.frame_id in under_way
        ]

    def search(self, needles: Sequence[bytes], limit: int) -> tuple[list[tuple[str, Lsn, int]], int, bool]:
        """Stream, LSN and rows of the waiting entries whose payload holds one of `needles`.

        Looks at `limit` bytes at most, each entry counted 1 KiB larger than it is. Also returns how many bytes were
        looked at, and whether that was all. From any thread; not under the lock while it reads.
        """
        chosen: list[tuple[bytes, Place, int]] = []
        complete = True
        with self._lock:
            left = limit
            for partition, place, rows in self._index.entries():
                left -= place.length + 1024
                if left < 0:
                    complete = False
                    break
                chosen.append((partition.schema_id, place, rows))
        found: list[tuple[str, Lsn, int]] = []
        size = 0
        for schema_id, place, rows in chosen:
            try:
                payload = bytes(self._sources.read_payload(place))
                if any(needle in payload for needle in needles):
                    stream = parse_schema(self._sources.schema(schema_id)).stream.key()
                    found.append((stream, place.lsn, rows))
            except DamagedEntry:
                # It has landed meanwhile, or the pipeline will say so when its turn comes.
                continue
            size += len(payload)
        return found, size, complete

    def waiting(self) -> tuple[int, int, float]:
        """Rows that have not landed, open partitions, and the age of the oldest row in seconds."""
        with self._lock:
            oldest = self._index.oldest()
            age = 0.0 if oldest is None else self._clock.monotonic() - oldest
            return self._index.rows, len(self._index), age

    def is_refused(self, partition: Partition) -> bool:
        """Whether what may wait for this partition's blob is used up, so that its rows are rejected; from any thread."""
        return partition in self._parking.refused

    def parked(self) -> dict[str, int]:
        """Rows, bytes of files, files, budget in bytes, and partitions whose rows are rejected."""
        with self._lock:
            rows = sum(rows for _, rows in self._parking.rows())
        return {
            "rows": rows, "bytes": self._parked.used_bytes, "files": len(self._parked),
            "budget_bytes": self._parking.budget, "refused_partitions": len(self._parking.refused),
        }  # fmt: skip

    def queue_depth(self) -> int:
        """Partitions that are due and wait for a worker."""
        with self._lock:
            return len(self._index.due(self._clock.monotonic()))

    def troubles(self) -> Iterable[tuple[str, Trouble]]:
        """Blobs that take nothing at the moment, and why."""
        with self._lock:
            return self._troubles.all()

    @property
    def last_error(self) -> str:
        return self._last_error


_REASONS = frozenset(
    ("outbox_full", "unsupported_media", "unsupported_type", "ragged", "no_rows", "no_columns", "too_many_columns",
     "row_too_large", "invalid_utf8", "bad_name", "bad_id", "bad_timestamp", "closed", "switched_off", "internal_error")
)  # fmt: skip


def _bounded(reason: str) -> str:
    return reason if reason in _REASONS else "other"


def _is_word(text: str) -> bool:
    return 0 < len(text) <= 64 and all(c.isascii() and (c.islower() or c.isdigit() or c == "_") for c in text)
