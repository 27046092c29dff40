"""The daemon's own log: one JSON object a line on stderr, or plain text for people. Never a payload, never a secret."""

from __future__ import annotations

import errno
import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from collectord.errors import described

if TYPE_CHECKING:
    import asyncio


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        """Where it happened and what it was. Its words only if they are ours: others quote the value that they could not
        take."""
        return "".join(_trace(ei[1])) if ei[1] is not None else "none"


def _trace(error: BaseException) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _trace(before)
        yield "\n\nand then:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield described(error)


def _sentence(record: logging.LogRecord) -> str:
    """What a record says. Of a library's, only how it begins: behind that it names objects, and shows what is in them."""
    if record.name.partition(".")[0] == "collectord":
        return record.getMessage()
    return re.split(r"[(<\n:%'\"\[{]", str(record.msg), maxsplit=1)[0].strip()


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _sentence(record),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class _ConsoleFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        tail = "".join(f" {name}={_on_one_line(value)}" for name, value in fields.items())
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = f"{clock} {record.levelname.lower():7} {_sentence(record)}{tail}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def _on_one_line(value: object) -> str:
    """A client's words must not look like a line of ours."""
    text = str(value)
    return text if text.isprintable() else ascii(text)


class _Limit(logging.Filter):
    """Lets a message through at most once in `seconds`, with the number that was held back; errors always pass."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seconds = seconds
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR or record.levelno <= logging.INFO:
            return True
        key = (record.name, str(record.msg))
        at, held = self._last.get(key, (-self._seconds, 0))
        now = self._now()
        if now - at < self._seconds:
            self._last[key] = (at, held + 1)
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[key] = (now, 0)
        if held:
            record.fields = {**getattr(record, "fields", {}), "held_back": held}
        return True


def configure(form: Literal["json", "console"], level: str) -> None:
    """Sends the log of `collectord` (and warnings of the libraries) to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form))
    handler.addFilter(_Limit(10.0))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("collectord").setLevel(level.upper())
    # The SDK logs each request's headers at INFO and its retries at WARNING; ours say the same with less.
    logging.getLogger("azure").setLevel(logging.ERROR)


def _formatter(form: Literal["json", "console"]) -> _Formatter:
    return _JsonFormatter() if form == "json" else _ConsoleFormatter()


def print_error(form: Literal["json", "console"], message: str, /, **fields: object) -> None:
    """One line on stderr of a daemon whose settings do not say yet how it logs."""
    record = logging.LogRecord("collectord.daemon", logging.ERROR, "", 0, message, None, None)
    record.fields = fields
    print(_formatter(form).format(record), file=sys.stderr)


def catch_strays() -> None:
    """What nobody has caught goes to the log too, instead of as it is to stderr; for a process that is a daemon's own."""
    log = logging.getLogger("collectord.process")

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("an error that nobody has caught ends the daemon", exc_info=error)

    def of_thread(stray: threading.ExceptHookArgs) -> None:
        log.critical("an error that nobody has caught ended a thread", exc_info=stray.exc_value)

    def unraisable(stray: Any) -> None:
        log.error("an error that could not be raised", exc_info=stray.exc_value)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_process, of_thread, unraisable


def catch_strays_of(loop: asyncio.AbstractEventLoop) -> None:
    """The same of an event loop. That a listener finds no descriptor is no fault of ours, and needs no traceback every second."""
    log = logging.getLogger("collectord.process")

    def of_loop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # asyncio tells it a hundred times a second and more; the log, which holds warnings back, once in ten.
        if isinstance(error, OSError) and error.errno == errno.EMFILE and "accept" in context["message"]:
            event(
                log, logging.WARNING, "no connection can be accepted for now", why="too many open files",
                todo="raise the limit of open files (LimitNOFILE of a unit, ulimit -n), or set max_clients lower",
            )  # fmt: skip
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(of_loop)


def event(logger: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Logs a fixed sentence with named fields."""
    logger.log(level, message, extra={"fields": fields})
