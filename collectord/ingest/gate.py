"""What all sessions share: the log and what it says, the budget, who is connected."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from collectord.clock import Clock
from collectord.errors import CollectordError, TakenOver, TooManyClients
from collectord.ingest.admission import Account, Admission, credit
from collectord.ingest.arrivals import Arrivals
from collectord.ingest.marks import Marks
from collectord.ingest.purses import NEWCOMERS, Purse, Purses
from collectord.ingest.rejections import Rejections
from collectord.ingest.shares import Names, allowed
from collectord.ingest.validate import MAX_SCHEMA_BYTES, Refusal, Shared, Window
from collectord.metrics import Metrics
from collectord.model import Entry, Partition, Reason, Stream
from collectord.switches import Rules
from collectord.tenants import Tenant, Tenants

GRANT_SHARE, MAX_GRANT = 4, 32 << 20
"""Of what a tenant may still have waiting, it is granted this part at a time, and no more than so many bytes."""
MAX_MESSAGE_BYTES = 4 << 20
"""Bytes of a client's message, if it is not said that fewer are taken."""
ENTRY_OVERHEAD = 1024
"""Bytes that an entry under way costs besides its payload, so that a million tiny ones are not free."""
MOST_NAMES = 16 << 20
"""Bytes of the names of all streams, unless it is said."""


class Log(Protocol):
    """Where entries become durable."""

    def append(
        self, entries: Sequence[Entry], done: Callable[[Exception | None], None], *, urgent: bool = False
    ) -> None:
        """Queues entries, without blocking; `urgent`: somebody sends nothing more before he has his answer. `done` is called once, on the log's thread, in the order of the calls: with
        None when they are durable, else with the error; after an error of a client's entry, all of that client's with
        higher numbers that were queued before `done` returned fail too."""
        ...


class Streams(Protocol):
    """Who knows how many partitions are open."""

    def let_in(self, partition: Partition, whose: str) -> str:
        """Why a batch of this partition may not be taken in from a tenant or service; empty: it may, and it gets into the log, or
        `gave_up` is called."""
        ...

    def room(self, whose: str) -> int:
        """Bytes that a tenant or service may have waiting in the log, more than it has."""
        ...

    def is_refused(self, partition: Partition) -> bool:
        """Whether its blob takes nothing and no more may wait for it."""
        ...

    def is_open(self, partition: Partition) -> bool:
        """Whether rows of it wait, or are about to."""
        ...

    def gave_up(self, partition: Partition) -> None:
        """A batch that there was room for did not get into the log."""
        ...


class SchemasFull(TooManyClients):
    """The schemas of all clients need too much memory, and this stream has the most."""


class Sender(Protocol):
    """Whoever hands an entry to the log."""

    account: Account
    """What it holds of the budget."""

    def settle(self, outcome: Outcome) -> None:
        """The log has answered for an entry of his."""
        ...


class Party(Sender, Protocol):
    """A client's stream, as far as the gate deals with it."""

    client: bytes
    pid: int
    sdk: str
    rows: int
    """Rows made durable from this stream."""
    heard: float
    """Monotonic seconds at which the last whole message was dealt with."""
    holds: Callable[[], bool] | None
    """Whether anything was read for this stream that was not dealt with; None: what carries it does not tell."""
    over: asyncio.Future[CollectordError]
    """Done when the stream has to end for a reason that does not lie in what it said."""

    @property
    def listener(self) -> str:
        """The address that it came to."""
        ...

    @property
    def tenant(self) -> Tenant:
        """Whose client it is."""
        ...

    @property
    def purse(self) -> Purse:
        """What the client sends from, unless it is of another service."""
        ...

    @property
    def schema_bytes(self) -> int:
        """Memory planned for the schemas that it has declared."""
        ...

    def forget_schemas(self) -> None:
        """Nothing that it sends is judged any more. May be repeated."""
        ...

    def identify_again(self) -> None:
        """Other tenants count now."""
        ...

    def look_again(self, error: Exception | None) -> None:
        """The log has answered for an entry of this client that came on an earlier stream."""
        ...

    def end(self, why: CollectordError) -> None:
        """Makes the stream end; the first reason counts."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of an entry that a session handed to the log; carried from the log's thread to the loop."""

    session: Sender
    client: bytes
    sequence: int
    size: int
    charged: int
    """Bytes that it holds of the budget."""
    rows: int
    refusal: Refusal | None
    partition: Partition | None = None
    """Of a batch that is not refused."""
    epoch: int = 0
    error: Exception | None = None
    entry: Entry | None = None
    """If somebody watches what arrives."""


