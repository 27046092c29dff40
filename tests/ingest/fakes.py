"""A log that a test scripts, and a gate around it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec

from collectord._pb import collector_pb2 as pb
from collectord.errors import LogUnavailable
from collectord.ingest.admission import Admission
from collectord.ingest.gate import Gate
from collectord.ingest.marks import Marks
from collectord.ingest.openings import FULL
from collectord.ingest.session import Session
from collectord.ingest.validate import DAY_NS, Window
from collectord.metrics import Metrics
from collectord.model import ColumnType, Entry, EntryKind, Partition, Schema
from collectord.switches import Rules
from collectord.testing.clock import ManualClock
from tests.reference_batch import NOW, make_schema, simple

CLIENT = b"0123456789abcdef"
SPOOL = bytes(range(16))
SCHEMA = make_schema(ColumnType.FLOAT32, tensor=True)
Done = Callable[[Exception | None], None]
P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class FakeLog:
    """Keeps what it is given until `commit` or `fail`; by itself commits at once when `eager`."""

    def __init__(self, *, eager: bool = False) -> None:
        self.eager = eager
        self.error: Exception | None = None
        self.entries: list[Entry] = []
        """What is durable."""
        self.queue: list[tuple[Entry, Done]] = []

    def append(self, entries: Sequence[Entry], done: Done, *, urgent: bool = False) -> None:
        (entry,) = entries
        self.queue.append((entry, done))
        if self.error is not None:
            self.fail(self.error)
        elif self.eager:
            self.commit()

    def commit(self, count: int | None = None) -> None:
        """Makes the next entries durable."""
        taken, self.queue = self.queue[:count], [] if count is None else self.queue[count:]
        for entry, done in taken:
            self.entries.append(entry)
            done(None)

    def fail(self, error: Exception | None = None, count: int | None = None) -> None:
        """The next entries are not written."""
        taken, self.queue = self.queue[:count], [] if count is None else self.queue[count:]
        for _, done in taken:
            done(error or LogUnavailable("the disk is gone"))

    def stored(self, client: bytes = CLIENT) -> list[tuple[EntryKind, int]]:
        """Kind and sequence of everything durable that came from the client."""
        return [(entry.kind, entry.sequence) for entry in self.entries if entry.client == client]


class Room:
    """Says whether a partition may be opened."""

    def __init__(self) -> None:
        self.full = False
        self.blocked = False
        self.closed: set[Partition] = set()
        self.left: dict[str, int] = {}
        """Bytes that somebody may still have waiting; else as many as he likes."""
        self.coming = 0
        """Batches that there was room for, less those that were given up."""

    def let_in(self, partition: Partition, whose: str) -> str:
        self.coming += not self.full
        return FULL if self.full else ""

    def room(self, whose: str) -> int:
        return self.left.get(whose, 1 << 40)

    def is_refused(self, partition: Partition) -> bool:
        return self.blocked

    def is_open(self, partition: Partition) -> bool:
        return partition not in self.closed

    def gave_up(self, partition: Partition) -> None:
        self.coming -= 1


@dataclass(slots=True)
class TimedGate(Gate):
    """A gate whose timers a test lets expire."""

    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.timers.append((seconds, action))

    def expire(self) -> None:
        """All timers."""
        timers, self.timers = self.timers, []
        for _, action in timers:
            action()


class World:
    """A gate with everything that a session meets. Made inside a running loop."""

    def __init__(self, *, eager: bool = False, budget: int = 64 << 20) -> None:
        self.log = FakeLog(eager=eager)
        self.room = Room()
        self.clock = ManualClock(NOW)
        self.gate = TimedGate(
            log=self.log,
            streams=self.room,
            marks=Marks(),
            admission=Admission(budget),
            window=Window(35 * DAY_NS, DAY_NS, 1440),
            spool_id=SPOOL,
            rules=Rules(),
            clock=self.clock,
            metrics=Metrics(),
            loop=asyncio.get_running_loop(),
        )

    def session(self) -> Session:
        made = Session(self.gate, "unix:test")
        self.gate.sessions.add(made)
        return made

    async def greeted(self, client: bytes = CLIENT, *schemas: Schema) -> Session:
        """A session after Hello, Welcome and Declare."""
        made = self.session()
        await made.receive(hello(client))
        said(made)
        for schema in schemas or (SCHEMA,):
            await made.receive(declare(schema))
        return made

    async def commit(self, count: int | None = None) -> None:
        """The log makes its next entries durable, and everybody hears of it."""
        self.log.commit(count)
        await turn()

    async def fail(self, error: Exception | None = None, count: int | None = None) -> None:
        """The log fails with its next entries, and everybody hears of it."""
        self.log.fail(error, count)
        await turn()

    def counted(self, name: str, **labels: str) -> float:
        return self.gate.metrics.registry.get_sample_value(name, labels) or 0.0

    def at_rest(self) -> None:
        """Nothing is held any more."""
        assert self.gate.admission.used == 0
        assert not self.log.queue
        assert self.room.coming == sum(entry.kind is EntryKind.BATCH for entry in self.log.entries)


async def turn() -> None:
    """Lets everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def said(session: Session) -> list[pb.ServerMessage]:
    return [pb.ServerMessage.FromString(raw) for raw in session.outgoing()]


def words(session: Session) -> list[str]:
    """What the session says, in short."""
    return [brief(message) for message in said(session)]


def brief(message: pb.ServerMessage) -> str:
    kind = message.WhichOneof("message")
    if kind == "welcome":
        return f"welcome {message.welcome.next_sequence}"
    if kind == "ack":
        return f"ack {message.ack.sequence}"
    if kind == "credit":
        return f"credit {message.credit.bytes} {message.credit.reason}".strip()
    if kind == "resume":
        return f"resume {message.resume.next_sequence}"
    assert kind == "reject", kind
    return f"reject {message.reject.sequence} {message.reject.reason} {message.reject.rows}"


def hello(client: bytes = CLIENT, **fields: object) -> bytes:
    return pb.ClientMessage(
        hello=pb.Hello(client_id=client, pid=1, sdk="test", version="1", **fields)
    ).SerializeToString()  # type: ignore[arg-type]


def declare(schema: Schema) -> bytes:
    return pb.ClientMessage(declare=pb.Declare(schema=schema.raw)).SerializeToString()


def send(sequence: int, schema: Schema = SCHEMA, rows: int = 1, time: int = NOW) -> bytes:
    return pb.ClientMessage(batch=simple(schema, rows, sequence, time)).SerializeToString()


def bad(sequence: int, rows: int = 1) -> bytes:
    """A batch that will never be accepted: a scoring time in 1970."""
    return send(sequence, rows=rows, time=0)


def dropped(*counts: tuple[str, str, int], more: int = 0) -> bytes:
    message = pb.Dropped()
    for model, reason, rows in counts:
        message.counts.append(pb.DropCount(stream=pb.Stream(model=model), reason=reason, rows=rows))
    for _ in range(more):
        message.counts.add(rows=1)
    return pb.ClientMessage(dropped=message).SerializeToString()
