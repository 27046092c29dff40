"""A real daemon to measure, and a client that sends prepared messages as fast as its credit allows."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from collectord._pb import collector_pb2 as pb
from collectord.address import FRAMED
from collectord.control.client import ControlClient, NoDaemon
from collectord.ingest.framed import FRAME, MESSAGE
from collectord.schema import schema_id

FOLDER = "collectord-bench-"
"""How the names of temporary folders begin."""


@dataclass
class Running:
    """A daemon process."""

    folder: Path
    socket: Path
    process: subprocess.Popen[bytes]

    def control(self) -> ControlClient:
        return ControlClient((self.folder / "spool" / "admin.sock").resolve())

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, to the nanosecond: its clock as `clock_getcpuclockid` names it."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def peak_rss(self) -> int:
        """Bytes, since the start or `forget_peak`."""
        return self._memory("VmHWM")

    def rss(self) -> int:
        """Bytes at the moment."""
        return self._memory("VmRSS")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _memory(self, field: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")


@contextmanager
def daemon(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """A daemon with a directory store in a temporary folder, until the block is left."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        folder = Path(name)
        process = subprocess.Popen(
            [sys.executable, "-m", "collectord", "serve", "--spool", str(folder / "spool"), "--store",
             str(folder / "store"), "--listen", f"unix:{folder / 's'}", "--log-level", "warning", *options],
            env=environment,
        )  # fmt: skip
        running = Running(folder, folder / "s", process)
        try:
            with running.control() as control:
                for _ in range(200):
                    try:
                        if control.status()["state"] == "ready":
                            break
                    except NoDaemon:
                        assert process.poll() is None, "the daemon did not start"
                    time.sleep(0.05)
            yield running
        finally:
            process.terminate()
            process.wait(60)


class Framed:
    """A connection without HTTP/2."""

    def __init__(self, address: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"{address}{FRAMED}")
        self._answers = self._socket.makefile("rb")

    def say(self, raw: bytes) -> None:
        self._socket.sendall(FRAME.pack(MESSAGE, len(raw)) + raw)

    def hear(self) -> bytes:
        flags, size = FRAME.unpack(self._answers.read(FRAME.size))
        raw = self._answers.read(size)
        assert flags == MESSAGE, raw
        return raw

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class OverGrpc:
    """One of its own, as a process has: the daemon lets only so many streams share one."""

    def __init__(self, address: Path) -> None:
        import grpc

        options = [("grpc.max_send_message_length", 4 << 20), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"unix:{address}", options)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers = self._channel.stream_stream("/collectord.v1.Collector/Collect")(iter(self._queue.get, None))

    def say(self, raw: bytes) -> None:
        self._queue.put(raw)

    def hear(self) -> bytes:
        return bytes(next(self._answers))

    def close(self) -> None:
        self._queue.put(None)
        self._channel.close()


class Sender:
    """A client on the wire: batches of float64 tensors with an id per row, made beforehand; with several `streams` each in turn."""

    def __init__(
        self, address: Path, columns: int, rows: int, distinct: int = 16, designation: str = "inputs", streams: int = 1,
        framed: bool = True,
    ) -> None:  # fmt: skip
        """`framed`: as our clients send, without HTTP/2; else over gRPC."""
        schemas = [
            pb.Schema(
                stream=pb.Stream(model="bench", version=str(number), designation=designation),
                columns=[pb.Column(name=f"f{n}", type=pb.COLUMN_TYPE_FLOAT64) for n in range(columns)],
                layout=pb.LAYOUT_TENSOR,
                correlation=pb.ID_LAYOUT_UUID,
            ).SerializeToString()
            for number in range(1, streams + 1)
        ]
        self._keys = [schema_id(schema) for schema in schemas]
        self.rows = rows
        rng = np.random.default_rng(columns)
        now = time.time_ns()
        self._bodies = [
            pb.Batch(
                schema_id=self._keys[0],
                rows=rows,
                requests=pb.Requests(
                    times=(now + np.arange(rows) * 1000).astype("<i8").tobytes(), correlation_ids=rng.bytes(16 * rows)
                ),
                tensor=rng.standard_normal((rows, columns)).tobytes(),
            )
            for _ in range(distinct)
        ]
        self._carrier = Framed(address) if framed else OverGrpc(address)
        self._say(pb.ClientMessage(hello=pb.Hello(client_id=os.urandom(16), sdk="bench", version="1")))
        for schema in schemas:
            self._say(pb.ClientMessage(declare=pb.Declare(schema=schema)))
        welcome = self._hear().welcome
        self._credit = welcome.credit_bytes
        self._sent = self._acked = 0

    def send(self, batches: int) -> None:
        """Sends so many batches within the credit; returns when all are acknowledged."""
        target = self._sent + batches
        size = len(self._bodies[0].SerializeToString())
        window = max(1, self._credit // size)
        while self._acked < target:
            while self._sent < target and self._sent - self._acked < window:
                self._sent += 1
                body = self._bodies[self._sent % len(self._bodies)]
                body.sequence = self._sent
                body.schema_id = self._keys[self._sent % len(self._keys)]
                self._say(pb.ClientMessage(batch=body))
            reply = self._hear()
            assert reply.WhichOneof("message") in ("ack", "credit"), reply
            if reply.HasField("ack"):
                self._acked = reply.ack.sequence

    def close(self) -> None:
        self._carrier.close()

    def _say(self, message: pb.ClientMessage) -> None:
        self._carrier.say(message.SerializeToString())

    def _hear(self) -> pb.ServerMessage:
        return pb.ServerMessage.FromString(self._carrier.hear())


def together(senders: list[Sender], batches: int) -> None:
    """Every sender sends so many batches, at the same time."""
    threads = [threading.Thread(target=sender.send, args=(batches,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
