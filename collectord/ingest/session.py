"""One client's stream, from Hello to the end: what comes in is judged and handed to the log, what goes out is collected.

No gRPC here: `service.py` reads bytes from the wire into `receive` and writes what `outgoing` yields.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import DecodeError

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.clock import Clock
from collectord.errors import ProtocolError, Rejected, SpoolFull
from collectord.ingest.admission import Admission, credit
from collectord.ingest.marks import Marks
from collectord.ingest.validate import Declared, Window
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Buffer, Entry, EntryKind, Partition, Reason, Schema

MAX_MESSAGE_BYTES = 4 << 20
MAX_UNREAD_REJECTS = 1000
STALL_SECONDS = 1.0

# Keys of ClientMessage's fields: number << 3 | wire type 2.
_HELLO, _DECLARE, _BATCH, _DROPPED = 0x0A, 0x12, 0x1A, 0x22

_log = logging.getLogger("collectord.ingest")


class Log(Protocol):
    """Where entries become durable."""

    def append(self, entries: Sequence[Entry], done: Callable[[Exception | None], None]) -> None:
        """Queues entries, without blocking. `done` is called once, on the log's thread: with None when they are durable,
        else with the error; after an error everything that was queued before `done` returned fails too."""
        ...


class Streams(Protocol):
    """Who knows how many partitions are open."""

    def has_room(self, partition: Partition) -> bool:
        """Whether rows of this partition may be taken in."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of an entry that a session handed to the log; carried from the log's thread to the loop."""

    session: Session
    sequence: int
    size: int
    rows: int
    rejected: Rejected | None
    error: Exception | None = None


@dataclass(slots=True)
class Gate:
    """What all sessions share."""

    log: Log
    streams: Streams
    marks: Marks
    admission: Admission
    window: Window
    spool_id: bytes
    collect: bool
    clock: Clock
    metrics: Metrics
    loop: asyncio.AbstractEventLoop
    sessions: set[Session] = field(default_factory=set)
    outcomes: deque[Outcome] = field(default_factory=deque)
    scheduled: bool = False

    def credit(self) -> int:
        return credit(self.admission.budget, len(self.sessions))

    def report(self, outcome: Outcome) -> None:
        """From the log's thread. One wake-up of the loop serves a whole group."""
        self.outcomes.append(outcome)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self.scheduled = False
        rows = batches = size = 0
        while self.outcomes:
            outcome = self.outcomes.popleft()
            self.admission.release(outcome.size)
            outcome.session.settle(outcome)
            if outcome.error is None and outcome.rejected is None and outcome.sequence:
                rows += outcome.rows
                batches += 1
                size += outcome.size
        if batches:
            self.metrics.count("collectord_records_received_total", rows)
            self.metrics.count("collectord_batches_received_total", batches)
            self.metrics.count("collectord_bytes_received_total", size)


