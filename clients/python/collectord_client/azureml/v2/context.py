"""The correlation contexts of the v2 SDK: what scripts make, pass on and read, and what it means to a client."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ... import process
from ...context import Context, Recalled, recalled
from ...errors import CollectError
from ...ids import LAST_TIME, parse_id, show_id
from ...request import Request, current
from ...values import nanoseconds

SECOND = 1_000_000_000
FIRST_NANOSECONDS = 10**17
"""Whole numbers from here on are nanoseconds (since 1973); those below are seconds, as the v2 SDK has them."""
REQUEST_HEADERS = ("x-request-id", "x-ms-request-id")


class CorrelationContext:
    """What all contexts have."""

    def get_id(self) -> str:
        return ""

    def __str__(self) -> str:
        return str(self.get_id())

    def __repr__(self) -> str:
        return self.__str__()


class BasicCorrelationContext(CorrelationContext):
    """The id, time and headers of one request: hand it to each `collect` of that request.

    Without an id it gets a new one, without a timestamp the present. `timestamp` is in whole seconds, as it was; the rows
    carry `time_ns`. A fraction, a datetime, and whole nanoseconds are taken as well.
    """

    def __init__(
        self,
        id: Any = None,
        timestamp: float | datetime.datetime | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        given = _nanoseconds(timestamp) if timestamp else None
        self.time_ns = time.time_ns() if given is None else given
        """Nanoseconds since 1970."""
        self.id: Any = id if id else str(show_id(process.ids.make(self.time_ns)))
        self.timestamp: Any = self.time_ns // SECOND if given is not None or not timestamp else timestamp
        self.headers: dict[str, Any] = headers if headers else {}
        self._known: tuple[Any, Any, Context] | None = None
        """The client's context of what was collected with it, and the id and timestamp it had then."""

    def get_id(self) -> Any:
        return self.id

    def get_timestamp(self) -> Any:
        return self.timestamp

    def get_headers(self) -> dict[str, Any]:
        return self.headers


class WrapperContext(CorrelationContext):
    """What `collect` returns in debug mode: the context, and what became of the rows."""

    def __init__(self, correlation_context: Any, success: bool, message: str) -> None:
        self._context = correlation_context
        self._success = success
        self._message = message

    def get_id(self) -> Any:
        return self._context.get_id()

    def get_timestamp(self) -> Any:
        return self._context.get_timestamp()

    def get_headers(self) -> Any:
        return self._context.get_headers()

    # The v2 SDK's wrapper lacks these, so that a script which reads them fails in debug mode only.
    id = property(get_id)
    timestamp = property(get_timestamp)
    headers = property(get_headers)

    def is_success(self) -> bool:
        return self._success

    def get_message(self) -> str:
        return self._message


def get_context() -> BasicCorrelationContext:
    """A new one."""
    return BasicCorrelationContext()


def get_context_wrapper(context: Any, success: bool, message: str) -> WrapperContext:
    """`context` with what became of its rows."""
    return WrapperContext(context, success, message)


def unwrap(given: Any) -> Any:
    """The context in a wrapper of ours."""
    while isinstance(given, WrapperContext):
        given = given._context
    return given


def of(context: Context) -> BasicCorrelationContext:
    """A client's context, as scripts see it."""
    made = BasicCorrelationContext.__new__(BasicCorrelationContext)
    made.id = str(show_id(context._id))
    made.time_ns, made.timestamp = context.time_ns, context.time_ns // SECOND
    made.headers = {}
    made._known = made.id, made.timestamp, context
    return made


def remember(given: Any, made: Context) -> None:
    """Keeps the client's context in one of ours: it knows how many rows the request has, those that were collected first."""
    if isinstance(given, BasicCorrelationContext) and (given._known is None or not given._known[2]._request_rows):
        given._known = given.id, given.timestamp, made


def read(given: Any) -> tuple[Context, list[str]]:
    """The client's context of one that `collect` was given, whoever made it, and what was doubtful.

    An id alone will do, and a client's own context. A time that somebody has set later counts. Raises CollectError `bad_id`.
    """
    if isinstance(given, Context):
        return given, []
    if isinstance(given, BasicCorrelationContext) and given._known is not None:
        id, timestamp, context = given._known
        if id == given.id and timestamp == given.timestamp:
            return context, []
    asked = current()
    if isinstance(given, (str, int, uuid.UUID)):
        return _recalled(parse_id(given), None, None if asked is None else asked.id)
    if not hasattr(given, "get_id"):
        raise CollectError("bad_id", f"a {type(given).__name__} is no correlation context")
    id = given.get_id()
    when = given.get_timestamp() if hasattr(given, "get_timestamp") else None
    headers = given.get_headers() if hasattr(given, "get_headers") else None
    request = _request_of(headers) if asked is None or asked.id is None else asked.id
    if id is None or id == "":
        # As with CorrelationContext itself.
        now = time.time_ns()
        return Recalled(process.ids.make(now), now, request), ["uncorrelated"]
    if isinstance(given, BasicCorrelationContext) and when == given.time_ns // SECOND:
        return Context(parse_id(id), given.time_ns, 0, request), []
    return _recalled(parse_id(id), when, request)


def _recalled(id: bytes | str, when: Any, request: bytes | str | None) -> tuple[Recalled, list[str]]:
    found, undated = recalled(id, _nanoseconds(when) if when else None, request)
    return found, ["undated"] if undated and when else []


def _nanoseconds(when: Any) -> int | None:
    """A timestamp in nanoseconds since 1970; None for what is none."""
    if isinstance(when, datetime.datetime):
        found = nanoseconds(when) if when == when else -1
    elif isinstance(when, float) or not hasattr(when, "__index__"):
        try:
            found = int(float(when) * SECOND)
        except (TypeError, ValueError, OverflowError):
            return None
    else:
        found = when.__index__()
        found = found if found >= FIRST_NANOSECONDS else found * SECOND
    return found if 0 <= found <= LAST_TIME else None


def _request_of(headers: Any) -> bytes | str | None:
    """The request's id among a context's headers."""
    if not isinstance(headers, Mapping) or not headers:
        return None
    folded = {str(name).lower(): value for name, value in headers.items()}
    for name in REQUEST_HEADERS:
        found = Request(folded.get(name)).id
        if found is not None:
            return found
    return None
