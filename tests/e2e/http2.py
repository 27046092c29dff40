"""HTTP/2 by hand, for a client that stops where no gRPC library would: in the middle of a message, or before reading.

A `Peer` is one connection with one stream. It keeps to the server's flow control, since a server hangs up on whoever does
not, and does nothing of itself but that. Many of them live on one asyncio loop. Frames are those of RFC 9113.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re

from collectord._pb import collector_pb2 as pb
from tests.e2e import wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
FIRST_WINDOW = 65_535
INITIAL_WINDOW_SIZE = 4
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def headers(path: bytes) -> bytes:
    """HPACK (RFC 7541), literals without indexing: POST, http, path, and what gRPC wants."""

    def text(value: bytes) -> bytes:
        assert len(value) < 127
        return bytes((len(value),)) + value

    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x"),
              (b"te", b"trailers"), (b"content-type", b"application/grpc"))  # fmt: skip
    return b"".join(b"\0" + text(name) + text(value) for name, value in fields)


def message(raw: bytes, declared: int | None = None) -> bytes:
    """A gRPC message, whose length may be a lie."""
    return b"\0" + (len(raw) if declared is None else declared).to_bytes(4, "big") + raw


class Peer:
    """One connection to the daemon's unix socket, with one stream of `Collect` on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = FIRST_WINDOW
        self._first = self._stream = FIRST_WINDOW
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        """The server has ended the stream or the connection."""
        self._body = bytearray()
        self.heard: list[pb.ServerMessage] = []
        """Messages that came."""
        self.status = -1
        """The gRPC status with which the stream ended, if it did."""
        self.sent = 0

    @classmethod
    async def connect(cls, path: str, *, reads: bool = True) -> Peer:
        """Opens the stream. One that does not read grants the server no window beyond the first."""
        reader, writer = await asyncio.open_unix_connection(path)
        peer = cls(reader, writer)
        writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))
        writer.write(frame(HEADERS, END_HEADERS, 1, headers(wire.METHOD.encode())))
        with contextlib.suppress(OSError):
            await writer.drain()
        peer._listening = asyncio.create_task(peer._listen(reads))
        return peer

    async def send(self, data: bytes) -> bool:
        """Sends bytes of messages as the server lets it. False: the server has ended the stream."""
        view = memoryview(data)
        while view:
            room = min(self._connection, self._stream, 16_384, len(view))
            if self.over.is_set():
                return False
            if room <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._connection -= room
            self._stream -= room
            self.sent += room
            try:
                self._writer.write(frame(DATA, 0, 1, bytes(view[:room])))
                await self._writer.drain()
            except OSError:
                self._end()
                return False
            view = view[room:]
        return True

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _end(self) -> None:
        self.over.set()
        self._changed.set()

    async def _listen(self, reads: bool) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._take(kind, flags, stream, payload, reads)
                await self._writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            self._end()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes, reads: bool) -> None:
        write = self._writer.write
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                    first = int.from_bytes(payload[at + 2 : at + 6], "big")
                    self._stream += first - self._first
                    self._first = first
            write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self._stream += more
            else:
                self._connection += more
        elif kind == DATA:
            self._hear(payload)
            if reads and payload:
                for number in (0, 1):
                    write(frame(WINDOW_UPDATE, 0, number, len(payload).to_bytes(4, "big")))
        found = re.search(rb"grpc-status\x01([0-9])|grpc-status\x02(1[0-9])", payload) if kind == HEADERS else None
        if found:
            self.status = int(found[1] or found[2])
        if kind in (RST_STREAM, GOAWAY) or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self._end()
        self._changed.set()

    def _hear(self, payload: bytes) -> None:
        body = self._body
        body += payload
        while len(body) >= 5 and len(body) >= 5 + (size := int.from_bytes(body[1:5], "big")):
            self.heard.append(pb.ServerMessage.FromString(bytes(body[5 : 5 + size])))
            del body[: 5 + size]

    async def acknowledged(self, sequence: int, timeout: float = 30.0) -> None:
        """Waits for the acknowledgement of this number, or of a later one; Welcome may say it too."""

        async def wait() -> None:
            while not any(max(one.ack.sequence, one.welcome.next_sequence - 1) >= sequence for one in self.heard):
                assert not self.over.is_set(), f"the stream has ended with {self.status}"
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), timeout)
        self.heard.clear()


def hello(client: bytes | None = None) -> bytes:
    """The message that begins a stream."""
    return message(
        pb.ClientMessage(hello=pb.Hello(client_id=client or os.urandom(16), pid=1, sdk="http2")).SerializeToString()
    )


def declare(schema: bytes) -> bytes:
    return message(pb.ClientMessage(declare=pb.Declare(schema=schema)).SerializeToString())


def batch(made: pb.Batch) -> bytes:
    return message(pb.ClientMessage(batch=made).SerializeToString())