class Session:
    """The state of one stream. Belongs to the event loop, but for `_done`, which the log's thread calls."""

    def __init__(self, gate: Gate, peer: str) -> None:
        self._gate = gate
        self._declared = Declared()
        self._acked = -1
        self._resume_to: int | None = None
        self._asked_from: int | None = None
        self._stalled: str | None = None
        self._welcome_due = False
        self._credit_sent = 0
        self._credit_told = True
        self._rejects: deque[tuple[int, Rejected, int]] = deque()
        self._pending = 0
        self._hung_up = False
        self.wake = asyncio.Event()
        self.peer = peer
        self.client = b""
        self.pid = 0
        self.sdk = ""
        self.rows = 0

    async def receive(self, raw: bytes) -> None:
        """Takes one serialized `ClientMessage`.

        Raises:
            ProtocolError: the stream has to be ended.
        """
        key = raw[0] if raw else 0
        if key == _BATCH:
            await self._batch(_only_field(raw))
            return
        try:
            message = pb.ClientMessage.FromString(raw)
        except DecodeError as error:
            raise ProtocolError(f"not a ClientMessage: {error}") from None
        if key == _HELLO and message.HasField("hello"):
            self._hello(message.hello)
        elif not self.client:
            raise ProtocolError("the first message must be Hello")
        elif key == _DECLARE and message.HasField("declare"):
            refused = self._declared.declare(message.declare.schema)
            if refused is not None:
                event(_log, logging.WARNING, "schema refused", reason=refused.reason, detail=refused.detail, peer=self.peer)
        elif key == _DROPPED and message.HasField("dropped"):
            await self._submit(Entry(EntryKind.DROPPED, self.client, 0, 0, message.dropped.SerializeToString()), None)
        else:
            raise ProtocolError("a ClientMessage holds exactly one of hello, declare, batch, dropped")

    def outgoing(self) -> Iterator[bytes]:
        """The serialized `ServerMessage`s that are due now."""
        gate = self._gate
        self.wake.clear()
        if self._welcome_due:
            self._welcome_due = False
            yield self._welcome()
        if not self.client:
            return
        while self._rejects:
            sequence, rejected, rows = self._rejects.popleft()
            yield pb.ServerMessage(
                reject=pb.Reject(sequence=sequence, reason=str(rejected.reason), detail=rejected.detail, rows=rows)
            ).SerializeToString()
        durable = gate.marks.durable(self.client)
        if durable != self._acked:
            self._acked = durable
            yield pb.ServerMessage(ack=pb.Ack(sequence=durable)).SerializeToString()
        if self._resume_to is not None:
            sequence, self._resume_to = self._resume_to, None
            yield pb.ServerMessage(resume=pb.Resume(next_sequence=sequence)).SerializeToString()
        credit_now = 0 if self._stalled else gate.credit()
        if credit_now != self._credit_sent:
            self._credit_sent = credit_now
            yield pb.ServerMessage(credit=pb.Credit(bytes=credit_now, reason=self._stalled or "")).SerializeToString()

    def hang_up(self) -> None:
        """The client will send nothing more; it still reads."""
        self._hung_up = True
        self.wake.set()

    @property
    def finished(self) -> bool:
        """Whether the client hung up and everything it sent was answered."""
        return self._hung_up and not self._pending and not self.wake.is_set()

    def settle(self, outcome: Outcome) -> None:
        """The log has answered; on the loop."""
        self._pending -= 1
        if outcome.error is not None:
            self._stall(outcome.error)
            return
        if outcome.rejected is not None:
            self._rejects.append((outcome.sequence, outcome.rejected, outcome.rows))
            self._gate.metrics.count("collectord_records_rejected_total", outcome.rows, reason=str(outcome.rejected.reason))
        else:
            self.rows += outcome.rows
        self._stalled = None
        self.wake.set()

    def _hello(self, hello: pb.Hello) -> None:
        if self.client:
            raise ProtocolError("a second Hello on one stream")
        if len(hello.client_id) != 16:
            raise ProtocolError(f"hello.client_id has {len(hello.client_id)} bytes; it must have 16")
        if len(hello.sdk) > 100 or len(hello.version) > 100:
            raise ProtocolError("hello.sdk and hello.version have at most 100 characters")
        self.client = hello.client_id
        self.pid = hello.pid
        self.sdk = f"{hello.sdk} {hello.version}".strip()
        self._welcome_due = True
        self.wake.set()

    def _welcome(self) -> bytes:
        gate = self._gate
        wanted = gate.marks.greet(self.client, gate.clock.wall_ns())
        self._acked = wanted - 1
        self._credit_sent = gate.credit()
        return pb.ServerMessage(
            welcome=pb.Welcome(
                spool_id=gate.spool_id,
                next_sequence=wanted,
                credit_bytes=self._credit_sent,
                max_message_bytes=MAX_MESSAGE_BYTES,
                settings=pb.Settings(collect=gate.collect),
            )
        ).SerializeToString()

    async def _batch(self, payload: memoryview) -> None:
        if not self.client:
            raise ProtocolError("the first message must be Hello")
        gate = self._gate
        sequence, found, refused = _find(payload)
        taken = gate.marks.taken(self.client)
        if sequence <= taken:
            if found is not None:
                gate.metrics.count("collectord_records_repeated_total", found.rows)
            self._acked = -1
            self.wake.set()
            return
        if sequence > taken + 1:
            self._ask_for(taken + 1)
            return
        entry: Entry
        try:
            if refused is not None:
                raise refused
            assert found is not None
            judged = self._declared.judge(payload, found, gate.window, gate.clock.wall_ns())
            if not gate.streams.has_room(judged.partition):
                raise Rejected(Reason.TOO_MANY_STREAMS, "the limit of open partitions (max_streams) is reached")
            refused = None
            entry = Entry(
                EntryKind.BATCH, self.client, sequence, judged.rows, payload, judged.schema, judged.partition
            )
        except Rejected as rejected:
            refused = rejected
            schema: Schema | None = self._declared.schema(found.schema_id) if found else None
            rows = min(found.rows, batch.MAX_ROWS) if found else 0
            entry = Entry(EntryKind.REJECT, self.client, sequence, rows, str(rejected.reason).encode(), schema)
        if len(self._rejects) > MAX_UNREAD_REJECTS:
            raise ProtocolError(f"more than {MAX_UNREAD_REJECTS} rejected batches and the client does not read")
        await self._submit(entry, refused)

    async def _submit(self, entry: Entry, rejected: Rejected | None) -> None:
        gate = self._gate
        size = len(entry.payload)
        await gate.admission.acquire(size)
        outcome = Outcome(self, entry.sequence, size, entry.rows, rejected)
        client = self.client

        def done(error: Exception | None) -> None:
            if error is None:
                if outcome.sequence:
                    gate.marks.observe(client, outcome.sequence, gate.clock.wall_ns())
            else:
                outcome.error = error
                gate.marks.give_back(client)
            gate.report(outcome)

        # Under the lock of the marks, so that a failing log cannot hand back the sequence between the two steps.
        with gate.marks.lock:
            if entry.sequence:
                taken = gate.marks.taken(client)
                if entry.sequence != taken + 1:
                    gate.admission.release(size)
                    if entry.sequence > taken + 1:
                        self._ask_for(taken + 1)
                    return
                gate.marks.take(client, entry.sequence)
            self._pending += 1
            gate.log.append([entry], done)

    def _ask_for(self, sequence: int) -> None:
        """A gap: everything behind it is refused until this one comes. Asked once, not for each."""
        if self._stalled is None and self._asked_from != sequence:
            self._asked_from = sequence
            self._resume_to = sequence
            self.wake.set()

    def _stall(self, error: Exception) -> None:
        """The log cannot take anything: withhold credit, and ask again for what was lost after a while."""
        if self._stalled is None:
            self._stalled = "the spool is full" if isinstance(error, SpoolFull) else "the log cannot write"
            self._gate.loop.call_later(STALL_SECONDS, self._unstall)
            event(_log, logging.WARNING, "batches are not acknowledged", why=str(error))
        self.wake.set()

    def _unstall(self) -> None:
        if self.client and self in self._gate.sessions:
            self._stalled = None
            self._asked_from = None
            self._ask_for(self._gate.marks.taken(self.client) + 1)


def _find(payload: memoryview) -> tuple[int, batch.Found | None, Rejected | None]:
    try:
        found = batch.find(payload)
    except Rejected as rejected:
        sequence = batch.sequence_of(payload)
        if not sequence:
            raise ProtocolError(f"a batch without a readable sequence number: {rejected.detail}") from None
        return sequence, None, rejected
    if not found.sequence:
        raise ProtocolError("batch.sequence starts at 1")
    return found.sequence, found, None


def _only_field(raw: Buffer) -> memoryview:
    """The content of a message that consists of one length-delimited field."""
    view = memoryview(raw)
    size = shift = 0
    for at in range(1, min(len(view), 6)):
        size |= (view[at] & 0x7F) << shift
        shift += 7
        if view[at] < 0x80:
            content = view[at + 1 :]
            if len(content) != size:
                raise ProtocolError(f"a batch of {size} bytes in a message with {len(content)}")
            return content
    raise ProtocolError("not a ClientMessage: the length of the batch is torn")
