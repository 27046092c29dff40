"""Python's logging, each record a trace; one with an exception, an exception."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..failures import raised
from . import audience, prints, severity, wording

if TYPE_CHECKING:
    from .reporter import Reporter

OWN = ("collectord.", "collectord_client.")
"""Loggers of ours and those below them: what they say is about this very path."""
HOSTS = ("azmlinfsrv.", "gunicorn.", "uvicorn.", "werkzeug.", "hypercorn.")
"""Loggers of servers. Of what they say below a warning, the requests are told by themselves."""
CUSTOM = "custom_dimensions"
"""What a record carries for us, by `extra`: the name that OpenCensus has for it."""
LOGGER = "Logger"


class _Here(threading.local):
    handling = False
    passing: logging.LogRecord | None = None
    """The record that was told and is with its handlers now."""


_here = _Here()
_hooked: Callable[..., None] | None = None


class Handler(logging.Handler):
    """Hands records to a client. Needs no lock, and so may be entered anywhere."""

    def __init__(self, client: Reporter, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._client = client

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        _tell((self._client,), record)


def capture(client: Reporter, level: int | str) -> None:
    """From now on `client` tells records from `level` on, of all loggers.

    A handler would not do: with one at the root, `logging.basicConfig` would leave it at that, `dictConfig` would take it away,
    and loggers that do not propagate would be missing.
    """
    global _hooked
    # Checks the level, and takes its name as well.
    client._log_level = logging.Handler(level).level
    audience.logs.join(client)
    original = logging.Logger.callHandlers
    if original is _hooked:
        return

    @functools.wraps(original)
    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        clients = audience.logs.clients
        outer = _here.passing
        if not clients or outer is record:
            # With somebody else's function between them, such as an error tracker's, two of ours may stand in a row.
            original(self, record)
            return
        # Where nothing is sent, nothing is looked at.
        _tell([one for one in clients if record.levelno >= one._log_level and one._feed.kinds], record)
        _here.passing = record
        try:
            original(self, record)
        finally:
            _here.passing = outer

    _hooked = call_handlers
    logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign]


def release(client: Reporter) -> None:
    """No more; with the last one, logging is what it was, if it is still ours to say."""
    global _hooked
    audience.logs.leave(client)
    if not audience.logs.clients and _hooked is not None and logging.Logger.callHandlers is _hooked:
        logging.Logger.callHandlers = _hooked.__wrapped__  # type: ignore[method-assign, attr-defined]
        _hooked = None


def _tell(clients: list[Reporter] | tuple[Reporter, ...], record: logging.LogRecord) -> None:
    """Never raises, and tells nothing of what is logged while a record is put into words."""
    name = f"{record.name}."
    if not clients or _here.handling or name.startswith(OWN):
        return
    if record.name == prints.SERVER and audience.prints.clients:
        # It has been told already, or is being told.
        return
    if record.levelno < logging.WARNING and name.startswith(HOSTS):
        return
    _here.handling = True
    try:
        dimensions: dict[str, Any] = {LOGGER: record.name}
        given = getattr(record, CUSTOM, None)
        if isinstance(given, Mapping):
            try:
                dimensions.update(given)
            except Exception as broken:  # noqa: BLE001
                # Somebody's own mapping: the record is told without it.
                dimensions[CUSTOM] = f"(failed with {type(broken).__name__})"
        error = _error(record.exc_info)
        text, grave = wording.of(record), severity.of_level(record.levelno)
        for one in clients:
            one._logged(text, grave, dict(dimensions), error)
    finally:
        _here.handling = False


def _error(info: object) -> BaseException | None:
    """What was raised; `exc_info` may be given by hand, and be anything."""
    error = info[1] if isinstance(info, tuple) and len(info) == 3 else None
    # As its request tells it, so that it is told once.
    return raised(error) if isinstance(error, BaseException) else None
