"""The HTTP side of the v2 door: `POST /modeldata/log`, with aiohttp's low-level server.

Whoever connects and says nothing, or slowly, holds a connection and no more, and not for long.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from collectord.ingest.mdc import BUSY, PATH, Answer, MdcDoor
from collectord.logs import event

HEADER_SECONDS = 10.0
"""For the first headers of a connection to arrive."""
SWEEP_SECONDS = 1.0
"""How often it is looked for connections whose headers have not."""
IDLE_SECONDS = 60.0
"""Between the requests of a connection."""
LINGER_SECONDS = 2.0
"""For a body that is not wanted to end, so that its sender reads the answer."""
HEADER_BYTES = 8190
"""Of one header, its name included."""
MAX_HEADERS = 128

_log = logging.getLogger("collectord.ingest")


class MdcServer:
    """Listens from `start` to `close`. Belongs to the event loop."""

    def __init__(self, door: MdcDoor, most_connections: int = 512, wall: Callable[[], float] = time.time) -> None:
        """One more of these is answered 503 and hung up on. `wall` is seconds since 1970."""
        self._door = door
        self._wall = wall
        self._most_connections = most_connections
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(
            self._handle, access_log=None, auto_decompress=False, keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS, max_field_size=HEADER_BYTES, max_headers=MAX_HEADERS,
            logger=_Failures(lambda status: door.tell(Answer(status, ""))),
        )  # fmt: skip
        self._silent: dict[asyncio.BaseProtocol, float] = {}
        """Connections that have not asked for anything yet, the oldest first, and since when."""
        self._sweep_at: asyncio.TimerHandle | None = None
        self._tls: Callable[[], ssl.SSLContext] | None = None
        self._handshakes: set[_Handshake] = set()

    async def start(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """`tls` is asked for each connection. Raises OSError if the address cannot be bound."""
        self._tls = tls
        self._listener = await self._loop.create_server(self._connect if tls is None else self._begin, host, port)
        event(_log, logging.INFO, "listening for payloads of the v2 SDK", address=f"{host}:{self.port}")

    @property
    def port(self) -> int:
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    @property
    def silent(self) -> int:
        """Those that have not asked for anything, as of the last look at them."""
        return len(self._silent)

    async def close(self, patience: float) -> None:
        """Nobody new is let in; what is under way is answered, for so many seconds."""
        self._listener.close()
        if self._sweep_at is not None:
            self._sweep_at.cancel()
        self._server.pre_shutdown()
        await self._server.shutdown(patience)
        self._door.close()

    def refuse(self) -> None:
        """One more is turned away."""
        self._door.tell(BUSY)

    @property
    def full(self) -> bool:
        return self.connections + len(self._handshakes) >= self._most_connections

    def _begin(self) -> asyncio.BaseProtocol:
        return _Handshake(self)

    async def secure(self, transport: asyncio.Transport, handshake: _Handshake) -> None:
        """Makes a connection one over TLS, unless that fails; then there is nobody to answer."""
        assert self._tls is not None
        self._handshakes.add(handshake)
        try:
            secured = await self._loop.start_tls(
                transport, handshake, self._tls(), server_side=True, ssl_handshake_timeout=HEADER_SECONDS
            )
        except (OSError, EOFError) as error:
            transport.abort()
            self._door.no_tls()
            event(_log, logging.WARNING, "a connection to the v2 door got no TLS", why=type(error).__name__)
            return
        finally:
            self._handshakes.discard(handshake)
        if secured is None:
            return
        if self._has_expired(secured):
            secured.abort()
            self._door.no_tls()
            event(_log, logging.WARNING, "a connection to the v2 door got no TLS", why="the certificate has expired")
            return
        handshake.hand_over(secured, self._connect())

    def _has_expired(self, secured: asyncio.Transport) -> bool:
        """Whether the sender's certificate is of no use any more. In TLS 1.2 a session from before is taken up without a look at it, and
        Python has no way to forbid that."""
        until = (secured.get_extra_info("peercert") or {}).get("notAfter")
        return until is not None and ssl.cert_time_to_seconds(until) < self._wall()

    def _connect(self) -> asyncio.BaseProtocol:
        if self.full:
            self.refuse()
            return _Full()
        protocol = self._server()
        self._silent[protocol] = self._loop.time()
        if self._sweep_at is None:
            self._sweep_at = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return protocol

    def _sweep(self) -> None:
        """Hangs up on whoever has been silent for too long, and forgets who has gone."""
        before, here = self._loop.time() - HEADER_SECONDS, self._server.connections
        late = [protocol for protocol in here if self._silent.get(protocol, before + 1) <= before]
        for protocol in late:
            protocol.force_close()
        self._silent = {protocol: self._silent[protocol] for protocol in here if protocol in self._silent}
        for protocol in late:
            del self._silent[protocol]
        self._sweep_at = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._silent else None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._silent.pop(request.protocol, None)
        if request.path != PATH:
            return self._say(request, Answer(404, f"there is only POST {PATH}"))
        if request.method != "POST":
            return self._say(request, Answer(405, f"{PATH} takes POST"), {"Allow": "POST"})
        certificate = () if self._tls is None else _names(request)
        answer = await self._door.answer(request.headers, request.content_length, _Body(request), certificate)
        return _response(request, answer, {"WWW-Authenticate": "Bearer"} if answer.status == 401 else None)

    def _say(
        self, request: web.BaseRequest, answer: Answer, headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        self._door.tell(answer)
        return _response(request, answer, headers)


class _Handshake(asyncio.Protocol):
    """A connection until TLS stands. Counted with the others, and refused without a word where there are too many: one would
    need the handshake."""

    def __init__(self, server: MdcServer) -> None:
        self._server = server
        self._held: list[bytes] = []
        """What came right behind the handshake."""
        self._gone = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._server.full:
            self._server.refuse()
            transport.abort()
            return
        transport.pause_reading()
        self._task = asyncio.ensure_future(self._server.secure(transport, self))

    def data_received(self, data: bytes) -> None:
        self._held.append(data)

    def connection_lost(self, why: Exception | None) -> None:
        self._gone = True

    def hand_over(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """From now on `protocol` hears what comes."""
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        assert isinstance(protocol, asyncio.Protocol)
        for data in self._held:
            protocol.data_received(data)
        if self._gone:
            protocol.connection_lost(None)


class _Full(asyncio.Protocol):
    """Tells whoever connects that there are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        text = f"{BUSY.text}\n"
        transport.write(
            f"HTTP/1.1 {BUSY.status} Service Unavailable\r\nRetry-After: {BUSY.retry_after}\r\nConnection: close\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
        )
        transport.close()


