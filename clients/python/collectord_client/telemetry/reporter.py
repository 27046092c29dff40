"""What a client offers for telling events."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import failures
from ..errors import CollectError
from ..notices import accident
from ..request import current
from . import cuts, exchange, flask, inputs, logs, number, prints, severity, stack
from .audience import requests
from .cuts import Cuts
from .dependency import Dependency
from .dimensions import Budget, Plain, dump, frozen, plain
from .event import Event, Own
from .feed import Feed
from .kinds import EXCEPTION, METRIC, REQUEST, TRACE
from .operation import Operation, of, underway
from .request import ReportedRequest
from .rows import CONTAINER, RESPONSE, SERVICE, WORKSPACE, Rows

if TYPE_CHECKING:
    import uuid

    from ..columns import Rules
    from ..outbox import Outbox
    from ..request import Request
    from ..wire import Stream
    from .exchange import Exchange

STDOUT = "STDOUT"
"""What Azure ML calls a trace that was printed."""
INPUT = "Input"
MESSAGE = "Message"
PRINTS = "COLLECTORD_PRINTS"
RESPONSES = ("APP_INSIGHTS_LOG_RESPONSE_ENABLED", "AML_APP_INSIGHTS_LOG_RESPONSE_ENABLED")
"""As Azure ML's inference server calls it, and as its other variables would have it; the first that is set counts."""

_now = time.time_ns
_PLAIN = frozenset((str, int, bool, type(None)))
LEFT = "_collectord_told"
"""In the dictionary of an exception that has ended a request and was told."""


