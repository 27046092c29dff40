"""A request and its answer, told when the answer is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from ..failures import raised
from ..notices import accident
from ..request import Listener, Request, listen_by
from . import operation
from .audience import requests

if TYPE_CHECKING:
    from .reporter import Reporter

MILLION = 1_000_000
CLIENT_REQUEST_ID = "x-ms-client-request-id"
METHOD = "HTTP Method"


class Exchange:
    """From the begin of a request to its answer. Ends once."""

    __slots__ = ("_tick", "began", "dimensions", "ended", "listeners", "name", "operation", "url", "value")

    def __init__(self, request: Request, listeners: Sequence[Reporter], name: str, url: str | None) -> None:
        self.began, self._tick = time.time_ns(), time.perf_counter_ns()
        self.listeners = listeners
        self.operation = operation.of(request)
        self.operation.name = self.name = name
        self.url = url
        self.value: Any = None
        """What was answered, where that is wanted."""
        self.dimensions: Mapping[str, Any] = {}
        self.ended = False

    def since(self, moment: tuple[int, int]) -> None:
        """It began earlier than it was known: at this time, and this tick of the clock that nobody sets."""
        self.began, self._tick = moment

    def end(self, code: int | str, success: bool | None = None) -> None:
        """The answer has this result; below 400 it is a success."""
        if self.ended:
            return
        self.ended = True
        took = (time.perf_counter_ns() - self._tick) / MILLION
        if success is None:
            status = status_of(code)
            success = status is None or 0 < status < 400
        for one in self.listeners:
            one._requested(self, took, code, success)


def status_of(code: object) -> int | None:
    """The number that a result is, also as a text or one of numpy's; None: it is another text, or anything else."""
    try:
        return int(code) if isinstance(code, str) and code.isdecimal() else index(code)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001
        # Too long a text, or an object of the caller's that fails.
        return None


def begin(request: Request, method: str, path: str, url: str | None, client_request_id: str | None) -> Exchange | None:
    """The exchange of a host's request; None where it is known already, or nobody listens."""
    if not requests.clients or request.exchange is not None:
        return None
    made = request.exchange = Exchange(request, requests.clients, f"{method} {path}", url)
    made.dimensions = {METHOD: method}
    made.operation.client_request_id = client_request_id or None
    return made


def of_wsgi(request: Request, environ: Mapping[str, Any]) -> Exchange | None:
    """That of a WSGI environment."""
    if not requests.clients:
        return None
    try:
        return _of_wsgi(request, environ)
    except Exception as error:  # noqa: BLE001
        # Of what a server hands over, nothing is certain, and the request goes on.
        accident(error)
        return None


def _of_wsgi(request: Request, environ: Mapping[str, Any]) -> Exchange | None:
    path = _path(environ)
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
    url = f"{environ.get('wsgi.url_scheme', 'http')}://{host}{path}"
    client = environ.get("HTTP_X_MS_CLIENT_REQUEST_ID")
    return begin(request, environ.get("REQUEST_METHOD", ""), path, url, client)


def _path(environ: Mapping[str, Any]) -> str:
    path = str(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
    try:
        # PEP 3333: its bytes, each as a character.
        return path.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return path


def of_asgi(request: Request, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Exchange | None:
    """That of an ASGI scope."""
    if not requests.clients:
        return None
    try:
        return _of_asgi(request, scope, headers)
    except Exception as error:  # noqa: BLE001
        accident(error)
        return None


def _of_asgi(request: Request, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Exchange | None:
    path = scope.get("path", "")
    server = scope.get("server") or ("", None)
    host = headers.get(b"host", str(server[0]).encode()).decode("latin-1")
    client = headers.get(CLIENT_REQUEST_ID.encode(), b"").decode("latin-1")
    return begin(request, scope.get("method", ""), path, f"{scope.get('scheme', 'http')}://{host}{path}", client)


def _known(request: Request, environ: Mapping[str, Any] | None) -> None:
    """A request comes up: where somebody listens, it has an id from the beginning, and what is told in it a name."""
    if requests.clients:
        found = operation.of(request)
        if environ is not None:
            found.name = f"{environ.get('REQUEST_METHOD', '')} {_path(environ)}"
            found.client_request_id = environ.get("HTTP_X_MS_CLIENT_REQUEST_ID")


def _failed(request: Request, error: BaseException) -> None:
    """What went wrong in a request is told once."""
    error = raised(error)
    if request.told is error:
        return
    request.told = error
    for one in requests.clients if request.exchange is None else request.exchange.listeners:
        one._failed(request, error)


def listen() -> None:
    """Has requests tell of themselves."""
    listen_by(Listener(_known, _failed))
