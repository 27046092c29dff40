"""What comes over the sockets that no client of ours would send: the daemon lives, counts it, and serves the others."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import grpc
import pytest

from collectord._pb import collector_pb2 as pb
from tests.e2e import framed, landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.http2 import DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, frame, headers, message
from tests.e2e.process import Daemon, free_port
from tests.e2e.waiting import eventually

BEGIN = PREFACE + frame(SETTINGS, 0, 0, b"")


class Healthy:
    """A client with HTTP/2 and one without, beside the hostile ones; they must notice nothing."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.clients = [wire.WireClient(daemon.endpoint, framed=framed).connect() for framed in (False, True)]
        self.schema = wire.schema("healthy")
        for client in self.clients:
            client.declare(self.schema)
        self.rows = 0
        self.connections = [client.welcome for client in self.clients]

    def goes_on(self) -> None:
        """On the connections that they have."""
        for client, connection in zip(self.clients, self.connections, strict=True):
            client.send(self.schema, range(self.rows, self.rows + 10), time.time_ns())
            self.rows += 10
            client.wait_acknowledged()
            assert client.welcome is connection
            assert client.ended is None
            assert not client.rejected
            assert not client.resumes

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def daemon(make_daemon: MakeDaemon, folder: object) -> Daemon:
    port = free_port()
    made = make_daemon()
    made.settings["listen"] = f"{made.endpoint},127.0.0.1:{port}"
    made.tcp = port  # type: ignore[attr-defined]
    return made.start()


@pytest.fixture
def healthy(daemon: Daemon) -> Iterator[Healthy]:
    """They go on to the end, and all of their rows land; the daemon is the same process as at the beginning."""
    made = Healthy(daemon)
    made.goes_on()
    yield made
    made.goes_on()
    assert daemon.running
    daemon.flush()
    made.close()
    found = landed.rows(landed.directory(daemon.folder / "store"), "/healthy/")
    assert Counter(int(row["n"]) for row in found) == Counter(range(made.rows))
    daemon.books()
    assert "Traceback" not in daemon.said()


def _doors(daemon: Daemon) -> list[socket.socket]:
    """Those for gRPC."""
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(str(daemon.socket))
    return [unix, socket.create_connection(("127.0.0.1", daemon.tcp))]  # type: ignore[attr-defined]


def _framed_door(daemon: Daemon) -> socket.socket:
    return framed.connected(str(daemon.socket))


def test_random_bytes_at_the_doors_do_no_harm(daemon: Daemon, healthy: Healthy) -> None:
    """Noise, noise behind HTTP/2's greeting or a frame's length, HTTP/1 and nothing at all, on the unix sockets and on TCP."""
    chance = random.Random(7)
    openings = [
        b"", b"\0" * 4096, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", PREFACE, PREFACE + os.urandom(4096), BEGIN,
        message(_hello()),
    ]  # fmt: skip
    for number in range(60):
        for door in (*_doors(daemon), _framed_door(daemon)):
            opening = openings[number % len(openings)]
            try:
                door.sendall(opening + chance.randbytes(chance.choice((0, 1, 9, 100, 70_000))))
                if number % 2:
                    door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except (BrokenPipeError, ConnectionResetError):
                pass  # The daemon has hung up on it: as it should.
            finally:
                door.close()
        if number % 20 == 0:
            healthy.goes_on()


def test_http2_streams_full_of_rubbish_do_no_harm(daemon: Daemon, healthy: Healthy) -> None:
    """Streams opened in order whose messages are rubbish, torn, compressed, endless or never end."""
    path = wire.METHOD.encode()
    bodies = [
        message(os.urandom(100)),
        message(b""),
        message(b"x" * 1000, 1 << 31),
        b"\1" + (10).to_bytes(4, "big") + os.urandom(10),
        message(b"torn", 50),
        b"",
    ]
    for door in _doors(daemon):
        with door:
            door.sendall(BEGIN)
            for number, body in enumerate(bodies * 5):
                stream = 2 * number + 1
                door.sendall(frame(HEADERS, END_HEADERS, stream, headers(path if number % 7 else b"/no/such")))
                door.sendall(frame(DATA, number % 2, stream, body))
            healthy.goes_on()
            door.settimeout(10)
            assert door.recv(9), "the daemon answers"
    eventually(lambda: _refused(daemon) > 0, "refused streams are counted")