class Reporter:
    """The half of a client that tells events. None of it raises, unless the client is strict; where events are not wanted,
    it returns at once."""

    strict: bool
    _errors: str
    _feed: Feed
    _service: tuple[str, ...]
    """Whose events these are; of the clients of one service, one is told of what happens by itself."""
    _prints_as_message = False
    _tells_responses = False
    _log_level = logging.NOTSET

    def _report_through(self, outbox: Outbox, stream: Stream, host: bool | None, rules: Rules | None) -> None:
        instance = os.environ.get("HOSTNAME") or platform.node()
        named = {CONTAINER: instance, WORKSPACE: stream.workspace, SERVICE: stream.webservice}
        self._service = (stream.subscription, stream.resource_group, stream.workspace, stream.webservice)
        constants: dict[str, Plain] = {key: name for key, name in named.items() if name}
        self._feed = Feed(outbox, stream, host, Rows(instance, constants, rules))

    def trace(self, message: str, /, severity: int | str = severity.INFORMATION, **dimensions: Any) -> None:
        """Tells a line of a log, with what belongs to it. `severity` is 0 (verbose) to 4 (critical), or its name."""
        if TRACE not in self._feed.kinds:
            return
        self._trace(message, severity, dimensions, None)

    def exception(
        self, error: BaseException, /, input: Any = None, severity: int | str = severity.ERROR, **dimensions: Any
    ) -> None:
        """Tells an exception: its class, its text, its stack, and the `input` that caused it."""
        if EXCEPTION not in self._feed.kinds:
            return
        try:
            if not isinstance(error, BaseException):
                raise CollectError("bad_event", f"an exception is told, not a {type(error).__name__}")
            if input is not None:
                dimensions[INPUT] = input
            self._first(error)
            self._exception(error, severity, dimensions, underway())
        except Exception as broken:  # noqa: BLE001
            self._broken(EXCEPTION, broken)

    def metric(
        self,
        name: str,
        value: float,
        /,
        count: int = 1,
        min: float | None = None,
        max: float | None = None,
        **dimensions: Any,
    ) -> None:
        """Tells a measurement; or the sum of `count` measurements, with the smallest and the largest one."""
        if METRIC not in self._feed.kinds:
            return
        try:
            told: Cuts = {}
            name = _short("name", name, told)
            own = (
                name, number.real("a metric", value), number.count("a metric's count", count),
                _real("a metric's smallest value", min), _real("a metric's largest value", max),
            )  # fmt: skip
            self._tell(METRIC, _now(), underway(), own, dimensions, told)
        except Exception as broken:  # noqa: BLE001
            self._broken(METRIC, broken)

    def dependency(
        self,
        name: str,
        /,
        target: str | None = None,
        type: str | None = None,
        data: str | None = None,
        duration: float | None = None,
        success: bool | None = None,
        result_code: str | int | None = None,
        **dimensions: Any,
    ) -> Dependency:
        """Tells a call of something else: a database, a feature store, another service. As the context of a `with` it takes
        the time, and an exception that leaves it makes it a failure; with a `duration` (milliseconds) it is told at once.
        """
        made = Dependency(self, name, target, type, data, success, result_code, dimensions)
        if duration is not None:
            made.took(duration)
        return made

    def request(
        self,
        name: str,
        /,
        url: str | None = None,
        request_id: str | int | uuid.UUID | None = None,
        traceparent: str | None = None,
        client_request_id: str | None = None,
        **dimensions: Any,
    ) -> ReportedRequest:
        """A request that no framework tells of, as the context of a `with` statement: what is collected and told within it
        belongs together. `request.answer(code, value)` says what is answered; an exception that leaves it makes it a failure.
        """
        return ReportedRequest(self, name, url, request_id, traceparent, client_request_id, dimensions)

    # ------------------------------------------------------------ what is told by itself

    def capture(self, level: int | str = logging.INFO) -> None:
        """From now on prints to stdout, records of logging from `level` on, and requests with their exceptions are told."""
        self.capture_prints()
        self.capture_logging(level)
        self.capture_requests()

    def capture_prints(self, as_message: bool | None = None) -> None:
        """Each `print` to stdout is a trace, which says `STDOUT` and has what was printed in its `Contents`: JSON as the
        object or list that it is. With `as_message`, or COLLECTORD_PRINTS=message, the text itself is the message."""
        if as_message is None:
            as_message = os.environ.get(PRINTS, "").strip().lower() == "message"
        self._prints_as_message = as_message
        prints.capture(self)

    def capture_logging(self, level: int | str = logging.INFO) -> None:
        """Records of Python's logging from `level` on are traces; with an exception, exceptions. Whatever logger they come from
        and whoever else handles them; the levels of loggers count first, and none is changed."""
        logs.capture(self, level)

    def logging_handler(self, level: int | str = logging.NOTSET) -> logging.Handler:
        """A handler that does the same for the loggers that it is given to."""
        return logs.Handler(self, level)

    def capture_requests(self, responses: bool | None = None) -> None:
        """Requests of Flask, and those that pass `WSGIMiddleware` or `ASGIMiddleware`, are told, and what goes wrong in them.
        With `responses`, or APP_INSIGHTS_LOG_RESPONSE_ENABLED=true, of Flask also what was answered."""
        if responses is None:
            said = [os.environ.get(name, "").strip().lower() for name in RESPONSES]
            responses = next(filter(None, said), "") == "true"
        self._tells_responses = responses
        requests.join(self)
        exchange.listen()
        flask.listen()

    def _release(self) -> None:
        """Nothing is told by itself any more."""
        prints.release(self)
        logs.release(self)
        requests.leave(self)

    # ------------------------------------------------------------ for what tells by itself

    def _trace(
        self, message: object, grave: int | str, dimensions: Mapping[str, Any], operation: Operation | None
    ) -> None:
        try:
            told: Cuts = {}
            text = message if type(message) is str else _said(message)
            if len(text) > cuts.EVENT_BYTES:
                text = cuts.cut("message", text, cuts.EVENT_BYTES, told)
            if type(grave) is not int or not 0 <= grave <= 4:
                grave = severity.of(grave)
            self._tell(TRACE, _now(), operation or underway(), (text, grave), dimensions, told)
        except Exception as broken:  # noqa: BLE001
            self._broken(TRACE, broken)

    def _printed(self, text: str) -> None:
        """A print to stdout."""
        feed = self._feed
        if TRACE not in feed.kinds:
            return
        try:
            told: Cuts | None = None
            if len(text) > cuts.EVENT_BYTES:
                told = {}
                text = cuts.cut("Contents", text, cuts.EVENT_BYTES, told)
            message, contents = (text, None) if self._prints_as_message else (STDOUT, text)
            own = (message, severity.INFORMATION)
            feed.tell(Event(TRACE, _now(), underway(), own, {}, contents, told), len(text))
        except Exception as broken:  # noqa: BLE001
            self._broken(TRACE, broken)

    def _logged(self, text: str, grave: int, dimensions: dict[str, Any], error: BaseException | None) -> None:
        """A record of logging."""
        if error is None or not self._first(error):
            if TRACE in self._feed.kinds:
                self._trace(text, grave, dimensions, None)
        elif EXCEPTION in self._feed.kinds:
            try:
                if self._errors == failures.FULL:
                    dimensions[MESSAGE] = text
                self._exception(error, grave, dimensions, underway())
            except Exception as broken:  # noqa: BLE001
                self._broken(EXCEPTION, broken)

    def _first(self, error: BaseException) -> bool:
        """Whether the request has not told this exception yet: on its way up it may be logged again and again."""
        request = current()
        if request is None:
            return not _left_a_request(error)
        first = request.told is not error
        request.told = error
        return first

    def _failed(self, request: Request, error: BaseException) -> None:
        """What went wrong in a request."""
        if EXCEPTION not in self._feed.kinds or self._errors == failures.OFF:
            return
        try:
            self._exception(error, severity.ERROR, {}, of(request), request)
            # The server that it goes on to logs it when the request is over, maybe in another task: only the error gets there.
            error.__dict__[LEFT] = True
        except Exception as broken:  # noqa: BLE001
            self._broken(EXCEPTION, broken)

    def _requested(self, exchange: Exchange, took: float, code: int | str, success: bool) -> None:
        """A request has been answered."""
        if REQUEST not in self._feed.kinds:
            return
        try:
            told: Cuts = {}
            operation = exchange.operation
            name = _short("name", exchange.name, told)
            url = None if exchange.url is None else _short("url", exchange.url, told, cuts.LONG)
            # An enum of statuses shows itself otherwise before Python 3.11.
            shown = int(code) if isinstance(code, int) and not isinstance(code, bool) else code
            own = (operation.span, name, url, took, _short("resultCode", shown, told), success)
            dimensions = dict(exchange.dimensions)
            if exchange.value is not None:
                dimensions[RESPONSE] = exchange.value
            self._tell(REQUEST, exchange.began, operation, own, dimensions, told)
        except Exception as broken:  # noqa: BLE001
            self._broken(REQUEST, broken)

    def _exception(
        self,
        error: BaseException,
        grave: int | str,
        dimensions: dict[str, Any],
        operation: Operation | None,
        request: Request | None = None,
    ) -> None:
        told: Cuts = {}
        messages = self._errors == failures.FULL
        request = request or current()
        if request is not None:
            dimensions |= inputs.told(request, messages)
        details = stack.details_of(error, messages)
        own = (
            cuts.cut("type", stack.type_of(error), cuts.SHORT, told),
            cuts.cut("message", stack.message_of(error), cuts.EVENT_BYTES, told) if messages else None,
            cuts.cut("details", details, stack.LONGEST, told),
            severity.of(grave),
        )
        self._tell(EXCEPTION, _now(), operation, own, dimensions, told)

    def _tell(
        self,
        kind: int,
        time_ns: int,
        operation: Operation | None,
        own: tuple[Own, ...],
        dimensions: Mapping[str, Any],
        told: Cuts,
    ) -> None:
        altered, size = False, 0
        for one in own:
            if type(one) is str:
                size += len(one)
        kept: dict[str, Any] = {}
        if dimensions:
            budget = Budget()
            kept = frozen(dimensions, budget)
            altered = budget.altered
            size += _weigh(kept, told)
        self._feed.tell(Event(kind, time_ns, operation, own, kept, None, told or None, altered), size)

    def _broken(self, kind: int, error: Exception) -> None:
        """Counts what could not be told."""
        told = error if isinstance(error, CollectError) else accident(error)
        self._feed.refuse(kind, told)
        if self.strict:
            raise told


def _short(name: str, given: object, told: Cuts, most: int = cuts.SHORT) -> str:
    return cuts.cut(name, given if isinstance(given, str) else _said(given), most, told)


def _said(given: object) -> str:
    found = plain(given, Budget())
    return found if isinstance(found, str) else str(found)


def _left_a_request(error: BaseException) -> bool:
    try:
        return LEFT in error.__dict__
    except Exception:  # noqa: BLE001
        # Somebody's own, in the middle of logging.
        return False


def _real(what: str, given: float | None) -> float | None:
    return None if given is None else number.real(what, given)


def _weigh(kept: dict[str, Any], told: Cuts) -> int:
    """The characters of dimensions, roughly; texts that are too long for any event are cut here, so that they are not held."""
    size = 0
    for key, value in kept.items():
        size += len(key) + 8
        if type(value) is str:
            if len(value) > cuts.EVENT_BYTES:
                kept[key] = value = cuts.cut(key, value, cuts.EVENT_BYTES, told)
            size += len(value)
        elif type(value) in (dict, list):
            text = dump(value)
            if len(text) > cuts.EVENT_BYTES:
                kept[key] = text = cuts.cut(key, text, cuts.EVENT_BYTES, told)
            size += len(text)
    return size
