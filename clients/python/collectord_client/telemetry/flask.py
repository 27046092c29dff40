"""Requests of Flask, and of whatever is made of it, without a change to the application: by the signals that it sends."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ..errors import CollectError
from ..notices import accident
from ..request import Request, listen_to_flask, of_environ
from . import exchange
from .audience import requests

BEGAN = "collectord.began"
"""Where in a request's environment the time of its begin is kept."""
SERVER = "azureml_inference_server_http"
LONGEST = 64 << 10
"""Bytes of an answer that is told."""

_listening = False


def listen() -> None:
    """Listens to Flask; where it is not there yet, once it is imported."""
    global _listening
    if _listening:
        return
    flask = sys.modules.get("flask")
    if flask is not None and hasattr(flask, "signals"):
        _listening = True
        _connect(flask)
    elif not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Looks on when Flask is imported. Finds nothing itself. It has no class above it: that of importlib loads a lot."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "flask":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """The loader that was found, and afterwards us."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        listen()


def _connect(flask: Any) -> None:
    signals = flask.signals
    if not getattr(signals, "signals_available", True):
        return
    listen_to_flask(flask)
    signals.request_started.connect(_started, weak=False)
    signals.request_finished.connect(_finished, weak=False)
    signals.request_tearing_down.connect(_torn_down, weak=False)


Receiver = Callable[..., None]


def _harmless(receiver: Receiver) -> Receiver:
    """What a receiver raises would become the answer."""

    @functools.wraps(receiver)
    def look(*given: Any, **named: Any) -> None:
        try:
            receiver(*given, **named)
        except CollectError:
            # A strict client's.
            raise
        except Exception as error:  # noqa: BLE001
            accident(error)

    return look


@_harmless
def _started(_sender: object, **_: object) -> None:
    """Before the application has seen it: it may still give it an id."""
    if requests.clients:
        sys.modules["flask"].request.environ[BEGAN] = (time.time_ns(), time.perf_counter_ns())


@_harmless
def _finished(_sender: object, response: Any, **_: object) -> None:
    found = _exchange()
    if found is not None:
        if any(one._tells_responses for one in found.listeners):
            found.value = _value(response)
        found.end(response.status_code)


@_harmless
def _torn_down(_sender: object, **_: object) -> None:
    """Where an exception was let through, there was no answer."""
    environ = sys.modules["flask"].request.environ
    if BEGAN in environ and (found := _exchange()) is not None:
        found.end(500)


def _exchange() -> exchange.Exchange | None:
    """Of the request that Flask is working on, if it is told here."""
    flask = sys.modules["flask"]
    asked = flask.request
    began = asked.environ.pop(BEGAN, None)
    if began is None or (SERVER in sys.modules and asked.path == "/"):
        # The server leaves out the probes of its health too.
        return None
    request: Request = of_environ(asked.environ, flask.g.get("request_id"))
    client = flask.g.get("client_request_id") or asked.headers.get(exchange.CLIENT_REQUEST_ID)
    made = exchange.begin(request, asked.method, asked.path, asked.base_url, client)
    if made is not None:
        made.since(began)
    return made


def _value(response: Any) -> object:
    """The body, if it is there and is text."""
    if response.is_streamed or response.direct_passthrough:
        return None
    body = response.get_data()
    try:
        return body[:LONGEST].decode() if len(body) <= LONGEST else f"({len(body)} bytes)"
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"
