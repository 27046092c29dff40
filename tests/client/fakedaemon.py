"""A daemon for the client's tests: a real gRPC server that speaks the contract, keeps rows in memory, and misbehaves.

It follows `proto/collectord/v1/collector.proto`: only mark + 1 is accepted, anything further on is answered Resume, a
repeat is answered and not stored. What it stores, it decodes into plain Python rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import grpc
from collectord_client._pb import collector_pb2 as pb

FORMATS = {
    1: "?",
    2: "b",
    3: "h",
    4: "i",
    5: "q",
    6: "B",
    7: "H",
    8: "I",
    9: "Q",
    10: "e",
    11: "f",
    12: "d",
    14: "q",
    15: "q",
}
HOUR = 3_600_000_000_000


@dataclass(frozen=True)
class Row:
    """A row as it was received."""

    client: bytes
    sequence: int
    designation: str
    names: tuple[str, ...]
    types: tuple[int, ...]
    values: tuple[Any, ...]
    time_ns: int
    row: int
    correlation: str
    request: str | None
    stream: str = ""
    """The levels of its blob's path above the designation."""
    sampling: float | None = None


@dataclass
class Client:
    """What is remembered per client id."""

    mark: int = 0
    pid: int = 0
    dropped: dict[tuple[str, str], int] = field(default_factory=dict)


