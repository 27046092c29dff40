"""The daemon's own log: one JSON object a line on stderr, or plain text for people. Never a payload, never a secret."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Literal


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        tail = "".join(f" {name}={_on_one_line(value)}" for name, value in fields.items())
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = f"{clock} {record.levelname.lower():7} {record.getMessage()}{tail}"
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
    handler.setFormatter(_JsonFormatter() if form == "json" else _ConsoleFormatter())
    handler.addFilter(_Limit(10.0))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("collectord").setLevel(level.upper())
    # The SDK logs each request's headers at INFO and its retries at WARNING; ours say the same with less.
    logging.getLogger("azure").setLevel(logging.ERROR)


def event(logger: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Logs a fixed sentence with named fields."""
    logger.log(level, message, extra={"fields": fields})
