"""The request that is being scored: what is collected in it belongs together, whatever thread or task it runs on.

A host says so with a `Request`, or through the middleware. Flask is asked without being told, because that is what the
inference server of Azure ML is made of. Flask is looked up among what the host has loaded; it is not imported.
"""

from __future__ import annotations

import contextvars
import logging
import sys
import uuid
from typing import TYPE_CHECKING, Any

from .errors import CollectError
from .ids import NIL, parse_id
from .notices import say, trace

if TYPE_CHECKING:
    from .context import Context

ENVIRON_KEY = "collectord.request"
"""Where in a WSGI environment the request is kept: it ends with the environment."""


class Request:
    """One request, for as long as a `with` statement takes: inputs and predictions that are collected meanwhile, here or
    in threads and tasks that were given this context, find each other, and nothing of an earlier request.

    `request_id` becomes the `$aml_request_id` of its rows, unless a call names another. One that cannot be used (over
    1,024 bytes, not Unicode) is left out: a client's header must not cost a row.
    """

    __slots__ = ("id", "inputs")

    def __init__(self, request_id: str | int | uuid.UUID | None = None) -> None:
        self.id = _usable(request_id)
        """As the wire has it; None where the request has none."""
        self.inputs: dict[object, Context] = {}
        """The last inputs of each model."""

    def __enter__(self) -> Request:
        _current.set((self, _current.get()))
        return self

    def __exit__(self, *_: object) -> None:
        entered = _current.get()
        _current.set(None if entered is None else entered[1])


Entered = tuple[Request, Any]
"""A request, and what there was when it was entered. On each thread or task for itself: one request may be entered on
several at once."""

_current: contextvars.ContextVar[Entered | None] = contextvars.ContextVar("collectord_request", default=None)


def current() -> Request | None:
    """The request that this thread or task is working on; None where nobody can tell."""
    entered = _current.get()
    if entered is not None:
        return entered[0]
    flask = sys.modules.get("flask")
    return None if flask is None else _of_flask(flask)


def of_environ(environ: dict[str, Any], request_id: object = None) -> Request:
    """The request of a WSGI environment, made if need be; `request_id` is its id where the host knows better."""
    found = environ.get(ENVIRON_KEY)
    if not isinstance(found, Request):
        for id in (
            request_id,
            # The inference server for Azure ML up to 0.4 sets it; the others are what clients and gateways send.
            environ.get("REQUEST_ID"),
            environ.get("HTTP_X_REQUEST_ID"),
            environ.get("HTTP_X_MS_REQUEST_ID"),
        ):
            found = Request(id)  # type: ignore[arg-type]
            if found.id is not None:
                break
        environ[ENVIRON_KEY] = found
    assert isinstance(found, Request)
    return found


def _of_flask(flask: Any) -> Request | None:
    try:
        if not flask.has_request_context():
            return None
        environ = flask.request.environ
        found = environ.get(ENVIRON_KEY)
        # The inference server for Azure ML keeps the id there, since 0.8.
        return found if found is not None else of_environ(environ, flask.g.get("request_id"))
    except Exception as error:  # noqa: BLE001
        # A module that is half imported, or another of that name: the rows are collected without a request.
        say(logging.WARNING, "flask", "Flask could not be asked for its request: %s", type(error).__name__)
        trace(error)
        return None


def _usable(id: object) -> bytes | str | None:
    if id is None or id == "":
        return None
    try:
        found = parse_id(id)
    except CollectError as error:
        say(logging.WARNING, "request_id", "a request's id is left out: %s", error)
        return None
    return None if found == NIL else found