# Bytes on the socket without HTTP/2, behind Hello or alone, and what the answer says.
NO_FRAMES: list[tuple[bool, bytes, str]] = [
    (False, b"GET /metrics HTTP/1.1\r\n\r\n", "flags 0x47"),
    (False, BEGIN, "flags 0x50"),
    (False, message(b"", 17_000), "a message of 17000 bytes"),
    (False, message(b"", (1 << 32) - 1), "are allowed"),
    (True, b"\1" + message(b"x")[1:], "flags 0x01"),
    (True, b"\x80" + message(b"grpc-status: 0\r\n")[1:], "flags 0x80"),
    (True, message(b"", (4 << 20) + 1), "are allowed"),
    (True, message(b"torn", 50), "in the middle of a message"),
    (True, b"\0\0", "in the middle of a message"),
    (True, message(os.urandom(3_000_000), 4 << 20), "in the middle of a message"),
]


def test_frames_that_are_none_end_their_stream_with_the_reason(daemon: Daemon, healthy: Healthy) -> None:
    """Also where the client talks on behind them."""
    for greeted, wrong, why in NO_FRAMES:
        for more in (0,) if "middle" in why else (0, 1 << 20):
            with _framed_door(daemon) as door, door.makefile("rb") as said:
                door.settimeout(10)
                door.sendall((message(_hello()) if greeted else b"") + wrong + bytes(more))
                door.shutdown(socket.SHUT_WR)
                code, detail = _status(said.read())
            assert code is grpc.StatusCode.INVALID_ARGUMENT, wrong[:50]
            assert why in detail, wrong[:50]
    healthy.goes_on()
    assert daemon.metrics()['collectord_streams_refused_total{reason="protocol"}'] == 2 * len(NO_FRAMES) - 3


def _status(said: bytes) -> tuple[grpc.StatusCode, str]:
    """Of the last frame that came."""
    while True:
        flags, size = framed.FRAME.unpack_from(said)
        content, said = said[framed.FRAME.size :][:size], said[framed.FRAME.size + size :]
        if flags == framed.TRAILERS:
            assert not said
            return framed.status(content)


def _refused(daemon: Daemon) -> float:
    return sum(value for name, value in daemon.metrics().items() if name.startswith("collectord_streams_refused_total"))


def _hello() -> bytes:
    return pb.ClientMessage(hello=pb.Hello(client_id=os.urandom(16))).SerializeToString()


# Messages of one stream, and what the answer says.
AGAINST_THE_CONTRACT: list[tuple[list[bytes], str]] = [
    ([b""], ""),
    ([b"\xff" * 50], "ClientMessage"),
    ([pb.ClientMessage(hello=pb.Hello(client_id=b"short")).SerializeToString()], "client_id"),
    ([pb.ClientMessage(hello=pb.Hello(client_id=os.urandom(16), sdk="x" * 101)).SerializeToString()], "sdk"),
    ([pb.ClientMessage(declare=pb.Declare(schema=b"x")).SerializeToString()], "first message must be Hello"),
    ([pb.ClientMessage(batch=pb.Batch(sequence=1, rows=1)).SerializeToString()], "first message must be Hello"),
    ([_hello(), _hello()], "second Hello"),
    ([_hello(), pb.ClientMessage(batch=pb.Batch(rows=1)).SerializeToString()], "sequence"),
    ([_hello(), b"\x1a\xff\xff\xff\xff\x0f"], "ClientMessage"),
    ([_hello(), b"\x1a\xff\xff\xff\xff\xff\xff\xff"], "ClientMessage"),
    ([_hello(), b"\x1a\x05\x08"], "ClientMessage"),
    ([_hello(), b"\x1a\x03\xff\xff\xff"], "sequence number"),
]


