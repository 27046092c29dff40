"""Whatever comes in, good or bad, by whichever door: none of it is in the daemon's own log, its status or its metrics."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
import uuid
from collections.abc import Iterator

import pytest

from collectord import kinds
from collectord._pb import collector_pb2 as pb
from collectord.model import StreamKind
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.http2 import DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, headers, message
from tests.e2e.process import Daemon, free_port
from tests.e2e.waiting import eventually
from tests.ingest import payloads

CANARY = "Ottilie-Wildermuth"
RAW = CANARY.encode()
AS_UUID = uuid.UUID(bytes=RAW[:16])
TRACES = [
    RAW, RAW[:16], str(AS_UUID).encode(), AS_UUID.hex.encode(), RAW.hex().encode(), CANARY.lower().encode(),
    str(int.from_bytes(RAW[:8], "big")).encode(), str(int.from_bytes(RAW[:8], "little")).encode(),
]  # fmt: skip
"""How it may look, wherever it got."""
NUMBER = int.from_bytes(RAW[:8], "little")


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Iterator[Daemon]:
    port = free_port()
    made = make_daemon(log_level="debug", mdc=f"127.0.0.1:{free_port()}", codec="none")
    made.settings["listen"] = f"{made.endpoint},127.0.0.1:{port}"
    made.tcp = port  # type: ignore[attr-defined]
    yield made.start()


def _strings(columns: list[pb.Column], correlation: int = pb.ID_LAYOUT_TEXT) -> bytes:
    return pb.Schema(
        stream=pb.Stream(model="m", designation="inputs"), columns=columns, layout=pb.LAYOUT_COLUMNS,
        correlation=correlation,
    ).SerializeToString()  # type: ignore[arg-type]  # fmt: skip


def _text(value: bytes) -> pb.ColumnData:
    return pb.ColumnData(offsets=struct.pack("<2i", 0, len(value)), data=value)


def _one(sequence: int, schema: bytes, columns: list[pb.ColumnData], when: int, identity: bytes = RAW) -> pb.Batch:
    return pb.Batch(
        sequence=sequence, schema_id=wire.schema_id(schema), rows=1, columns=columns,
        requests=pb.Requests(
            times=struct.pack("<q", when), correlation_ids=identity,
            correlation_offsets=struct.pack("<2i", 0, len(identity)),
        ),
    )  # fmt: skip


def _over_grpc(daemon: Daemon) -> None:
    """Rows and events that land, and batches, schemas and messages that are refused."""
    now = time.time_ns()
    with wire.WireClient(daemon.endpoint) as client:
        numbers = wire.schema("numbers")
        client.declare(numbers)
        client.send(numbers, [NUMBER], now)
        client.send(numbers, [NUMBER], now - 400 * 86_400 * 10**9)  # refused: long ago
        client.wait_acknowledged()
        texts = _strings([pb.Column(name="t", type=pb.COLUMN_TYPE_STRING)])
        client.declare(texts)
        for columns, identity in (
            ([_text(RAW)], RAW), ([_text(RAW + b"\xff\xfe")], RAW), ([_text(b"x")], RAW + b"\xff"),
            ([pb.ColumnData(offsets=struct.pack("<2i", 5, 900), data=RAW)], RAW), ([], RAW), ([_text(RAW)] * 3, RAW),
        ):  # fmt: skip
            client.sent += 1
            client.raw(pb.ClientMessage(batch=_one(client.sent, texts, columns, now, identity)).SerializeToString())
        client.wait_acknowledged()
        kind = kinds.EVENTS[StreamKind.TRACE]
        trace = _strings(
            [pb.Column(name=column.name, type=int(column.type)) for column in kind.columns],  # type: ignore[arg-type]
            pb.ID_LAYOUT_UUID,
        )
        described = pb.Schema.FromString(trace)
        described.stream.kind = int(StreamKind.TRACE)  # type: ignore[assignment]
        described.stream.designation = kind.table
        trace = described.SerializeToString()
        client.declare(trace)
        severity = pb.ColumnData(data=struct.pack("<q", NUMBER))
        client.sent += 1
        event = _one(client.sent, trace, [_text(RAW)] * (len(kind.columns) - 1) + [severity], now, RAW[:16])
        event.requests.correlation_offsets = b""
        client.raw(pb.ClientMessage(batch=event).SerializeToString())
        client.wait_acknowledged()
        client.declare(_strings([pb.Column(name=CANARY, type=pb.COLUMN_TYPE_STRING)] * 2))
        client.declare(_strings([pb.Column(name=CANARY, type=99)]))  # type: ignore[arg-type]
        client.raw(pb.ClientMessage(declare=pb.Declare(schema=RAW)).SerializeToString())
        client.send(numbers, [NUMBER], now)
        client.wait_acknowledged()
        assert len(client.rejected) >= 5
    for hostile in (RAW, b"\x12" + bytes([len(RAW)]) + RAW, b"\xff" + RAW):
        with wire.WireClient(daemon.endpoint) as client:
            client.raw(hostile)
            eventually(lambda client=client: client.ended, "the stream is ended")  # type: ignore[misc]


def _over_http(daemon: Daemon) -> None:
    """The v2 door: good payloads, bad ones, and what is no HTTP."""
    port = int(str(daemon.settings["mdc"]).rpartition(":")[2])

    def ask(method: str, path: str, body: bytes, given: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, given)
            return connection.getresponse().status
        finally:
            connection.close()

    good = payloads.headers(ce_time=str(int(time.time())), trace_id=CANARY, ce_x_request_id=CANARY)
    row = json.dumps([{"t": CANARY, CANARY: 1}]).encode()
    assert ask("POST", "/modeldata/log", row, good) == 202
    statuses = {
        ask("POST", "/modeldata/log", body, {**good, **more})
        for body in (row, row[:-3], RAW, b'{"%s":%s}' % (RAW, RAW), b"\xff" + row, b'[{"a":1,"a":"%s"}]' % RAW)
        for more in (
            {},
            {"Content-Type": CANARY},
            {"ce-time": CANARY},
            {"ce-collect-data-type": CANARY},
            {"ce-type": CANARY},
            {"ce-agent": CANARY},
        )
    }
    assert {400, 415} <= statuses
    assert ask("GET", f"/{CANARY}?{CANARY}", b"", {CANARY: CANARY}) in (404, 405)
    for noise in (
        RAW + b"\r\n\r\n",
        b"GET / " + RAW + b"\r\n\r\n",
        b"POST /modeldata/log HTTP/1.1\r\n%s\r\n\r\n" % RAW,
    ):
        with socket.create_connection(("127.0.0.1", port)) as door:
            door.sendall(noise)
            door.settimeout(10)
            door.recv(100)


def _noise(daemon: Daemon) -> None:
    """Bytes that are no gRPC, on every listener."""
    bodies = [message(RAW), message(RAW, 1 << 31), b"\1" + len(RAW).to_bytes(4, "big") + RAW, RAW]
    greeting = PREFACE + frame(SETTINGS, 0, 0, b"")
    for make in (lambda: _unix(daemon), lambda: socket.create_connection(("127.0.0.1", daemon.tcp))):  # type: ignore[attr-defined]
        for noise in (RAW, b"GET /%s HTTP/1.1\r\n\r\n" % RAW, PREFACE + RAW):
            with make() as door:
                door.sendall(noise)
        with make() as door:
            door.sendall(greeting)
            for number, body in enumerate(bodies):
                path = wire.METHOD.encode() if number % 2 else b"/" + RAW
                door.sendall(frame(HEADERS, END_HEADERS, 2 * number + 1, headers(path)))
                door.sendall(frame(DATA, 0, 2 * number + 1, body))
            door.settimeout(10)
            assert door.recv(9)


def _unix(daemon: Daemon) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    door.connect(str(daemon.socket))
    return door


def test_nothing_that_came_in_is_said_again(daemon: Daemon) -> None:
    for send in (_over_grpc, _over_http, _noise):
        send(daemon)
    asked = [daemon.http(path)[1] for path in ("/", "/metrics", "/healthz", "/readyz", f"/{CANARY}?{CANARY}")]
    told = [json.dumps(daemon.status()), daemon.cli("status").stdout]
    daemon.flush()
    found = b"".join(landed.directory(daemon.folder / "store").values())
    assert RAW in found, "what is looked for did come in"
    assert str(NUMBER).encode() in found
    daemon.kill9()
    daemon.start()
    assert daemon.terminate() == 0
    said = daemon.said()
    assert "schema refused" in said
    assert "stream ended" in said
    assert "no HTTP" in said
    for text in (said, *told, *asked):
        for trace in TRACES:
            assert trace not in text.encode(), text[max(0, text.encode().find(trace) - 300) :][:600]
