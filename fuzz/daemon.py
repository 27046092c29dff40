"""A real daemon on its unix sockets: streams full of rubbish, while clients in order, with HTTP/2 and without, keep landing rows.

At most `MOST_STREAMS` hostile streams. At the end the daemon is the same process, it has written no traceback, each row of the
healthy clients has landed once, and the books balance.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import shutil
import socket
import struct
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from collectord._pb import collector_pb2 as pb
from fuzz import envelope
from fuzz.target import mutate
from tests.e2e import framed, landed, wire
from tests.e2e.process import Daemon

FINDINGS = Path(__file__).resolve().parent / "findings"
MOST_STREAMS = 20_000
KEPT = 50
"""The last hostile streams, written out with a finding."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
ENDINGS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAVAILABLE,
}
"""How a stream may end. UNKNOWN would be an exception that nobody foresaw, DEADLINE_EXCEEDED a stream without an end."""

Sent = tuple[str, list[bytes]]


def main(seconds: float, seed: int, again: Path | None) -> int:
    """Runs for `seconds`, or sends the streams of a finding once. Returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="cd-"))
    daemon = Daemon(folder, flush_interval=1)
    # Written by us, into our own folder.
    streams = pickle.loads(again.read_bytes()) if again else None
    attack = Attack(daemon, random.Random(seed))
    began = time.monotonic()
    try:
        daemon.start()
        attack.run(began + seconds, streams)
        failure = None
    except (AssertionError, OSError, grpc.RpcError) as error:
        failure = f"{type(error).__name__}: {error or traceback.format_exc()}"
    finally:
        said = daemon.said()
        daemon.clear_away()
        shutil.rmtree(folder, ignore_errors=True)
    took = time.monotonic() - began
    print(f"daemon: seed {seed}, {attack.streams} streams with {attack.messages} messages in {took:.0f} s; "
          f"{attack.rows} rows of the healthy clients; ends: {dict(attack.ends)}")  # fmt: skip
    if failure is None and (attack.streams or again):
        print("daemon: no finding", flush=True)
        return 0
    FINDINGS.mkdir(exist_ok=True)
    data = pickle.dumps(list(attack.last))
    kept = FINDINGS / f"daemon-{hashlib.sha256(data).hexdigest()[:16]}"
    kept.write_bytes(data)
    print(f"{said[-4000:]}\ndaemon: FINDING {failure}\npython -m fuzz.run daemon --input {kept}")
    return 1


class Attack:
    def __init__(self, daemon: Daemon, chance: random.Random) -> None:
        self._daemon = daemon
        self._chance = chance
        self._seeds = envelope.seeds()
        self._schema = wire.schema("rubbish", columns=("a", "b"))
        self.streams = self.messages = self.rows = 0
        self.ends: Counter[str] = Counter()
        self.last: deque[Sent] = deque(maxlen=KEPT)

    def run(self, ends: float, again: Sequence[Sent] | None) -> None:
        endpoint = self._daemon.endpoint
        with (
            wire.WireClient(endpoint) as first,
            wire.WireClient(endpoint, framed=True) as second,
            self._channel() as channel,
        ):
            schema = wire.schema("healthy")
            healthy = (first, second)
            connections = [one.welcome for one in healthy]
            for one in healthy:
                one.declare(schema)
            ways = {"socket": self._to_socket, "stream": self._to_stream, "frames": self._to_framed}
            for number in range(MOST_STREAMS):
                if again is not None:
                    if number == len(again):
                        break
                    sent = again[number]
                elif time.monotonic() >= ends:
                    break
                else:
                    sent = self._made()
                self.last.append(sent)
                self.streams += 1
                self.messages += len(sent[1])
                self.ends[ways[sent[0]](channel, sent[1])] += 1
                if number % 10 == 0:
                    one = healthy[number // 10 % 2]
                    one.send(schema, range(self.rows, self.rows + 10), time.time_ns())
                    self.rows += 10
                    one.wait_acknowledged()
                    assert self._daemon.running
            for one, connection in zip(healthy, connections, strict=True):
                assert one.welcome is connection
                assert not (one.ended or one.rejected or one.resumes)
        self._settled()

    def _settled(self) -> None:
        daemon = self._daemon
        assert daemon.running
        daemon.flush()
        daemon.books()
        found = landed.rows(landed.directory(daemon.folder / "store"), "/healthy/")
        assert Counter(int(row["n"]) for row in found) == Counter(range(self.rows)), "a healthy row is lost or doubled"
        assert "Traceback" not in daemon.said(), "the daemon wrote a traceback"

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self._daemon.endpoint, [("grpc.use_local_subchannel_pool", 1)])

    # ------------------------------------------------------------------ what is sent

    def _made(self) -> Sent:
        chance = self._chance
        if chance.randrange(8) == 0:
            opening = chance.choice((b"", PREFACE, PREFACE[:20]))
            return "socket", [opening + chance.randbytes(chance.choice((0, 1, 9, 100, 5000)))]
        hello = pb.ClientMessage(hello=pb.Hello(client_id=chance.randbytes(16), pid=1)).SerializeToString()
        declare = pb.ClientMessage(declare=pb.Declare(schema=self._schema)).SerializeToString()
        messages = [hello, declare] if chance.randrange(10) else []
        sequence = 1
        for _ in range(chance.randrange(1, 12)):
            kind = chance.randrange(6)
            if kind == 0:
                messages.append(mutate(chance.choice(self._seeds), chance, self._seeds))
            elif kind == 1:
                messages.append(chance.randbytes(chance.randrange(200)))
            elif kind == 2:
                raw = mutate(self._schema, chance, [declare])
                messages.append(pb.ClientMessage(declare=pb.Declare(schema=raw)).SerializeToString())
            else:
                made = wire.batch(sequence, self._schema, range(3), time.time_ns(), 2)
                messages.append(self._damaged(made) if kind < 5 else pb.ClientMessage(batch=made).SerializeToString())
                sequence += 1
        return ("frames", self._framed(messages)) if chance.randrange(2) else ("stream", messages)

    def _framed(self, messages: list[bytes]) -> list[bytes]:
        """The messages in frames, some of which are none, in pieces."""
        chance = self._chance
        frames = []
        for message in messages:
            flags = chance.choice((1, 0x80, 0x81, 0xFF)) if chance.randrange(30) == 0 else framed.MESSAGE
            size = chance.choice((0, 5, len(message) + 1, 1 << 16, 4 << 20, (4 << 20) + 1, (1 << 32) - 1))
            frames.append(framed.FRAME.pack(flags, len(message) if chance.randrange(20) else size) + message)
        said = b"".join(frames)
        if chance.randrange(8) == 0:
            said = mutate(said, chance, [said])
        if chance.randrange(4) == 0:
            said = said[: chance.randrange(len(said) + 1)]
        cuts = sorted(chance.randrange(len(said) + 1) for _ in range(chance.choice((0, 0, 1, 3, 30))))
        return [said[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(said)), strict=True)]

    def _damaged(self, batch: pb.Batch) -> bytes:
        """A batch whose insides were changed and whose envelope is whole, so that it is judged as a batch."""
        chance = self._chance
        part: Callable[[bytes], bytes] = lambda data: mutate(data, chance, [data])  # noqa: E731
        match chance.randrange(5):
            case 0:
                batch.tensor = part(batch.tensor)
            case 1:
                batch.requests.times = part(batch.requests.times)
            case 2:
                batch.requests.row_counts = part(struct.pack("<3I", 1, 1, 1))
            case 3:
                batch.requests.correlation_offsets = part(batch.requests.correlation_ids)
            case 4:
                data = part(batch.SerializeToString())
                return pb.ClientMessage(batch=pb.Batch()).SerializeToString()[:1] + _varint(len(data)) + data
        return pb.ClientMessage(batch=batch).SerializeToString()

    # ------------------------------------------------------------------ how it is sent

    def _to_socket(self, channel: grpc.Channel, pieces: list[bytes]) -> str:
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(10)
            door.connect(str(self._daemon.socket))
            try:
                door.sendall(b"".join(pieces))
            except (BrokenPipeError, ConnectionResetError):
                return "hung up"
        return "socket"

    def _to_framed(self, channel: grpc.Channel, pieces: list[bytes]) -> str:
        """It is heard how the stream ends, but for some that go before."""
        with framed.connected(str(self._daemon.socket)) as door:
            door.settimeout(20)
            try:
                for piece in pieces:
                    door.sendall(piece)
                if self._chance.randrange(8) == 0:
                    return "gone"
                door.shutdown(socket.SHUT_WR)
                with door.makefile("rb") as said:
                    code, details = _end(said.read())
            except (BrokenPipeError, ConnectionResetError):
                return "hung up"
        assert code in ENDINGS, f"the stream ended with {code}: {details}"
        return f"framed {code.name}"

    def _to_stream(self, channel: grpc.Channel, messages: list[bytes]) -> str:
        call = channel.stream_stream(wire.METHOD, None, None)(iter(messages), timeout=20)
        try:
            for answer in call:
                pb.ServerMessage.FromString(answer)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            code = error.code()
            assert code in ENDINGS, f"the stream ended with {code}: {error.details()}"
        return str(code.name)


def _end(said: bytes) -> tuple[grpc.StatusCode, str]:
    """Of a stream without HTTP/2, from all that the daemon said."""
    while said:
        flags, size = framed.FRAME.unpack_from(said)
        content, said = said[framed.FRAME.size :][:size], said[framed.FRAME.size + size :]
        if flags == framed.TRAILERS:
            assert not said, "the daemon says something behind the trailers"
            return framed.status(content)
        assert flags == framed.MESSAGE
        pb.ServerMessage.FromString(content)
    raise AssertionError("no trailers came")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