def test_a_stream_against_the_contract_is_ended_with_the_reason(daemon: Daemon, healthy: Healthy) -> None:
    """With HTTP/2 and without, it gets INVALID_ARGUMENT and a sentence; it is counted; nobody else notices."""
    for messages, why in AGAINST_THE_CONTRACT:
        with grpc.insecure_channel(daemon.endpoint, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            for calls in (channel.stream_stream(wire.METHOD, None, None), partial(framed.Call, str(daemon.socket))):
                call = calls(iter(messages))
                with pytest.raises(grpc.RpcError) as error:
                    list(call)
                assert isinstance(error.value, grpc.Call | framed.Call)
                assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (messages, error.value)
                assert why in (error.value.details() or ""), messages
        healthy.goes_on()
    assert daemon.metrics()['collectord_streams_refused_total{reason="protocol"}'] == 2 * len(AGAINST_THE_CONTRACT)


LIES = {
    "tensor too short": lambda batch: batch.ClearField("tensor") or setattr(batch, "tensor", b"1234567"),
    "more rows than bytes": lambda batch: setattr(batch, "rows", batch.rows + 1),
    "four thousand million rows": lambda batch: setattr(batch, "rows", (1 << 32) - 1),
    "no rows": lambda batch: setattr(batch, "rows", 0),
    "no times": lambda batch: batch.requests.ClearField("times"),
    "torn times": lambda batch: setattr(batch.requests, "times", batch.requests.times[:-1]),
    "counts that do not add up": lambda batch: setattr(batch.requests, "row_counts", struct.pack("<3I", 1, 1, 9)),
    "counts that wrap around": lambda batch: setattr(batch.requests, "row_counts", struct.pack("<3I", 2**32 - 1, 2, 2)),
    "ids too short": lambda batch: setattr(batch.requests, "correlation_ids", b"x" * 47),
    "offsets in uuids": lambda batch: setattr(batch.requests, "correlation_offsets", struct.pack("<4i", 0, 1, 2, 3)),
    "columns in a tensor": lambda batch: batch.columns.add(data=b"x" * 24),
    "times far away": lambda batch: setattr(batch.requests, "times", struct.pack("<3q", *[2**62] * 3)),
    "times before 1970": lambda batch: setattr(batch.requests, "times", struct.pack("<3q", *[-5] * 3)),
    "times in two hours": lambda batch: setattr(
        batch.requests, "times", struct.pack("<3q", time.time_ns(), time.time_ns() - 7_200_000_000_000, time.time_ns())
    ),
    "a schema nobody declared": lambda batch: setattr(batch, "schema_id", b"?" * 16),
    "half a schema id": lambda batch: setattr(batch, "schema_id", b"?" * 7),
    "no requests": lambda batch: batch.ClearField("requests"),
}  # fmt: skip


def test_batches_that_lie_are_rejected_one_by_one(daemon: Daemon, healthy: Healthy) -> None:
    """Each gets a reason and its place in the sequence; good batches between them land, and only they; the metrics and
    the books count the others by reason."""
    with wire.WireClient(daemon.endpoint, framed=True) as client:
        schema = wire.schema("liar")
        client.declare(schema)
        good = []
        for number, (name, lie) in enumerate(LIES.items()):
            told = wire.batch(client.sent + 1, schema, range(3), time.time_ns())
            lie(told)
            client.sent += 1
            client.raw(pb.ClientMessage(batch=told).SerializeToString())
            client.wait_acknowledged()
            assert list(client.rejected) == [2 * at + 1 for at in range(number + 1)], name
            client.send(schema, [number], time.time_ns())
            good.append(number)
            client.wait_acknowledged()
        assert not client.ended, client.detail
        reasons = Counter(client.rejected.values())
        assert client.acknowledged == 2 * len(LIES)
    daemon.flush()
    found = landed.rows(landed.directory(daemon.folder / "store"), "/liar/")
    assert [int(row["n"]) for row in found] == good
    assert set(reasons) >= {"length_mismatch", "unknown_schema", "time_out_of_window", "mixed_partition", "no_rows"}, (
        reasons
    )
    metrics = daemon.metrics()
    for reason in reasons:
        # A batch without rows is refused, but there are no rows to count.
        assert metrics[f'collectord_records_rejected_total{{reason="{reason}"}}'] >= (reason != "no_rows"), reason
    book = daemon.books()["default/default/default/default/liar/default/inputs/default"]
    assert (book.received, book.landed) == (len(good), len(good))
    assert sum(book.rejected.values()) > 0


SCHEMAS = {
    "rubbish": b"\xff\xff\xff",
    "no columns": pb.Schema(layout=pb.LAYOUT_TENSOR, correlation=pb.ID_LAYOUT_UUID).SerializeToString(),
    "an unknown type": pb.Schema(
        columns=[pb.Column(name="a", type=99)], layout=pb.LAYOUT_COLUMNS, correlation=pb.ID_LAYOUT_UUID  # type: ignore[arg-type]
    ).SerializeToString(),
    "two types in a tensor": pb.Schema(
        columns=[pb.Column(name="a", type=pb.COLUMN_TYPE_INT8), pb.Column(name="b", type=pb.COLUMN_TYPE_INT16)],
        layout=pb.LAYOUT_TENSOR, correlation=pb.ID_LAYOUT_UUID,
    ).SerializeToString(),
    "a control character": wire.schema(model="a\nb"),
    "a long name": wire.schema(model="x" * 256),
    "equal columns": wire.schema(columns=("a", "a")),
    "too many columns": wire.schema(columns=[f"c{at}" for at in range(10_001)]),
    "a column of ours": wire.schema(columns=("$aml_dc_row",)),
}  # fmt: skip


def test_schemas_that_cannot_be_are_refused_with_their_batches(daemon: Daemon, healthy: Healthy) -> None:
    """The stream goes on; each batch that names one is rejected with the schema's reason."""
    with wire.WireClient(daemon.endpoint) as client:
        for raw in SCHEMAS.values():
            client.declare(raw)
            client.sent += 1
            client.raw(pb.ClientMessage(batch=wire.batch(client.sent, raw, [1], time.time_ns())).SerializeToString())
        schema = wire.schema("after")
        client.declare(schema)
        client.send(schema, range(5), time.time_ns())
        client.wait_acknowledged()
        assert sorted(client.rejected) == list(range(1, len(SCHEMAS) + 1))
        assert "unknown_schema" not in client.rejected.values(), client.rejected


def test_gaps_and_repeats_in_the_sequence_lose_and_double_nothing(daemon: Daemon, healthy: Healthy) -> None:
    """A batch ahead of its turn is answered with Resume and not kept; one that was acknowledged is answered again and not
    kept twice, on this connection and on another."""
    schema = wire.schema("gaps")
    now = time.time_ns()
    with wire.WireClient(daemon.endpoint) as client:
        client.declare(schema)

        def send(sequence: int) -> None:
            client.sent = max(client.sent, min(sequence, 5))
            made = wire.batch(sequence, schema, range(sequence % 100 * 10, sequence % 100 * 10 + 10), now)
            client.raw(pb.ClientMessage(batch=made).SerializeToString())

        for sequence in (1, 3, 4, 1 << 60):
            send(sequence)
        eventually(lambda: client.resumes, "the daemon asks for what is missing")
        assert client.resumes == [2]
        for sequence in (2, 1, 2, 3, 3, 4):
            send(sequence)
        client.wait_acknowledged(4)
        client.connect()
        assert client.welcome is not None
        assert client.welcome.next_sequence == 5
        for sequence in (4, 5, 1):
            send(sequence)
        client.wait_acknowledged(5)
        assert client.acknowledged == 5
    daemon.flush()
    found = landed.rows(landed.directory(daemon.folder / "store"), "/gaps/")
    assert Counter(int(row["n"]) for row in found) == Counter(range(10, 60))
    assert daemon.metrics()["collectord_records_repeated_total"] >= 50


def test_a_message_over_the_limit_ends_its_stream_only(daemon: Daemon, healthy: Healthy) -> None:
    """More than 4 MiB is refused by the transport, with HTTP/2 or without."""
    for without, code in ((False, grpc.StatusCode.RESOURCE_EXHAUSTED), (True, grpc.StatusCode.INVALID_ARGUMENT)):
        with wire.WireClient(daemon.endpoint, framed=without) as client:
            client.raw(b"\x1a" + b"x" * (5 << 20))
            eventually(lambda client=client: client.ended, "the stream has ended")
            assert client.ended is code


def test_clients_beyond_the_limit_are_refused(make_daemon: MakeDaemon) -> None:
    """With max_clients connected one more gets RESOURCE_EXHAUSTED or UNAVAILABLE and a sentence, and a place as soon as
    one is free; those with HTTP/2 and those without are counted together."""
    daemon = make_daemon(max_clients=2).start()
    first, second = (wire.WireClient(daemon.endpoint, framed=one).connect() for one in (False, True))
    for one in (False, True):
        third = wire.WireClient(daemon.endpoint, framed=one)
        third.connect(wait=False)
        eventually(lambda third=third: third.ended, "the third is refused")
        assert "max_clients" in third.detail
        assert daemon.metrics()['collectord_streams_refused_total{reason="limit"}'] == 1 + one
        third.close()
    second.close()

    def let_in() -> bool:
        third.connect(wait=False)
        return bool(eventually(lambda: third.welcome or third.ended, "an answer")) and third.welcome is not None

    eventually(let_in, "a place became free")
    first.close()
    third.close()
