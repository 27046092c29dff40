"""What waits goes into the store: frames are made and staged, appended, and set aside where that can never succeed.

Threads: the upload workers, each with a blob of its own. What is shared is in `State`; its lock is held neither while a
frame is made nor while it is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from collectord.buffer.index import Slice, after_entry
from collectord.clock import Clock
from collectord.errors import described
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Partition
from collectord.pipeline.ahead import Made
from collectord.pipeline.framer import Frame, Framer
from collectord.pipeline.known import Known
from collectord.pipeline.poison import Poisoned, Refusals, Suspects
from collectord.pipeline.shelf import Shelf
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.pipeline.traffic import Traffic
from collectord.pipeline.upload_events import UploadEvents
from collectord.upload.appender import Appender
from collectord.upload.attempts import Attempt, BlockedFor, Landed, Retry
from collectord.upload.backoff import BLOCKED_MOST
from collectord.upload.ledger import Ledger
from collectord.upload.records import Intent
from collectord.upload.schemas import SchemaPublisher
from collectord.upload.store import MAX_APPEND
from collectord.wal.damage import DamagedEntry

TELL_RECOVERY_AFTER = 10.0

_log = logging.getLogger("collectord.pipeline")


class Sending:
    """Moves one blob on by one frame, or by one more attempt for the frame that is open."""

    def __init__(
        self,
        state: State,
        *,
        ledger: Ledger,
        appender: Appender,
        publisher: SchemaPublisher,
        known: Known,
        sources: Sources,
        framer: Framer,
        shelf: Shelf,
        metrics: Metrics,
        clock: Clock,
        upload_events: UploadEvents,
        traffic: Traffic,
        makers: int,
    ) -> None:
        """`makers`: frames that may be made at the same time."""
        self._state = state
        self._ledger = ledger
        self._appender = appender
        self._publisher = publisher
        self._known = known
        self._sources = sources
        self._framer = framer
        self._shelf = shelf
        self._metrics = metrics
        self._clock = clock
        self._upload_events = upload_events
        self._traffic = traffic
        # Else those who make frames have all cores between them, and one that was put aside with the interpreter in its hands keeps
        # everybody who waits for an acknowledgement.
        self._makers = threading.BoundedSemaphore(makers)
        self._suspects = Suspects()
        self._refusals = Refusals()

    def send(self, base: str, partition: Partition) -> None:
        """One step for the blob `base`; nobody else takes one for it meanwhile."""
        intent = self._state.intents.get(base)
        self._traffic.begins(base, self._known.stream_key(partition.schema_id) if intent is None else intent.stream_key)
        if intent is None:
            intent = self._stage(base, partition)
        if intent is not None:
            self._attempt(base, intent)

    def failed(self, base: str, seconds: float, detail: str, code: str = "", stream: str = "") -> None:
        """An attempt for a blob has failed; the next one in `seconds`. `code` is the reason why the store refuses; empty if
        trying again may help. `stream`: whose rows it held."""
        with self._state.lock:
            self._state.troubles.add(base, self._clock.monotonic(), seconds, detail, code)
        self._state.errors.say(f"{base}: {detail}")
        self._traffic.failed(base, detail)
        self._metrics.count("collectord_upload_failures_total", code=code or "retry")
        of = {"stream": stream} if stream else {}
        event(
            _log, logging.WARNING, "an upload did not succeed", blob=base, why=detail, again_in=round(seconds, 1), **of
        )

    def found(self, finding: str, blob: str) -> None:
        """What the appender has met at a blob; only what somebody else has done to it is worth a line."""
        self._metrics.count("collectord_blob_findings_total", finding=finding)
        if finding == "replaced":
            event(_log, logging.WARNING, "a blob was deleted or replaced behind our back; it begins afresh", blob=blob)
        elif finding == "rolled":
            event(
                _log, logging.INFO, "a part takes nothing more, or has another header; the next one is used", blob=blob
            )

    # ------------------------------------------------------------------ a frame is made

    def make_ahead(self, partition: Partition, slices: Sequence[Slice]) -> Made | None:
        """The frame that comes next, of these rows, if nothing is the matter with it: `_stage` finds out what is."""
        try:
            payloads = [self._sources.read_payload(piece.place) for piece in slices]
            frame = self._make(partition, slices, payloads)
        except Exception as error:  # noqa: BLE001  (whatever it is, it comes again where it is dealt with)
            _log.debug("no frame is made ahead: %s", described(error))
            return None
        return Made(slices, frame) if frame.size <= MAX_APPEND else None

    def _stage(self, base: str, partition: Partition) -> Intent | None:
        """Writes down where the next rows of a partition will go, encoded. None: nothing is left to do."""
        state, index = self._state, self._state.index
        with state.lock:
            cause = index.due(self._clock.monotonic()).get(partition)
            if partition not in index or cause is None:
                return None
            made = state.ahead.take(partition)
        if made is None:
            made = self._make_next(base, partition)
            if made is None:
                return None
        frame, after = made.frame, made.slices[-1].after
        payload_bytes = sum(piece.bytes for piece in made.slices)
        with state.lock:
            index.learn(partition, payload_bytes, len(frame.data_frame))
            if state.ahead.sends(partition, frame.tag.rows, payload_bytes, after):
                state.wake()
        schema = self._known.schema(partition.schema_id)
        intent = self._appender.stage(
            schema.stream, partition, frame.header, frame.header_frame, frame.data_frame, frame.tag, frame.tag.rows, after
        )  # fmt: skip
        with state.lock:
            state.intents[base] = intent
        self._metrics.count("collectord_frames_sealed_total", cause=cause.value)
        return intent

    def _make_next(self, base: str, partition: Partition) -> Made | None:
        """Encodes the next rows of a partition. None: what is the matter with them has been dealt with."""
        scale = 1.0
        while True:
            with self._state.lock:
                slices = self._state.index.take(partition, scale)
            payloads = self._read_payloads(partition, slices)
            if payloads is None:
                return None
            made = self._suspects.make(partition, slices, payloads, self._make)
            if isinstance(made, Poisoned):
                piece = replace(slices[0], stop=slices[0].rows)
                self._quarantine(base, partition, [piece], "unencodable", described(made.error), words=repr(made.error))
                return None
            frame, number = made
            if frame.size <= MAX_APPEND:
                return Made(slices[:number], frame)
            # Ingest has made sure that a single row fits, or the framer refuses it, so this ends.
            scale *= 0.9 * MAX_APPEND / frame.size if frame.tag.rows > 1 else 0.0

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
        schema, plan = self._known.schema(partition.schema_id), self._known.plan(partition)
        with self._makers:
            began = time.perf_counter()
            frame = self._framer.make(schema, plan, slices, payloads)
        self._metrics.observe("collectord_encode_duration_seconds", time.perf_counter() - began)
        return frame

    # ------------------------------------------------------------------ and sent

    def _attempt(self, base: str, intent: Intent) -> None:
        """One pass of the recipe for an open intent."""
        began, began_ns = time.perf_counter(), self._clock.wall_ns()
        self._traffic.tried(base)
        result = self._appender.attempt(intent)
        took = time.perf_counter() - began
        self._metrics.observe("collectord_upload_duration_seconds", took)
        match result:
            case Landed():
                self._landed(base, intent, result)
            case Retry(after_seconds, detail):
                self.failed(base, after_seconds, detail, stream=intent.stream_key)
            case BlockedFor(after_seconds, reason, detail):
                hopeless = self._refusals.refused(intent.frame_id, result, self._clock.monotonic())
                if not (hopeless and self._give_up(intent, result)):
                    self.failed(base, after_seconds, f"{reason}: {detail}", reason, intent.stream_key)
        # Last: nothing that happens there concerns the rows.
        self._tell(intent, result, began_ns, took)

    def _tell(self, intent: Intent, result: Attempt, began_ns: int, took: float) -> None:
        """An attempt is an event of its service; what keeps it from being one is no reason for the rows to wait."""
        blob, code = intent.base, "retry"
        match result:
            case Landed(name):
                blob, code = name, "201"
            case BlockedFor():
                code = result.reason
        try:
            stream = self._known.schema(intent.partition.schema_id).stream
            self._upload_events.tell(
                stream, blob, began_ns, took, rows=intent.rows, size=intent.size, code=code,
                success=isinstance(result, Landed),
            )  # fmt: skip
        except Exception:  # noqa: BLE001  (a fault of ours, which must not look like one of the upload)
            _log.exception("an upload could not be told as an event")

    def _landed(self, base: str, intent: Intent, result: Landed) -> None:
        self._refusals.over(intent.frame_id)
        with self._state.lock:
            self._state.intents.pop(base, None)
            recovered = self._state.troubles.landed(base, self._clock.monotonic())
            self._state.index.landed(intent.partition, intent.after, self._clock.monotonic())
            self._state.books.land(intent.stream_key, intent.rows)
        self._publish(intent.partition)
        if recovered is not None and self._clock.monotonic() - recovered.since > TELL_RECOVERY_AFTER:
            event(_log, logging.INFO, "uploading again", blob=result.blob, stream=intent.stream_key)
        self._metrics.count("collectord_records_landed_total", intent.rows)
        self._metrics.count("collectord_frames_landed_total")
        self._metrics.observe(
            "collectord_flush_duration_seconds", max(0, self._clock.wall_ns() - intent.created_ns) / 1e9
        )
        self._metrics.count("collectord_bytes_landed_total", intent.size)
        self._traffic.landed(base, result.blob, intent.size)

    def _publish(self, partition: Partition) -> None:
        """Puts the schema's document beside the data. A frame settled after a restart leaves that to the next one."""
        header = self._known.header(partition)
        if header and not self._publisher.publish(self._known.schema(partition.schema_id), header):
            event(_log, logging.WARNING, "a schema's document could not be written; the next frame tries again")

    # ------------------------------------------------------------------ or set aside

    def _give_up(self, intent: Intent, refused: BlockedFor) -> bool:
        """The store will never take a frame. False if it has to stay: it may be in its blob."""
        if not self._appender.is_absent(intent):
            return False
        with self._state.lock:
            slices = self._state.index.upto(intent.partition, intent.after)
        if sum(piece.stop - piece.start for piece in slices) != intent.rows:
            return False
        if self._quarantine(intent.base, intent.partition, slices, refused.reason, refused.detail, intent):
            self._refusals.over(intent.frame_id)
        return True

    def _quarantine(
        self, base: str, partition: Partition, slices: Sequence[Slice], reason: str, detail: str,
        intent: Intent | None = None, words: str = "",
    ) -> bool:  # fmt: skip
        """Puts the next rows of a partition, and their open frame, out of the way. If there is no room, they block it."""
        schema = self._known.schema(partition.schema_id)
        if self._shelf.put(partition, slices, schema.stream.key(), schema.raw, reason, detail, intent, words=words):
            if intent is not None:
                self._appender.forget(intent)
            with self._state.lock:
                self._state.troubles.settle(base)
                if intent is not None:
                    self._state.intents.pop(base, None)
            return True
        self.failed(base, BLOCKED_MOST, f"the quarantine is full: {reason}: {detail}", "quarantine_full")
        return False

    def _set_aside(self, partition: Partition, piece: Slice, reason: str, detail: str) -> None:
        """Rows that cannot be read back: kept in quarantine if there is anything to keep, and counted in any case."""
        piece = replace(piece, stop=piece.rows)
        schema = self._known.schema(partition.schema_id)
        stream = schema.stream.key()
        if self._shelf.put(partition, [piece], stream, schema.raw, reason, detail):
            return
        rows, after = piece.stop - piece.start, after_entry(piece.place.lsn)
        self._ledger.quarantine(stream, partition, rows, reason, after)
        with self._state.lock:
            self._state.index.landed(partition, after, self._clock.monotonic())
            self._state.books.quarantine(stream, rows)
        self._metrics.count("collectord_records_quarantined_total", rows)
        event(_log, logging.ERROR, "rows could not be read back", rows=rows, lsn=piece.place.lsn, why=detail)