@dataclass(slots=True)
class Gate:
    """What all sessions share. Belongs to the event loop, but for `report`."""

    log: Log
    streams: Streams
    marks: Marks
    admission: Admission
    window: Window
    spool_id: bytes
    rules: Rules
    """Of what is collected; replaced by `switch`."""
    clock: Clock
    metrics: Metrics
    loop: asyncio.AbstractEventLoop
    tenants: Tenants = field(default_factory=Tenants)
    purses: Purses = field(default_factory=Purses)
    names: Names = field(default_factory=lambda: Names(MOST_NAMES, 1.0))
    """The streams in the books."""
    share: float = 1.0
    """Of what the others leave, what one tenant or service may have."""
    max_clients: int = 0
    """Connected at a time, which are shared likewise; 0: they are not."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    sessions: set[Party] = field(default_factory=set)
    schemas: Shared = field(default_factory=Shared)
    arrivals: Arrivals = field(default_factory=Arrivals)
    rejections: Rejections = field(default_factory=Rejections)
    outcomes: deque[Outcome] = field(default_factory=deque)
    scheduled: bool = False
    closed: str = ""
    """Why nothing new is taken in, for clients and people; empty: it is."""
    _latest: dict[bytes, Party] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admission.waits = lambda whose: self.metrics.count("collectord_credit_waits_total", cause=whose)
        self.metrics.gauge("collectord_remembered_sessions", lambda: len(self.marks))
        self.metrics.gauge("collectord_mdc_remembered_payloads", self.marks.payloads)
        self.metrics.gauge("collectord_schema_bytes", lambda: self.schemas.bytes)
        self.metrics.gauge("collectord_stream_name_bytes", lambda: self.names.bytes)
        for reason in Reason:
            self.metrics.expect("collectord_records_rejected_total", reason=reason.value)

    def credit(self, purse: Purse) -> int:
        """Of each client that sends from it: tenants and services have equal parts of the budget, however many clients."""
        return credit(self.admission.budget // (self.purses.used or 1), len(purse.clients))

    def no_room(self, purse: Purse, partition: Partition) -> Refusal | None:
        """Why rows of a partition are not taken now. If they are, it gets into the log, or `streams.gave_up` is called."""
        if self.streams.is_refused(partition):
            return Refusal(Reason.STREAM_BLOCKED, "the store refuses its blob, and no more may wait for it")
        if purse.most_partitions and not self._may_open(purse, partition):
            return Refusal(Reason.TOO_MANY_STREAMS, f"the limit of open partitions of the {purse.name} is reached")
        why_not = self.streams.let_in(partition, purse.name)
        return Refusal(Reason.TOO_MANY_STREAMS, why_not) if why_not else None

    def why_unnamed(self, stream: Stream, purse: Purse) -> Refusal | None:
        """Why a stream gets no place in the books; None if it has one now."""
        if self.names.let_in(stream.key(), purse.name):
            return None
        return Refusal(
            Reason.TOO_MANY_STREAMS, f"the share of the {purse.name} in the names of streams (tenant_share) is used up"
        )

    def has_share(self, purse: Purse, size: int) -> bool:
        """Whether so many bytes more fit into what a tenant or service may have waiting. It is looked seldom, for it is granted a
        part of what it may have at a time, and `Purse.spare` counts that down."""
        if purse.spare >= size:
            return True
        room = self.streams.room(purse.name)
        if room < size:
            return False
        purse.spare = max(size, min(room // GRANT_SHARE, MAX_GRANT))
        return True

    def _may_open(self, purse: Purse, partition: Partition) -> bool:
        if partition not in purse.partitions:
            if len(purse.partitions) >= purse.most_partitions:
                purse.partitions = set(filter(self.streams.is_open, purse.partitions))
            if len(purse.partitions) >= purse.most_partitions:
                return False
            purse.partitions.add(partition)
        return True

    def close(self, why: str) -> None:
        """Tells all clients that they have no credit and why; empty: that they have it again."""
        self.closed = why
        for session in self.sessions:
            session.look_again(None)

    def switch(self, rules: Rules) -> None:
        """Other rules of what is collected: all clients are told."""
        self.rules = rules
        for session in self.sessions:
            session.look_again(None)

    def look_for_tenants(self) -> None:
        """Reads their file again if it has changed; then all clients are asked who they are by what they have said."""
        if self.tenants.look():
            for session in list(self.sessions):
                session.identify_again()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something after a while."""
        self.loop.call_later(seconds, action)

    def greet(self, session: Party) -> None:
        """A client has said who it is. An earlier stream of his is dead, or will be: he has one per process.

        Raises:
            TooManyClients: no more can be remembered, or his tenant may have no more.
        """
        tenant = session.tenant
        if tenant.clients and self._clients_of(tenant, session) >= tenant.clients:
            raise TooManyClients(f"{tenant.clients} clients of {tenant.name or 'this listener'} are connected")
        if self.max_clients and self._share_of_clients(session) < 1:
            raise TooManyClients(
                f"the share of the {session.purse.name} in the connected clients (tenant_share of max_clients) is used up"
            )
        if tenant.name and session.client not in self.marks:
            self._let_in_another(session.purse)
        self.marks.greet(session.client, self.clock.wall_ns())
        self.purses.join(session.purse, session)
        before = self._latest.get(session.client)
        self._latest[session.client] = session
        if before is not None:
            before.end(TakenOver("another stream of this client has begun"))

    def _let_in_another(self, purse: Purse) -> None:
        """A client that nobody remembers: the places of those that are remembered must not all become one tenant's."""
        now = self.clock.monotonic()
        if purse.newcomers.wait(now) > 0:
            raise TooManyClients(
                f"{NEWCOMERS} clients of the {purse.name} that were not here before have come within the hour"
            )
        purse.newcomers.take(1, now)

    def _clients_of(self, tenant: Tenant, but: Party) -> int:
        """Other clients of the same tenant. Two listeners' nobodies are two."""
        return sum(bool(one.client) and one.client != but.client and one.tenant is tenant for one in self.sessions)

    def _share_of_clients(self, session: Party) -> int:
        """How many more may connect of the same tenant or service."""
        mine = len(session.purse.clients) - (self._latest.get(session.client) in session.purse.clients)
        return allowed(self.share, self.max_clients, self.purses.clients - mine) - mine

    def weigh_schemas(self) -> None:
        """A schema was declared. If all together are too large now, then of the tenant or service that has the most the stream
        that has the most ends: it can be a thousand streams that have taken everything, but never the one that comes with a
        little."""
        while self.schemas.bytes > MAX_SCHEMA_BYTES:
            of_purse: Counter[Purse] = Counter()
            for session in self.sessions:
                of_purse[session.purse] += session.schema_bytes
            most = max(self.sessions, key=lambda one: (of_purse[one.purse], one.schema_bytes))
            most.end(
                SchemasFull(f"the schemas of all clients need more than {MAX_SCHEMA_BYTES} bytes, most of them these")
            )
            most.forget_schemas()

    def leave(self, session: Party) -> None:
        """A stream has ended. What it handed to the log is still settled."""
        session.forget_schemas()
        self.sessions.discard(session)
        self.purses.leave(session.purse, session)
        if self._latest.get(session.client) is session:
            del self._latest[session.client]
            self.marks.leave(session.client, self.clock.wall_ns())

    def done(self, outcome: Outcome) -> Callable[[Exception | None], None]:
        """What the log calls, on its own thread, when it has answered for the entry of this outcome."""

        def done(error: Exception | None) -> None:
            outcome.error = error
            if outcome.sequence:
                if error is None:
                    self.marks.observe(outcome.client, outcome.sequence, self.clock.wall_ns())
                else:
                    self.marks.give_back(outcome.client, outcome.epoch)
            self.report(outcome)

        return done

    def report(self, outcome: Outcome) -> None:
        """From the log's thread. One wake-up of the loop serves a whole group."""
        self.outcomes.append(outcome)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        # Before the first look, so that what is reported after the last one schedules again.
        self.scheduled = False
        rows = batches = size = 0
        while self.outcomes:
            outcome = self.outcomes.popleft()
            self.admission.release(outcome.session.account, outcome.charged)
            outcome.session.settle(outcome)
            latest = self._latest.get(outcome.client)
            if latest is not None and latest is not outcome.session:
                latest.look_again(outcome.error)
            if outcome.error is not None:
                if outcome.partition is not None:
                    self.streams.gave_up(outcome.partition)
                self.metrics.count("collectord_wal_failures_total")
            elif outcome.refusal is not None:
                self.metrics.count(
                    "collectord_records_rejected_total", outcome.rows, reason=str(outcome.refusal.reason)
                )
            elif outcome.sequence:
                rows += outcome.rows
                batches += 1
                size += outcome.size
                if outcome.entry is not None:
                    self.arrivals.offer(outcome.entry)
        if batches:
            self.metrics.count("collectord_records_received_total", rows)
            self.metrics.count("collectord_batches_received_total", batches)
            self.metrics.count("collectord_bytes_received_total", size)