class _Failures:
    """What aiohttp logs, as far as a server's errors go, each of which is an answer of its own.

    Of a request that is no HTTP it would log a traceback, however many come, with the bytes that it stumbled over: they may
    be of a body or an id.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        """`tell` hears the status of each answer."""
        self._tell = tell

    def debug(self, message: str, *values: object, exc_info: BaseException) -> None:
        self.exception(message, *values, exc_info=exc_info)

    def exception(self, message: str, *values: object, exc_info: BaseException) -> None:
        if isinstance(exc_info, HttpProcessingError):
            self._tell(400)
            event(_log, logging.WARNING, "what came to the v2 door is no HTTP", error=type(exc_info).__name__)
        else:
            self._tell(500)
            _log.error(message, *values, exc_info=exc_info)


class _Body:
    """The body of a request, as a `Source`."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    def arrived(self) -> bytes | None:
        content = self._request.content
        return content.read_nowait() if content.is_eof() and content.exception() is None else None

    async def receive(self, most: int) -> bytes | bytearray | None:
        request = self._request
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        try:
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    return None
        except (web.RequestPayloadError, ConnectionError):
            raise ConnectionError("the body was cut short") from None
        return body


def _names(request: web.BaseRequest) -> tuple[str, ...]:
    """The names in the certificate of a sender."""
    found = request.get_extra_info("peercert") or {}
    common = (value for part in found.get("subject", ()) for name, value in part if name == "commonName")
    return tuple(dict.fromkeys((*(name for _, name in found.get("subjectAltName", ())), *common)))


def _response(request: web.BaseRequest, answer: Answer, headers: dict[str, str] | None = None) -> web.StreamResponse:
    more = {"Retry-After": str(answer.retry_after)} if answer.retry_after else {}
    response = web.Response(status=answer.status, text=f"{answer.text}\n" if answer.text else None, headers={**(headers or {}), **more})  # fmt: skip
    if not request.content.at_eof():
        response.force_close()
    return response
