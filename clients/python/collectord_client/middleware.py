"""Middleware for web frameworks: each HTTP request is a `Request`, with the id that its headers give.

In front of an ASGI application it also sends what is held when the server shuts down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from . import process
from .notices import trace
from .request import Request, of_environ
from .telemetry import exchange

WSGIApp = Callable[..., Iterable[bytes]]
ASGIApp = Callable[..., Awaitable[None]]

REASONS = {status.value: status.phrase for status in HTTPStatus}
HEADERS = (b"x-request-id", b"x-ms-request-id")


class WSGIMiddleware:
    """Wraps a WSGI application: `app = WSGIMiddleware(app)`. Flask needs none."""

    def __init__(self, app: WSGIApp) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = of_environ(environ)
        begun = exchange.of_wsgi(request, environ)
        statuses: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses[:] = [status]
            if exc_info is None:
                return start_response(status, headers)
            request.error = exc_info[1]
            return start_response(status, headers, exc_info)

        try:
            with request:
                body = self.app(environ, start)
        except BaseException:
            if begun is not None:
                begun.end(500)
            raise
        if isinstance(body, (list, tuple)):
            _answered(request, statuses, begun)
            return body
        # A generator has not begun: what it collects belongs to the request too.
        return _Body(body, request, statuses, begun)


class _Body:
    """An application's answer, made piece by piece in its request."""

    def __init__(
        self, body: Iterable[bytes], request: Request, statuses: list[str], begun: exchange.Exchange | None
    ) -> None:
        self._body = body
        self._pieces = iter(body)
        self._request = request
        self._statuses = statuses
        self._begun = begun

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._request:
            return next(self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._request:
                close()
        _answered(self._request, self._statuses, self._begun)


def _answered(request: Request, statuses: list[str], begun: exchange.Exchange | None) -> None:
    for status in statuses:
        text, _, reason = status.partition(" ")
        code = int(text) if text.isdecimal() else 0
        request.answered(code, reason)
        if begun is not None:
            begun.end(code)


class ASGIMiddleware:
    """Wraps an ASGI application, such as one of FastAPI or Starlette: `app.add_middleware(ASGIMiddleware)`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, _Shutdown(send))
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = dict(scope.get("headers") or ())
        status = 0

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        id = next((sent[name].decode("latin-1") for name in HEADERS if sent.get(name)), None)
        trace = sent.get(b"traceparent")
        asked = Request(id, traceparent=None if trace is None else trace.decode("latin-1"))
        begun = exchange.of_asgi(asked, scope, sent)
        try:
            with asked as request:
                await self.app(scope, receive, answer)
                request.answered(status, REASONS.get(status, ""))
        finally:
            if begun is not None:
                begun.end(status or 500)

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
