"""Middleware for web frameworks: each HTTP request is a `Request`, with the id that its headers give.

In front of an ASGI application it also sends what is held when the server shuts down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sized
from http import HTTPStatus
from typing import Any

from . import process
from .failures import is_failure
from .notices import trace
from .request import Request, apart, of_environ
from .telemetry import exchange

WSGIApp = Callable[..., Iterable[bytes]]
ASGIApp = Callable[..., Awaitable[None]]

REASONS = {status.value: status.phrase for status in HTTPStatus}
HEADERS = (b"x-request-id", b"x-ms-request-id")
SCOPE_KEY = "collectord.request"
"""Where in an ASGI scope the request is kept: also for a middleware of an application that is mounted in another."""


class WSGIMiddleware:
    """Wraps a WSGI application: `app = WSGIMiddleware(app)`. Flask needs none."""

    def __init__(self, app: WSGIApp) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = of_environ(environ)
        begun = exchange.of_wsgi(request, environ)
        statuses: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            if exc_info is None:
                write = start_response(status, headers)
            else:
                request.error = exc_info[1]
                # Raises it where the caller has the status from before.
                write = start_response(status, headers, exc_info)
            statuses[:] = [status]
            return write

        try:
            with request:
                body = self.app(environ, start)
        except BaseException:
            if begun is not None:
                begun.end(500)
            raise
        if isinstance(body, (list, tuple)) or _is_file(body, environ.get("wsgi.file_wrapper")):
            _answered(request, statuses, begun)
            return body
        # A generator has not begun: what it collects belongs to the request too.
        kind = _SizedBody if isinstance(body, Sized) else _Body
        return kind(body, request, statuses, begun)


def _is_file(body: Iterable[bytes], wrapper: object) -> bool:
    """Whether a server may send the body by means of its own, by which it has to know it: nothing is collected in a file.

    Where the wrapper is a function, as uWSGI's, it may hand back the file itself.
    """
    return (isinstance(wrapper, type) and isinstance(body, wrapper)) or hasattr(body, "read")


class _Body:
    """An application's answer, made piece by piece in its request."""

    def __init__(
        self, body: Iterable[bytes], request: Request, statuses: list[str], begun: exchange.Exchange | None
    ) -> None:
        self._body = body
        self._pieces: Iterator[bytes] | None = None
        self._sent = False
        self._request = request
        self._statuses = statuses
        self._begun = begun

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            with self._request:
                if self._pieces is None:
                    # Not before the server asks: what goes wrong in it, it answers for, and closes the body.
                    self._pieces = iter(self._body)
                piece = next(self._pieces)
        except Exception as error:
            if self._begun is not None and is_failure(error):
                # Until something was sent, the server answers with an error, whatever the application meant to.
                self._begun.end(_code(self._statuses[0]) if self._sent and self._statuses else 500, False)
            raise
        self._sent = self._sent or bool(piece)
        return piece

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                with self._request:
                    close()
        finally:
            _answered(self._request, self._statuses, self._begun)


class _SizedBody(_Body):
    """One that knows how many pieces it has: servers tell the length of the answer from it. gevent goes through it twice."""

    def __iter__(self) -> Iterator[bytes]:
        return _Body(self._body, self._request, self._statuses, self._begun)

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def _answered(request: Request, statuses: list[str], begun: exchange.Exchange | None) -> None:
    for status in statuses:
        code = _code(status)
        request.answered(code, status.partition(" ")[2])
        if begun is not None:
            begun.end(code)


def _code(status: str) -> int:
    text = status.partition(" ")[0]
    return int(text) if text.isdecimal() else 0


class _Asked(Request):
    """A request of ASGI. What serves a WSGI application within one, as Starlette's `WSGIMiddleware` and a2wsgi, makes an
    environment for it that knows nothing of us. The first such is that; what calls several has one request for each of the others."""

    __slots__ = ("_mounted",)

    def __init__(self, id: str | None, *, traceparent: str | None) -> None:
        super().__init__(id, traceparent=traceparent)
        self._mounted = False

    def _mount(self) -> bool:
        first, self._mounted = not self._mounted, True
        return first


class ASGIMiddleware:
    """Wraps an ASGI application, such as one of FastAPI or Starlette: `app.add_middleware(ASGIMiddleware)`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, _Shutdown(send))
            return
        if scope["type"] != "http" or SCOPE_KEY in scope:
            await self.app(scope, receive, send)
            return
        sent = dict(scope.get("headers") or ())
        status, trailing = 0, False

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status, trailing
            kind = message["type"]
            if kind == "http.response.start":
                status, trailing = message["status"], message.get("trailers", False)
            await send(message)
            if begun is None or message.get("more_body") or message.get("more_trailers"):
                return
            if kind == "http.response.trailers" or (kind == "http.response.body" and not trailing):
                # Frameworks run their background tasks before they return: the caller has its answer now.
                begun.end(status)

        id = next((sent[name].decode("latin-1") for name in HEADERS if sent.get(name)), None)
        trace = sent.get(b"traceparent")
        asked = _Asked(id, traceparent=None if trace is None else trace.decode("latin-1"))
        begun = exchange.of_asgi(asked, scope, sent)
        scope[SCOPE_KEY] = asked
        failed = False
        try:
            with apart(), asked as request:
                await self.app(scope, receive, answer)
                request.answered(status, REASONS.get(status, ""))
        except Exception as error:
            failed = is_failure(error)
            raise
        finally:
            if begun is not None:
                begun.end(status or 500, False if failed else None)

    async def _live(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The application's life; for one that has none, such as Django's, that of this middleware: else a server that ends by its
        signal would take along what is held."""
        living = False

        async def hear() -> Any:
            nonlocal living
            living = True
            return await receive()

        async def say(message: dict[str, Any]) -> None:
            nonlocal living
            living = True
            await send(message)

        try:
            await self.app(scope, hear, say)
        except Exception as error:
            if living:
                raise
            # How an application says that it has none.
            trace(error)
        ended = living
        while not ended:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            ended = kind == "lifespan.shutdown"


class _Shutdown:
    """Looks at what an application tells of its life.

    When it has shut down, no request is under way any more. uvicorn then ends by the signal that it got, without running
    exit handlers.
    """

    def __init__(self, send: ASGIApp) -> None:
        self._send = send

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            process.settle()
        await self._send(message)
