"""One client's stream, from Hello to the end: what comes in is judged and handed to the log, what goes out is collected.

No transport here: `reception.py` hands to `receive` what comes, and writes what `outgoing` yields.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.errors import CollectordError, ProtocolError, Rejected
from collectord.ingest.admission import Account
from collectord.ingest.caller import Caller
from collectord.ingest.envelope import Kind, unwrap
from collectord.ingest.following import Following
from collectord.ingest.gate import ENTRY_OVERHEAD, Gate, Outcome
from collectord.ingest.purses import Purse
from collectord.ingest.remembered import is_ours
from collectord.ingest.stall import Stall
from collectord.ingest.validate import Declared, Refusal, counted_drops
from collectord.logs import event
from collectord.model import ENTRY_BYTES, Buffer, Entry, EntryKind, Schema, Stream
from collectord.schema import schema_id
from collectord.tenants import Tenant

MAX_UNREAD_REJECTS = 100
"""Refused batches that the client has not been told of; beyond it nothing more is read from the client."""

_SIZES = {
    Kind.HELLO: 16 << 10,
    Kind.FOLLOW: 512 << 10,
    Kind.DROPPED: 1 << 20,
}
"""Most bytes of messages of which protobuf turns each two into an object. Others may have as many as a gate says."""

_M = TypeVar("_M", bound=Message)

_log = logging.getLogger("collectord.ingest")


class Session:
    """The state of one stream. Belongs to the event loop, but for what the log calls when it is done."""

    def __init__(self, gate: Gate, peer: str, listener: str = "", certificate: Sequence[str] = ()) -> None:
        """`listener`: the address that it came to; `certificate`: the names in the client's."""
        self._gate = gate
        self._caller = Caller(gate, listener, certificate)
        self._declared = Declared(gate.schemas, self._caller.why_refused)
        self._acked = -1
        self._following = Following()
        self._beyond = ""
        """Why a batch waits for its tenant's or service's turn; empty: none does."""
        self._welcome_due = False
        self._credit_sent = 0
        self._counted: set[int] = set()
        """Lines of the books about dropped rows that the client has brought up."""
        self._named: set[bytes] = set()
        """Schemas that refusals have named."""
        self._rejects: deque[tuple[int, Refusal, int]] = deque()
        self._refused: deque[int] = deque()
        """Sequence numbers of refusals that the log has not answered yet, as far as we have heard."""
        self._told = asyncio.Event()
        self._pending = 0
        self._hung_up = False
        self.wake = asyncio.Event()
        self._stall = Stall(gate, self._wanted, self.wake.set)
        self.over: asyncio.Future[CollectordError] = gate.loop.create_future()
        self.heard = gate.clock.monotonic()
        self.holds: Callable[[], bool] | None = None
        self.peer = peer
        self.client = b""
        self.pid = 0
        self.sdk = ""
        self.rows = 0
        self.account = Account()

    async def receive(self, raw: Buffer) -> None:
        """Takes one serialized `ClientMessage`. Waits while the daemon's budget is used up, or too many refusals are
        unread.

        Raises:
            ProtocolError: the stream has to be ended.
            TooManyClients: likewise.
        """
        unwrapped = unwrap(raw)
        kind, content = unwrapped if unwrapped is not None else (None, memoryview(b""))
        if not self.client and kind is not Kind.HELLO:
            raise ProtocolError("the first message must be Hello")
        if kind is None:
            return  # of a later version of the protocol
        most = _SIZES.get(kind, self._gate.max_message_bytes)
        if len(content) > most:
            raise ProtocolError(f"{kind.name.lower()} has {len(content)} bytes; {most} are allowed")
        if kind is Kind.BATCH:
            await self._batch(content, len(raw))
        elif kind is Kind.HELLO:
            self._hello(_parsed(pb.Hello(), content))
        elif kind is Kind.DECLARE:
            self._declare(_parsed(pb.Declare(), content))
        elif kind is Kind.FOLLOW:
            self._following.follow(_parsed(pb.Follow(), content).webservices)
            self.wake.set()
        else:
            await self._dropped(_parsed(pb.Dropped(), content))
        self.heard = self._gate.clock.monotonic()

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
            sequence, refusal, rows = self._rejects.popleft()
            self._told.set()
            yield pb.ServerMessage(
                reject=pb.Reject(sequence=sequence, reason=str(refusal.reason), detail=refusal.detail, rows=rows)
            ).SerializeToString()
        durable = gate.marks.durable(self.client)
        if self._refused:
            # The log moves the mark from its own thread, and we hear of it later: an Ack that passed a Reject would say that
            # its rows were taken.
            durable = min(durable, min(self._refused) - 1)
        if durable != self._acked:
            self._acked = durable
            yield pb.ServerMessage(ack=pb.Ack(sequence=durable)).SerializeToString()
        wanted = self._stall.resume()
        if wanted is not None:
            yield pb.ServerMessage(resume=pb.Resume(next_sequence=wanted)).SerializeToString()
        withheld = gate.closed or self._stall.why or self._beyond
        credit_now = 0 if withheld else self._caller.credit()
        if credit_now != self._credit_sent:
            self._credit_sent = credit_now
            yield pb.ServerMessage(credit=pb.Credit(bytes=credit_now, reason=withheld)).SerializeToString()
        settings = self._following.news(gate.rules, self.tenant)
        if settings is not None:
            yield pb.ServerMessage(settings=settings).SerializeToString()

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
        if outcome.refusal is not None:
            self._refused.popleft()
            self._told.set()
        if outcome.error is not None:
            self._stall.begin(outcome.error)
            return
        if outcome.refusal is not None:
            self._rejects.append((outcome.sequence, outcome.refusal, outcome.rows))
        else:
            self.rows += outcome.rows
        if outcome.sequence:
            self._stall.landed()
        self.wake.set()

    def look_again(self, error: Exception | None) -> None:
        """What this client sent on an earlier stream was settled; on the loop."""
        if error is not None:
            self._stall.begin(error)
        self.wake.set()

    @property
    def schema_bytes(self) -> int:
        """Memory planned for the schemas that it has declared."""
        return self._declared.bytes

    def forget_schemas(self) -> None:
        """Nothing that comes here is judged any more. May be repeated."""
        self._declared.close()

    def identify_again(self) -> None:
        """Other tenants count. Who is not one any more, or may do something else, goes."""
        why = self._caller.identify_again() if self.client else None
        if why is not None:
            self.end(why)

    @property
    def listener(self) -> str:
        """The address that the client came to."""
        return self._caller.listener

    @property
    def tenant(self) -> Tenant:
        """Whose client it is."""
        return self._caller.tenant

    @property
    def purse(self) -> Purse:
        """What the client sends from, unless it is of another service."""
        return self._caller.purse

    def end(self, why: CollectordError) -> None:
        """Ends the stream; the first reason counts."""
        if not self.over.done():
            self.over.set_result(why)

    def _hello(self, hello: pb.Hello) -> None:
        if self.client:
            raise ProtocolError("a second Hello on one stream")
        if len(hello.client_id) != 16:
            raise ProtocolError(f"hello.client_id has {len(hello.client_id)} bytes; it must have 16")
        if is_ours(hello.client_id):
            raise ProtocolError("hello.client_id is one of the v2 door's own; it must be random")
        if len(hello.sdk) > 100 or len(hello.version) > 100:
            raise ProtocolError("hello.sdk and hello.version have at most 100 characters")
        self._caller.identify(hello.token, hello.webservices[0] if hello.webservices else "")
        self.client = hello.client_id
        self.pid = hello.pid
        self.sdk = f"{hello.sdk} {hello.version}".strip()
        self._following.follow(hello.webservices)
        self._gate.greet(self)
        self._welcome_due = True
        self.wake.set()

    def _welcome(self) -> bytes:
        gate = self._gate
        self._acked = gate.marks.durable(self.client)
        self._credit_sent = self._caller.credit()
        return pb.ServerMessage(
            welcome=pb.Welcome(
                spool_id=gate.spool_id,
                next_sequence=self._acked + 1,
                credit_bytes=self._credit_sent,
                max_message_bytes=gate.max_message_bytes,
                settings=self._following.settings(gate.rules, self.tenant),
            )
        ).SerializeToString()

    def _declare(self, declare: pb.Declare) -> None:
        if self.over.done():
            return
        refusal = self._declared.declare(declare.schema)
        schema = self._declared.schema(schema_id(declare.schema))
        if schema is not None:
            self._caller.sends(schema)
        self._gate.weigh_schemas()
        if refusal is not None:
            # Its detail, which names a column, is the client's: where a table had no header, its names are values.
            event(_log, logging.WARNING, "schema refused", reason=refusal.reason, peer=self.peer)

    async def _dropped(self, message: pb.Dropped) -> None:
        now, reports = self._gate.clock.monotonic(), self.purse.reports
        if reports.wait(now) > 0:
            # It is of totals, so that the next one says it all the same.
            self._gate.metrics.count("collectord_reports_left_out_total")
            return
        payload, refused = counted_drops(message, self._may_count)
        reports.take(len(payload) + ENTRY_BYTES, now)
        if refused:
            event(_log, logging.WARNING, "a report of dropped rows was kept in part", left_out=refused, peer=self.peer)
        if self.purse.limited:
            await self._within_quota(self.purse, len(payload), 0)
        await self._submit(Entry(EntryKind.DROPPED, self.client, 0, 0, payload), None, len(payload))

    async def _batch(self, payload: memoryview, held: int) -> None:
        """`held`: bytes of the message, which are there as long as the payload is."""
        gate = self._gate
        refusal = None
        try:
            found = batch.find(payload)
        except Rejected as rejected:
            refusal = Refusal.of(rejected)
            found = batch.glance(payload)
        if not found.sequence:
            raise ProtocolError("a batch without a readable sequence number; they start at 1")
        if not self._is_next(found.sequence, found.rows):
            return
        caller = self._caller
        purse = caller.others.get(found.schema_id, caller.purse) if caller.others else caller.purse
        size = len(payload)
        if purse.spare < size and not gate.has_share(purse, size):
            self._stall.lack(purse, size)
            return
        if purse.limited:
            await self._within_quota(purse, size, min(found.rows, size))
        purse.spare -= size
        while len(self._rejects) + len(self._refused) >= MAX_UNREAD_REJECTS:
            self._told.clear()
            await self._told.wait()
        if refusal is None:
            try:
                judged = self._declared.judge(payload, found, gate.window, gate.clock.wall_ns())
                refusal = gate.no_room(purse, judged.partition)
            except Rejected as rejected:
                refusal = Refusal.of(rejected)
        if refusal is None:
            entry = Entry(
                EntryKind.BATCH, self.client, found.sequence, judged.rows, payload, judged.schema, judged.partition
            )
        else:
            schema = self._declared.schema(found.schema_id)
            gate.rejections.tell(schema, refusal, found.rows, gate.clock.monotonic())
            reason = str(refusal.reason).encode()
            entry = Entry(EntryKind.REJECT, self.client, found.sequence, found.rows, reason, schema)
            await self._slowly(purse, len(reason) + ENTRY_BYTES + self._declaration(schema))
        self.account.whose = purse
        await self._submit(entry, refusal, held if refusal is None else 0)

    def _may_count(self, stream: Stream, reason: str) -> bool:
        """Whether what was dropped of a stream for a reason gets a line in the books."""
        line = hash((stream, reason))
        if line not in self._counted:
            now, counts = self._gate.clock.monotonic(), self.purse.counts
            if counts.wait(now) > 0 or not self._caller.may_count(stream):
                return False
            counts.take(1, now)
            self._counted.add(line)
        return True

    def _declaration(self, schema: Schema | None) -> int:
        """Bytes that a refusal may bring into the log because it names a schema for the first time."""
        if schema is None or schema.id in self._named:
            return 0
        self._named.add(schema.id)
        return len(schema.raw)

    async def _slowly(self, purse: Purse, size: int) -> None:
        """Takes a refusal's place in the log, as soon as those of the tenant or service are no flood."""
        clock = self._gate.clock
        while (seconds := purse.reports.wait(clock.monotonic())) > 0:
            with self._waiting(f"too much of the {purse.name} is refused"):
                await self._pause(seconds)
        purse.reports.take(size, clock.monotonic())

    async def _pause(self, seconds: float) -> None:
        over: asyncio.Future[None] = self._gate.loop.create_future()
        self._gate.later(seconds, lambda: None if over.done() else over.set_result(None))
        await over

    async def _within_quota(self, purse: Purse, size: int, rows: int) -> None:
        """Waits until the quota lets so much through."""
        gate = self._gate
        if purse.take(size, rows, gate.clock.monotonic()):
            return
        gate.admission.waits("quota")
        with self._waiting(f"the quota of the {purse.name} is used up"):
            await purse.turn(size, rows, gate.clock.monotonic, gate.later)

    @contextmanager
    def _waiting(self, why: str) -> Iterator[None]:
        """Meanwhile the client has no credit, and hears why."""
        self._beyond = why
        self.wake.set()
        try:
            yield
        finally:
            self._beyond = ""
            self.wake.set()

    def _wanted(self) -> int | None:
        """The sequence number that comes next; None once the stream is over."""
        if self not in self._gate.sessions or self.over.done():
            return None
        return self._gate.marks.taken(self.client) + 1

    def _is_next(self, sequence: int, rows: int) -> bool:
        """Whether this batch is wanted; answers a repeat and a gap."""
        taken = self._gate.marks.taken(self.client)
        if sequence > taken + 1:
            self._stall.ask_for(taken + 1)
        elif sequence <= taken:
            self._gate.metrics.count("collectord_records_repeated_total", rows)
            self._acked = -1
            self.wake.set()
        return sequence == taken + 1

    async def _submit(self, entry: Entry, refusal: Refusal | None, held: int) -> None:
        gate = self._gate
        size = len(entry.payload)
        outcome = Outcome(
            self, self.client, entry.sequence, size, max(size, held) + ENTRY_OVERHEAD, entry.rows, refusal, entry.partition,
            entry=entry if gate.arrivals.watched else None,
        )  # fmt: skip
        held = handed_over = False
        try:
            await gate.admission.acquire(self.account, outcome.charged, self._caller.credit)
            held = True
            handed_over = self._hand_over(entry, outcome)
        finally:
            if held and not handed_over:
                gate.admission.release(self.account, outcome.charged)
            if outcome.partition is not None and not handed_over:
                gate.streams.gave_up(outcome.partition)

    def _hand_over(self, entry: Entry, outcome: Outcome) -> bool:
        """Gives an entry to the log, unless it is not wanted any more."""
        gate, marks = self._gate, self._gate.marks
        # Under the lock of the marks, so that a failing log cannot hand back the sequence between the two steps.
        with marks.lock:
            if entry.sequence:
                # It may have waited for the budget. Meanwhile the log may have failed, or another stream have begun.
                if self.over.done() or not self._is_next(entry.sequence, entry.rows):
                    return False
                outcome.epoch = marks.take(self.client, entry.sequence)
            self._pending += 1
            if outcome.refusal is not None:
                self._refused.append(entry.sequence)
            try:
                gate.log.append([entry], gate.done(outcome))
            except BaseException:
                self._pending -= 1
                if outcome.refusal is not None:
                    self._refused.pop()
                if entry.sequence:
                    marks.give_back(self.client, outcome.epoch)
                raise
        return True


def _parsed(message: _M, content: memoryview) -> _M:
    try:
        message.ParseFromString(bytes(content))
    except DecodeError as error:
        raise ProtocolError(f"not a {message.DESCRIPTOR.name}: {error}") from None
    return message