class FakeDaemon:
    """Serves on `endpoint`; stop and start again at will. The attributes may be changed while it runs."""

    def __init__(self, endpoint: str, spool_id: bytes = b"spool-one", framed: bool = True) -> None:
        """`framed`: with a socket without HTTP/2 beside its unix socket, as a real one has it."""
        self.endpoint = endpoint
        self.framed = framed and endpoint.startswith("unix:")
        self.spool_id = spool_id
        self.credit = 512 << 10
        self.max_message = 4 << 20
        self.told = pb.Settings(collect=True)
        self.hold_acks = False
        self.reject: dict[str, str] = {}
        """Designation to the reason for which its batches are rejected."""
        self.resume_every = 0
        """Refuse each n-th batch with Resume, once."""
        self.break_every = 0
        """End the stream instead of answering each n-th batch, after storing it."""
        self.token = ""
        self.lock = threading.Condition()
        self.clients: dict[bytes, Client] = {}
        self.rows: list[Row] = []
        self.batches: list[Any] = []
        self.sizes: list[int] = []
        self.hellos: list[Any] = []
        self.follows: list[list[str]] = []
        self.resumes = 0
        self.protocol_errors: list[str] = []
        self._held: list[tuple[SimpleQueue[bytes | None], int]] = []
        self._streams: set[SimpleQueue[bytes | None]] = set()
        self._seen = 0
        self.broke = False
        """The batch at hand ends its stream."""
        self._refused: set[int] = set()
        self._server: grpc.Server | None = None
        self._door: socket.socket | None = None
        self.start()

    # -- life

    def start(self) -> None:
        server = grpc.server(
            futures.ThreadPoolExecutor(64),
            options=[("grpc.max_receive_message_length", 8 << 20), ("grpc.so_reuseport", 0)],
        )
        handler = grpc.stream_stream_rpc_method_handler(self._collect)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("collectord.v1.Collector", {"Collect": handler}),)
        )
        if self.endpoint.startswith("unix:"):
            Path(self.endpoint.removeprefix("unix:")).unlink(missing_ok=True)
        port = server.add_insecure_port(self.endpoint)
        if self.endpoint.endswith(":0"):
            self.endpoint = f"127.0.0.1:{port}"
        server.start()
        self._server = server
        if self.framed:
            path = self.endpoint.removeprefix("unix:") + ".framed"
            Path(path).unlink(missing_ok=True)
            self._door = socket.socket(socket.AF_UNIX)
            self._door.bind(path)
            self._door.listen(64)
            threading.Thread(target=self._let_in, args=(self._door,), daemon=True).start()

    def stop(self) -> None:
        """As if killed: streams end without a word, the marks stay."""
        assert self._server is not None
        if self._door is not None:
            with contextlib.suppress(OSError):
                self._door.shutdown(socket.SHUT_RDWR)
            self._door.close()
            Path(self.endpoint.removeprefix("unix:") + ".framed").unlink(missing_ok=True)
            self._door = None
        self.break_streams()
        self._server.stop(None).wait()
        self._server = None
        if self.endpoint.startswith("unix:"):
            Path(self.endpoint.removeprefix("unix:")).unlink(missing_ok=True)

    def forget(self, spool_id: bytes) -> None:
        """Another log takes this one's place."""
        with self.lock:
            self.spool_id = spool_id
            self.clients.clear()

    def break_streams(self) -> None:
        with self.lock:
            for answers in self._streams:
                answers.put(None)

    def release(self) -> None:
        """Sends the acks that were held."""
        with self.lock:
            self.hold_acks = False
            for answers, sequence in self._held:
                answers.put(_ack(sequence))
            self._held.clear()

    def settings(self, collect: bool = True, **more: Any) -> None:
        """Other settings than before, on all open streams."""
        with self.lock:
            self.told = pb.Settings(collect=collect, **more)
            for answers in self._streams:
                answers.put(pb.ServerMessage(settings=self.told).SerializeToString())

    def say(self, message: Any) -> None:
        """Sends any ServerMessage on all open streams."""
        with self.lock:
            for answers in self._streams:
                answers.put(message.SerializeToString())

    def wait(self, condition: Any, timeout: float = 20.0) -> bool:
        """Until `condition()` holds."""
        with self.lock:
            return self.lock.wait_for(condition, timeout)

    # -- the socket without HTTP/2

    def _let_in(self, door: socket.socket) -> None:
        while True:
            try:
                connected, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(_Connection(connected),), daemon=True).start()

    def _serve(self, connection: _Connection) -> None:
        try:
            for answer in self._collect(connection.messages(), connection):
                connection.send(0, answer)
            if connection.is_active():
                connection.send(0x80, b"grpc-status: 0\r\ngrpc-message: \r\n")
        except OSError:
            # The client has gone.
            pass
        finally:
            connection.cancel()

    # -- the protocol

    def _collect(self, messages: Iterator[bytes], context: grpc.ServicerContext | _Connection) -> Iterator[bytes]:
        answers: SimpleQueue[bytes | None] = SimpleQueue()
        with self.lock:
            self._streams.add(answers)
            self.lock.notify_all()
        reader = threading.Thread(target=self._read, args=(messages, answers, context), daemon=True)
        reader.start()
        try:
            while context.is_active():
                try:
                    answer = answers.get(timeout=0.5)
                except Empty:
                    continue
                if answer is None:
                    return
                yield answer
        finally:
            with self.lock:
                self._streams.discard(answers)
                self.lock.notify_all()

    def _read(
        self, messages: Iterator[bytes], answers: SimpleQueue[bytes | None], context: grpc.ServicerContext | _Connection
    ) -> None:
        schemas: dict[bytes, Any] = {}
        client_id = b""
        try:
            for raw in messages:
                message = pb.ClientMessage.FromString(raw)
                kind = message.WhichOneof("message")
                with self.lock:
                    if kind == "hello":
                        client_id = message.hello.client_id
                        self.hellos.append(message.hello)
                        if self.token and message.hello.token != self.token:
                            context.cancel()
                            return
                        client = self.clients.setdefault(client_id, Client())
                        client.pid = message.hello.pid
                        answers.put(self._welcome(client))
                    elif not client_id:
                        self.protocol_errors.append(f"{kind} before hello")
                    elif kind == "follow":
                        self.follows.append(list(message.follow.webservices))
                        answers.put(pb.ServerMessage(settings=self.told).SerializeToString())
                    elif kind == "declare":
                        schema = pb.Schema.FromString(message.declare.schema)
                        schemas[hashlib.sha256(message.declare.schema).digest()[:16]] = schema
                    elif kind == "dropped":
                        for count in message.dropped.counts:
                            self.clients[client_id].dropped[count.stream.designation, count.reason] = count.rows
                    elif kind == "batch":
                        self._batch(raw, message.batch, schemas, client_id, answers)
                        if self.broke:
                            self.broke = False
                            return
                    self.lock.notify_all()
        except grpc.RpcError:
            # The client has gone.
            return
        except Exception as error:  # noqa: BLE001
            # Here no test would see it: so it is kept, and every test looks.
            with self.lock:
                self.protocol_errors.append(repr(error))
                self.lock.notify_all()
        finally:
            answers.put(None)

    def _welcome(self, client: Client) -> bytes:
        return pb.ServerMessage(
            welcome=pb.Welcome(
                spool_id=self.spool_id,
                next_sequence=client.mark + 1,
                credit_bytes=self.credit,
                max_message_bytes=self.max_message,
                settings=self.told,
            )
        ).SerializeToString()

    def _batch(self, raw: bytes, batch: Any, schemas: dict[bytes, Any], client_id: bytes, answers: Any) -> None:
        client = self.clients.get(client_id)
        if client is None:
            return
        if len(raw) > self.max_message:
            self.protocol_errors.append(f"a message of {len(raw)} bytes")
        self._seen += 1
        if batch.sequence <= client.mark:
            answers.put(_ack(client.mark))
            return
        refuse = self.resume_every and batch.sequence % self.resume_every == 0 and batch.sequence not in self._refused
        if batch.sequence != client.mark + 1 or refuse:
            if refuse and batch.sequence == client.mark + 1:
                self._refused.add(batch.sequence)
            self.resumes += 1
            answers.put(pb.ServerMessage(resume=pb.Resume(next_sequence=client.mark + 1)).SerializeToString())
            return
        schema = schemas.get(batch.schema_id)
        if schema is None:
            self.protocol_errors.append("a batch of an undeclared schema")
            return
        client.mark = batch.sequence
        reason = self.reject.get(schema.stream.designation)
        if reason:
            answers.put(
                pb.ServerMessage(
                    reject=pb.Reject(sequence=batch.sequence, reason=reason, detail="as told", rows=batch.rows)
                ).SerializeToString()
            )
            return
        self.batches.append(batch)
        self.sizes.append(len(raw))
        self.rows += decode(client_id, schema, batch)
        if self.break_every and self._seen % self.break_every == 0:
            self.broke = True
        elif self.hold_acks:
            self._held.append((answers, batch.sequence))
        else:
            answers.put(_ack(batch.sequence))


