"""The request that is being scored: what is collected in it belongs together, whatever thread or task it runs on.

A host says so with a `Request`, or through the middleware. Flask is asked without being told, because that is what the
inference server of Azure ML is made of. Flask is looked up among what the host has loaded; it is not imported.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import CollectError
from .failures import is_failure, store
from .ids import NIL, parse_id, show_id
from .notices import say, trace

if TYPE_CHECKING:
    from .context import Context
    from .recipe import Trial
    from .telemetry.exchange import Exchange
    from .telemetry.operation import Operation

ENVIRON_KEY = "collectord.request"
"""Where in a WSGI environment the request is kept: it ends with the environment."""


class Request:
    """One request, for as long as a `with` statement takes: inputs and predictions that are collected meanwhile, here or
    in threads and tasks that were given this context, find each other, and nothing of an earlier request.

    `request_id` becomes the `$aml_request_id` of its rows, unless a call names another. One that cannot be used (over
    1,024 bytes, not Unicode) is left out: a client's header must not cost a row. `traceparent` is the header of that name, by
    which a caller says what trace its request belongs to.
    """

    __slots__ = ("error", "exchange", "id", "inputs", "operation", "told", "trials")

    def __init__(self, request_id: str | int | uuid.UUID | None = None, *, traceparent: str | None = None) -> None:
        self.id = _usable(request_id)
        """As the wire has it; None where the request has none."""
        self.inputs: dict[object, Context] = {}
        """The last inputs of each model."""
        self.trials: dict[object, Trial] = {}
        """What a capture recipe makes of it, for each model."""
        self.error: BaseException | None = None
        """What went wrong, where the host has seen it and answers for it later."""
        self.operation: Operation | None = None
        """What the events of this request belong to, once that is known."""
        self.exchange: Exchange | None = None
        """What will be told of it when it is answered, where somebody wants to know."""
        self.told: BaseException | None = None
        """The exception that was told last."""
        if traceparent is not None:
            # It knows requests itself.
            from .telemetry.operation import called

            called(self, traceparent)
        if _listener is not None:
            _listener.known(self, None)

    def __enter__(self) -> Request:
        _current.set((self, _current.get()))
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None and is_failure(error):
                self.failed(error)
        finally:
            # A strict client may raise.
            entered = _current.get()
            _current.set(None if entered is None else entered[1])

    def _mount(self) -> bool:
        """Whether the WSGI application that is called in it now works on the same request."""
        return False

    def answered(self, status: int, reason: str = "") -> None:
        """The host answers with this HTTP status: from 500 on the request has failed."""
        if status >= 500:
            self.failed(self.error or f"HTTP {status}: {reason}")

    def failed(self, error: BaseException | str) -> None:
        """Stores the error for the inputs of each model that has made no prediction of them; see `Client.failed`.

        Only what a request collected can be said to have failed: one that broke before its inputs leaves nothing.
        """
        for trial in list(self.trials.values()):
            trial.fail()
        for pending, context in list(self.inputs.items()):
            if not context._taken:
                store(pending, error, context)
        if _listener is not None and isinstance(error, BaseException):
            _listener.failed(self, error)


class Listener(NamedTuple):
    """Whoever wants to know of requests. Returns at once, and does not raise."""

    known: Callable[[Request, dict[str, Any] | None], None]
    """One has come up, with its WSGI environment where it has one."""
    failed: Callable[[Request, BaseException], None]


_listener: Listener | None = None


def listen_by(listener: Listener) -> None:
    """From now on `listener` is told, in all of the process."""
    global _listener
    _listener = listener


Entered = tuple[Request, Any]
"""A request, and what there was when it was entered. On each thread or task for itself: one request may be entered on
several at once."""

_current: contextvars.ContextVar[Entered | None] = contextvars.ContextVar("collectord_request", default=None)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What is entered meanwhile does not keep what was entered before.

    uvicorn begins a request in the context of an earlier one on its connection, of which one that lives for days would
    otherwise keep all.
    """
    before = _current.get()
    _current.set(None)
    try:
        yield
    finally:
        _current.set(before)


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
    entered = _current.get()
    if not isinstance(found, Request) and entered is not None and entered[0]._mount():
        found = environ[ENVIRON_KEY] = entered[0]
    if not isinstance(found, Request):
        for id in (
            request_id,
            # The inference server for Azure ML up to 0.4 sets it; the others are what clients and gateways send.
            environ.get("REQUEST_ID"),
            environ.get("HTTP_X_REQUEST_ID"),
            environ.get("HTTP_X_MS_REQUEST_ID"),
        ):
            usable = _usable(id)
            if usable is not None:
                break
        found = Request(show_id(usable) if usable is not None else None, traceparent=environ.get("HTTP_TRACEPARENT"))
        environ[ENVIRON_KEY] = found
        if _listener is not None:
            _listener.known(found, environ)
    assert isinstance(found, Request)
    return found


def _of_flask(flask: Any) -> Request | None:
    try:
        if not flask.has_request_context():
            return None
        environ = flask.request.environ
        found = environ.get(ENVIRON_KEY)
        if found is None and not _listening:
            _listen(flask)
        # The inference server for Azure ML keeps the id there, since 0.8.
        return found if found is not None else of_environ(environ, flask.g.get("request_id"))
    except Exception as error:  # noqa: BLE001
        # A module that is half imported, or another of that name: the rows are collected without a request.
        say(logging.WARNING, "flask", "Flask could not be asked for its request: %s", type(error).__name__)
        trace(error)
        return None


_listening: list[Any] = []
"""Flask, once it tells how its requests end."""


def listen_to_flask(flask: Any) -> None:
    """The same, before anything was collected."""
    if not _listening:
        _listen(flask)


def _listen(flask: Any) -> None:
    """Asks Flask to tell of errors and answers. They are only looked at; a Flask without signals is left alone."""
    signals = getattr(flask, "signals", None)
    # Before 2.3 they need a package that need not be there.
    if signals is not None and getattr(signals, "signals_available", True):
        signals.got_request_exception.connect(_flask_error, weak=False)
        signals.request_finished.connect(_flask_answer, weak=False)
    _listening.append(flask)
    if "azureml_inference_server_http" in sys.modules:
        # It keeps to itself what a script raised, but for a line of its log.
        logging.getLogger("azmlinfsrv").addFilter(_server_error)


def _flask_error(_sender: object, exception: BaseException, **_: object) -> None:
    """An error that nobody handles."""
    found = _known()
    if found is not None and is_failure(exception):
        found.failed(exception)


def _flask_answer(_sender: object, response: Any, **_: object) -> None:
    found = _known()
    if found is not None:
        found.answered(response.status_code, response.status.partition(" ")[2])


def _server_error(record: logging.LogRecord) -> bool:
    """Remembers what the inference server is about to log, where it has caught an error. Lets every record pass."""
    error = sys.exc_info()[1]
    if record.levelno >= logging.ERROR and error is not None and (found := _known()) is not None:
        found.error = error
    return True


def _known() -> Request | None:
    """The request of Flask, if anything was collected in it, or somebody listens."""
    flask = _listening[0]
    if not flask.has_request_context():
        return None
    if _listener is not None:
        return of_environ(flask.request.environ, flask.g.get("request_id"))
    found = flask.request.environ.get(ENVIRON_KEY)
    return found if isinstance(found, Request) else None


def _usable(id: object) -> bytes | str | None:
    if id is None or id == "":
        return None
    try:
        found = parse_id(id)
    except CollectError as error:
        say(logging.WARNING, "request_id", "a request's id is left out: %s", error)
        return None
    return None if found == NIL else found
