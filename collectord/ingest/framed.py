"""The plain side of the door: the messages of a stream over a unix socket, each behind its length, with no HTTP/2 beneath.

For clients on this machine, to which gRPC's own threads and wake-ups cost several times what the messages do. The same messages
in the same order as over gRPC, framed as gRPC-Web frames them (PROTOCOL-WEB.md of grpc/grpc): a byte of flags, 0, then four
bytes, most significant first, that say how long the message is. A frame with flag 0x80 is the last one: its text says the status
of the stream, as trailers do.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import quote

import grpc

from collectord import batch
from collectord.errors import CollectordError, ProtocolError
from collectord.ingest.gate import MAX_MESSAGE_BYTES
from collectord.ingest.reception import Reception
from collectord.ingest.status import status_of
from collectord.logs import event
from collectord.model import Buffer

FRAME = struct.Struct(">BI")
MESSAGE, TRAILERS = 0x00, 0x80
READ_AHEAD = 2
"""Messages that wait for those before them, from which on nothing more is read. One read may bring many that are tiny."""
AT_A_TIME = 64
"""Messages of a client that are dealt with before others have a turn."""
SCRATCH = 64 << 10
MAX_FIRST_BYTES = (16 << 10) + 64
"""Of the first message, which is Hello: who has not said who he is gets no room for more."""
FIRST_ROOM = 512 << 10
"""Bytes that an announcement alone is given; a message that is longer gets the rest when it has filled them."""
LINGER_BYTES = 8 << 20
LOOK_SECONDS = 1.0
"""How often it is looked whether a client that is not read from is still there, and whether there are descriptors again."""

_CREDENTIALS = struct.Struct("iII")

_log = logging.getLogger("collectord.ingest")


def trailers(status: grpc.StatusCode, why: str) -> bytes:
    """The frame that ends a stream."""
    text = f"grpc-status: {status.value[0]}\r\ngrpc-message: {quote(why, safe=' ')}\r\n".encode()
    return FRAME.pack(TRAILERS, len(text)) + text


class FramedServer:
    """Of one socket. Belongs to the event loop."""

    def __init__(self, reception: Reception, most_connections: int) -> None:
        """Whoever comes beyond `most_connections` finds the door closed."""
        self.reception = reception
        self.scratch = memoryview(bytearray(SCRATCH))
        """Where what comes is read to: one for all, since it is taken out at once."""
        self._most = most_connections
        self._path: Path
        self._bound: socket.socket
        self._door: asyncio.Task[None] | None = None
        self._connections: set[_Connection] = set()
        """Those that are open: when its stream has ended, the client of one may still have to hear it."""
        self._streams: set[asyncio.Task[None]] = set()

    async def start(self, bound: socket.socket) -> None:
        """Listens at a socket that has its address already."""
        self._path = Path(bound.getsockname())
        bound.setblocking(False)
        bound.listen(self._most)
        self._bound = bound
        self._door = asyncio.create_task(self._let_in())

    async def stop(self, grace: float | None) -> None:
        """Lets nobody in any more; streams may go on for so many seconds. May be repeated."""
        if self._door is not None:
            self._door.cancel()
            await asyncio.gather(self._door, return_exceptions=True)
            self._door = None
            self._bound.close()
            self._path.unlink(missing_ok=True)
        if self._streams and grace is not None:
            await asyncio.wait(self._streams, timeout=grace)
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        # Those that still had to hear the end of their stream.
        for connection in tuple(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    def welcome(self, connection: _Connection) -> asyncio.Task[None] | None:
        """Begins the stream of a connection; None: there is no place for it."""
        if len(self._connections) >= self._most:
            return None
        self._connections.add(connection)
        stream = asyncio.create_task(self._serve(connection))
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        return stream

    def farewell(self, connection: _Connection) -> None:
        """Its place is free."""
        self._connections.discard(connection)

    async def _let_in(self) -> None:
        """asyncio's own server would write a traceback for each of its tries while no descriptor is left."""
        loop = asyncio.get_running_loop()
        short = False
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._bound)
                await loop.connect_accepted_socket(lambda: _Connection(self), accepted)
                short = False
            except OSError as error:
                if not short:
                    event(_log, logging.WARNING, "no connection can be taken", reason=str(error.strerror))
                short = True
                again = asyncio.Event()
                self.reception.gate.later(LOOK_SECONDS, again.set)
                await again.wait()

    async def _serve(self, connection: _Connection) -> None:
        status, why = grpc.StatusCode.UNAVAILABLE, "the daemon has ended the stream"
        try:
            await self.reception.converse(connection)
            status, why = grpc.StatusCode.OK, ""
        except CollectordError as error:
            status, why = status_of(error), str(error)
            # Who keeps the error would keep, until the garbage is collected, all messages that the stream had.
            error.__traceback__ = None
        except Exception:  # noqa: BLE001
            # One stream ends, nobody else's; gRPC's server does the same.
            status, why = grpc.StatusCode.UNKNOWN, "an error in the daemon, which is in its log"
            _log.exception("a stream failed")
        finally:
            connection.end(status, why, self.reception.hello_seconds)


