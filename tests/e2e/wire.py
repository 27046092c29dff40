"""A client that speaks the wire itself, so that a test knows each sequence number, acknowledgement and repeat."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from types import TracebackType

import grpc

from collectord._pb import collector_pb2 as pb
from tests.e2e.framed import Call as FramedCall
from tests.e2e.waiting import eventually

METHOD = "/collectord.v1.Collector/Collect"


def schema(
    model: str = "wire", designation: str = "inputs", columns: Sequence[str] = ("n",), webservice: str = ""
) -> bytes:
    """A serialized schema of int64 tensors with a uuid per request."""
    return pb.Schema(
        stream=pb.Stream(webservice=webservice, model=model, designation=designation),
        columns=[pb.Column(name=name, type=pb.COLUMN_TYPE_INT64) for name in columns],
        layout=pb.LAYOUT_TENSOR,
        correlation=pb.ID_LAYOUT_UUID,
    ).SerializeToString()


def schema_id(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:16]


def batch(sequence: int, raw_schema: bytes, numbers: Sequence[int], time_ns: int, columns: int = 1) -> pb.Batch:
    """Rows that hold these numbers, each in all of its columns; each row is a request of its own."""
    rows = len(numbers)
    values = [number for number in numbers for _ in range(columns)]
    return pb.Batch(
        sequence=sequence,
        schema_id=schema_id(raw_schema),
        rows=rows,
        requests=pb.Requests(
            times=struct.pack(f"<{rows}q", *[time_ns] * rows),
            correlation_ids=b"".join(struct.pack(">QQ", 1, number % (1 << 64)) for number in numbers),
        ),
        tensor=struct.pack(f"<{len(values)}q", *values),
    )


class WireClient:
    """One client id, over any number of connections. Batches are kept until acknowledged and sent again after a reconnect."""

    def __init__(self, endpoint: str, client_id: bytes | None = None, *, framed: bool = False) -> None:
        """`framed`: it comes over the socket without HTTP/2 beside that of the endpoint."""
        self.endpoint = endpoint
        self.framed = framed
        self.client_id = client_id or os.urandom(16)
        self.pid = os.getpid()
        """What it says that it is."""
        self.token = ""
        self.webservices: list[str] = []
        """Whose settings it wants."""
        self.acknowledged = 0
        self.rejected: dict[int, str] = {}
        self.resumes: list[int] = []
        self.credit = -1
        """The last one that was given; below 0: none yet."""
        self.credit_reason = ""
        self.welcome: pb.Welcome | None = None
        self.ended: grpc.StatusCode | None = None
        self.detail = ""
        self.sent = 0
        self.resent = 0
        self._schemas: list[bytes] = []
        self._unacknowledged: dict[int, pb.Batch] = {}
        self._lock = threading.Lock()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._channel: grpc.Channel | None = None
        self._call: grpc.Call | FramedCall | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> WireClient:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self, wait: bool = True) -> WireClient:
        """Says Hello on a new connection, and sends again what the daemon's log does not have."""
        self.close()
        with self._lock:
            self.welcome = self.ended = None
            self._outgoing = SimpleQueue()
            if self.framed:
                self._call = FramedCall(self.endpoint.removeprefix("unix:"), _drawn(self._outgoing))
            else:
                self._channel = grpc.insecure_channel(self.endpoint, [("grpc.use_local_subchannel_pool", 1)])
                self._call = self._channel.stream_stream(METHOD, None, None)(_drawn(self._outgoing))
            self._thread = threading.Thread(target=self._listen, args=(self._call,), daemon=True)
            self._thread.start()
        hello = pb.Hello(
            client_id=self.client_id,
            pid=self.pid,
            sdk="wire",
            version="1",
            token=self.token,
            webservices=self.webservices,
        )
        self.raw(pb.ClientMessage(hello=hello).SerializeToString())
        if wait:
            eventually(lambda: self.welcome or self.ended, "the daemon says Welcome")
            assert self.welcome is not None, (self.ended, self.detail)
            for known in self._schemas:
                self.raw(pb.ClientMessage(declare=pb.Declare(schema=known)).SerializeToString())
            with self._lock:
                again = [b for n, b in sorted(self._unacknowledged.items()) if n >= self.welcome.next_sequence]
            for one in again:
                self.resent += 1
                self.raw(pb.ClientMessage(batch=one).SerializeToString())
        return self

    def declare(self, raw_schema: bytes) -> None:
        self._schemas.append(raw_schema)
        self.raw(pb.ClientMessage(declare=pb.Declare(schema=raw_schema)).SerializeToString())

    def send(self, raw_schema: bytes, numbers: Sequence[int], time_ns: int, columns: int = 1) -> int:
        """The batch's sequence number; it counts as sent although the connection may be down."""
        return self.post(batch(0, raw_schema, numbers, time_ns, columns))

    def post(self, made: pb.Batch) -> int:
        """The same of a batch of any content, which gets its sequence number here."""
        self.sent += 1
        made.sequence = self.sent
        with self._lock:
            self._unacknowledged[self.sent] = made
        self.raw(pb.ClientMessage(batch=made).SerializeToString())
        return self.sent

    def resend(self) -> None:
        """What was sent and not acknowledged, once more and in order, as Resume wants it."""
        with self._lock:
            again = [self._unacknowledged[number] for number in sorted(self._unacknowledged)]
        for made in again:
            self.raw(pb.ClientMessage(batch=made).SerializeToString())

    def raw(self, message: bytes) -> None:
        self._outgoing.put(message)

    def wait_acknowledged(self, sequence: int | None = None, timeout: float = 30.0) -> None:
        wanted = self.sent if sequence is None else sequence
        eventually(lambda: self.acknowledged >= wanted, f"batch {wanted} is acknowledged", timeout)

    def close(self) -> None:
        self._outgoing.put(None)
        if self._call is not None:
            self._call.cancel()
        if self._thread is not None:
            self._thread.join(10)
        if self._channel is not None:
            self._channel.close()
        self._call = self._thread = self._channel = None

    def hang_up(self) -> None:
        """Ends the stream in order; the answers still come."""
        self._outgoing.put(None)

    def _listen(self, call: grpc.Call | FramedCall) -> None:
        try:
            for raw in call:  # type: ignore[attr-defined]
                self._take(pb.ServerMessage.FromString(raw))
            self.ended = grpc.StatusCode.OK
        except grpc.RpcError:
            self.detail = call.details() or ""
            self.ended = call.code()

    def _take(self, message: pb.ServerMessage) -> None:
        kind = message.WhichOneof("message")
        with self._lock:
            if kind == "welcome":
                self.welcome = message.welcome
                self.credit = message.welcome.credit_bytes
                self._passed(message.welcome.next_sequence - 1)
            elif kind == "ack":
                self._passed(message.ack.sequence)
            elif kind == "credit":
                self.credit, self.credit_reason = message.credit.bytes, message.credit.reason
            elif kind == "resume":
                self.resumes.append(message.resume.next_sequence)
            elif kind == "reject":
                self.rejected[message.reject.sequence] = message.reject.reason

    def _passed(self, mark: int) -> None:
        assert mark <= self.sent, f"{mark} acknowledged, {self.sent} sent"
        self.acknowledged = max(self.acknowledged, mark)
        for number in [number for number in self._unacknowledged if number <= mark]:
            del self._unacknowledged[number]


def _drawn(queue: SimpleQueue[bytes | None]) -> Iterator[bytes]:
    while (message := queue.get()) is not None:
        yield message