class _Connection:
    """One over the socket without HTTP/2, as far as it needs the face of gRPC's context."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._active = True
        self._file = connected.makefile("rb")

    def is_active(self) -> bool:
        return self._active

    def cancel(self) -> None:
        self._active = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def send(self, flags: int, content: bytes) -> None:
        self._socket.sendall(struct.pack(">BI", flags, len(content)) + content)

    def messages(self) -> Iterator[bytes]:
        with self._file:
            while True:
                try:
                    head = self._file.read(5)
                    flags, size = struct.unpack(">BI", head) if len(head) == 5 else (0, -1)
                    content = self._file.read(size) if size >= 0 else b""
                except OSError:
                    return
                if len(content) != size:
                    return
                assert flags == 0, flags
                yield content


def _ack(sequence: int) -> bytes:
    return bytes(pb.ServerMessage(ack=pb.Ack(sequence=sequence)).SerializeToString())


def decode(client_id: bytes, schema: Any, batch: Any) -> list[Row]:
    """The rows of a batch; raises AssertionError where it breaks the contract."""
    types = tuple(column.type for column in schema.columns)
    names = tuple(column.name for column in schema.columns)
    assert len(set(names)) == len(names), names
    assert 1 <= batch.rows <= 1_000_000
    if schema.layout == pb.LAYOUT_TENSOR:
        assert len(set(types)) == 1
        assert not batch.columns
        flat = struct.unpack(f"<{batch.rows * len(types)}{FORMATS[types[0]]}", batch.tensor)
        values = [flat[at : at + len(types)] for at in range(0, len(flat), len(types))]
    else:
        assert not batch.tensor
        assert len(batch.columns) == len(types)
        values = list(
            zip(
                *(_column(kind, data, batch.rows) for kind, data in zip(types, batch.columns, strict=True)), strict=True
            )
        )
    assert len(values) == batch.rows
    requests = batch.requests
    count = len(requests.times) // 8
    times = struct.unpack(f"<{count}q", requests.times)
    counts = struct.unpack(f"<{count}I", requests.row_counts) if requests.row_counts else (1,) * count
    firsts = struct.unpack(f"<{count}I", requests.first_rows) if requests.first_rows else (0,) * count
    ids = _ids(schema.correlation, requests.correlation_ids, requests.correlation_offsets, count)
    asked = _ids(schema.request, requests.request_ids, requests.request_offsets, count)
    assert bool(requests.sampling) == schema.sampled
    shares = struct.unpack(f"<{count}d", requests.sampling) if schema.sampled else (None,) * count
    assert all(share is None or 0 < share <= 1 for share in shares)
    assert sum(counts) == batch.rows
    assert all(counts)
    assert len({when // HOUR for when in times}) == 1, "hours are mixed"
    rows = []
    at = 0
    for request in range(count):
        for row in range(firsts[request], firsts[request] + counts[request]):
            rows.append(
                Row(
                    client_id,
                    batch.sequence,
                    schema.stream.designation,
                    names,
                    types,
                    tuple(values[at]),
                    times[request],
                    row,
                    str(ids[request]),
                    asked[request],
                    _path(schema.stream),
                    shares[request],
                )
            )
            at += 1
    return rows


def _path(stream: Any) -> str:
    levels = (stream.subscription, stream.resource_group, stream.workspace, stream.webservice, stream.model)
    return "/".join(level or "default" for level in (*levels, stream.version))


def _column(kind: int, data: Any, rows: int) -> list[Any]:
    if kind == pb.COLUMN_TYPE_STRING:
        offsets = struct.unpack(f"<{rows + 1}i", data.offsets)
        assert offsets[0] == 0
        assert offsets[-1] == len(data.data)
        values: list[Any] = [data.data[at:end].decode() for at, end in pairwise(offsets)]
    else:
        assert not data.offsets
        values = list(struct.unpack(f"<{rows}{FORMATS[kind]}", data.data))
    if data.validity:
        assert len(data.validity) == (rows + 7) // 8
        values = [v if data.validity[at // 8] >> (at % 8) & 1 else None for at, v in enumerate(values)]
    return values


def _ids(layout: int, data: bytes, offsets: bytes, count: int) -> list[str | None]:
    if layout == pb.ID_LAYOUT_NONE:
        assert not data
        return [None] * count
    if layout == pb.ID_LAYOUT_UUID:
        assert len(data) == 16 * count
        return [str(uuid.UUID(bytes=data[at : at + 16])) for at in range(0, len(data), 16)]
    ends = struct.unpack(f"<{count + 1}i", offsets)
    assert ends[0] == 0
    assert ends[-1] == len(data)
    return [data[at:end].decode() for at, end in pairwise(ends)]


def main() -> None:
    """Serves on the endpoint given, and writes one line per row to the file given: for scripts in other processes."""
    import json
    import sys

    daemon = FakeDaemon(sys.argv[1])
    out = Path(sys.argv[2])
    done = 0
    print("ready", flush=True)
    while True:
        with daemon.lock:
            daemon.lock.wait(0.05)
            rows, done = daemon.rows[done:], len(daemon.rows)
        with out.open("a") as file:
            for row in rows:
                pid = daemon.clients[row.client].pid
                file.write(json.dumps([pid, row.designation, row.values, row.correlation]) + os.linesep)


if __name__ == "__main__":
    main()