class _Connection(asyncio.BufferedProtocol):
    """Bytes to messages and back: a `Carrier`."""

    names: Sequence[str] = ()
    """There are no certificates here."""

    def __init__(self, server: FramedServer) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._stream: asyncio.Task[None] | None = None
        self._most = MAX_FIRST_BYTES
        self._head = b""
        """The beginning of a message's frame, if not all five bytes of it are there."""
        self._message: memoryview | None = None
        """Room for one that is not whole yet."""
        self._size = self._have = 0
        """Of that message: bytes in all, and those that are there."""
        self._ready: deque[Buffer] = deque()
        self._given = False
        """Whether a message is being dealt with."""
        self._torn: ProtocolError | None = None
        self._said_all = False
        self._lingers = 0
        """Bytes that are still let come after the end; 0: the stream has not ended."""
        self._paused = False
        self._looks = False
        """Whether it will be looked whether the client is still there."""
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def peer(self) -> str:
        """Who is at the other end, as the kernel says; of another PID namespace, as a pod is, `pid` is 0."""
        pid, uid, _ = _CREDENTIALS.unpack(
            self._transport.get_extra_info("socket").getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
            )
        )
        return f"unix:uid={uid},pid={pid}"

    # ------------------------------------------------------------ for the stream

    async def messages(self) -> AsyncIterator[Buffer]:
        """What the client says. Raises ProtocolError where its bytes are no frames."""
        while True:
            taken = 0
            while self._ready:
                message = self._ready.popleft()
                taken += 1
                if taken % AT_A_TIME == 0:
                    # One read may bring thousands of tiny ones: others have their turn in between.
                    await asyncio.sleep(0)
                if self._paused and self._torn is None and len(self._ready) < READ_AHEAD:
                    self._paused = False
                    self._transport.resume_reading()
                self._given = True
                yield message
                self._given = False
                del message
            if self._torn is not None:
                raise self._torn
            if self._said_all:
                return
            self._news.clear()
            await self._news.wait()

    async def write(self, message: bytes) -> None:
        """Sends a message; waits while the client does not read."""
        self._transport.write(FRAME.pack(MESSAGE, len(message)) + message)
        if not self._writable.is_set():
            await self._writable.wait()

    def holds(self) -> bool:
        """Whether a message is being dealt with, or waits, or is there in part."""
        return self._given or bool(self._ready) or self._message is not None

    def dismiss(self) -> None:
        """Forgets what has been read and reads nothing more. May be repeated."""
        self._ready.clear()
        self._message = None
        self._paused = True
        self._transport.pause_reading()

    def end(self, status: grpc.StatusCode, why: str, patience: float) -> None:
        """Closes the connection with a status, once the client has heard it: one that reads nothing, or goes on talking, is waited
        for so many seconds, or `LINGER_BYTES`."""
        transport = self._transport
        self.dismiss()
        if transport.is_closing():
            return
        transport.write(trailers(status, why))
        if self._said_all:
            transport.close()
        else:
            # Closed at once, its own words that are under way would keep it from reading ours.
            transport.write_eof()
            self._lingers = LINGER_BYTES
            transport.resume_reading()
        self._server.reception.gate.later(patience, transport.abort)

    # ------------------------------------------------------------ for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._stream = self._server.welcome(self)
        if self._stream is None:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
            self._server.farewell(self)

    def abort(self) -> None:
        """Hangs up."""
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.scratch if self._message is None else self._message[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._lingers:
            self._lingers = max(0, self._lingers - nbytes)
            if not self._lingers:
                self._transport.abort()
            return
        if self._message is None:
            self._take(self._server.scratch[:nbytes])
        else:
            self._have += nbytes
            if self._have == self._size:
                self._ready.append(self._message)
                self._message = None
            elif self._have == len(self._message):
                self._message = self._room(self._size, self._message)
        if self._ready or self._torn is not None:
            self._news.set()
        if not self._paused and (len(self._ready) >= READ_AHEAD or self._torn is not None):
            self._paused = True
            self._transport.pause_reading()
            self._server.reception.keeps(nbytes)
            self._look_later()

    def eof_received(self) -> bool:
        """The client says nothing more, and may still be told something; or it is gone."""
        if self._gone():
            self._transport.abort()
            return False
        if self._head or self._message is not None:
            self._torn = ProtocolError("the stream ends in the middle of a message")
        self._said_all = True
        self._news.set()
        self._look_later()
        return not self._lingers

    def _take(self, data: memoryview) -> None:
        """Cuts what was read into messages. Keeps none of `data`, which is read into again."""
        if self._head:
            data = memoryview(self._head + bytes(data))
        at = 0
        while len(data) - at >= FRAME.size:
            flags, size = FRAME.unpack_from(data, at)
            if flags != MESSAGE:
                self._torn = ProtocolError(f"a frame with flags {flags:#04x}; those of a client have 0x00")
                return
            if size > self._most:
                self._torn = ProtocolError(f"a message of {size} bytes; {self._most} are allowed")
                return
            self._most = MAX_MESSAGE_BYTES
            at += FRAME.size
            self._head = b""
            if len(data) - at < size:
                self._message = self._room(min(size, FIRST_ROOM), data[at:])
                self._size, self._have = size, len(data) - at
                return
            self._ready.append(bytes(data[at : at + size]))
            at += size
        self._head = bytes(data[at:])

    def _room(self, size: int, begin: memoryview) -> memoryview:
        """So many bytes, not cleared, behind what has been read of them."""
        self._server.reception.keeps(size)
        room = memoryview(batch.room(size))
        room[: len(begin)] = begin
        return room

    def _gone(self) -> bool:
        looking = select.poll()
        looking.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in looking.poll(0))

    def _look_later(self) -> None:
        if not self._looks:
            self._looks = True
            self._server.reception.gate.later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """While nothing is read, nobody says that the client is gone."""
        self._looks = False
        if self._transport.is_closing() or not (self._paused or self._said_all):
            return
        if self._gone():
            self._transport.abort()
        else:
            self._look_later()
