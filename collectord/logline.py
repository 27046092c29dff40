"""A line of a service's log: an event that its scripts sent, or a message of the collector's own; and how people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

from collectord.errors import NeverAgain
from collectord.kinds import DIMENSIONS

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""By severity, as Application Insights counts: 0 to 4."""
INFO, WARNING, ERROR, CRITICAL = 1, 2, 3, 4
OWN: Final = "collectord"
"""The kind of a message of the collector's own."""
TABLES: Final = ("traces", "exceptions", "requests")
"""The tables that logs are made of; of requests those that failed."""
SHOWN_BYTES: Final = 8 << 10
"""Characters of a message that a terminal gets."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# C0 and C1 and what changes the direction of text: a message must not move the cursor, nor look like another line.
_HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class BadLine(NeverAgain):
    """What landed is no event of ours."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, which may have line ends in its message. Order: by time."""

    time_ns: int
    severity: int
    kind: str
    """`trace`, `exception`, `request`, or `OWN`."""
    source: str
    """The pod or node that speaks."""
    message: str
    id: str = ""
    """The event's `itemId`; the collector's own have none."""
    operation: str = ""
    """Trace id of the request that it belongs to."""
    more: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Of an event its `customDimensions`, of the collector's own the named fields."""

    @property
    def order(self) -> tuple[int, str]:
        return self.time_ns, self.id

    def as_json(self) -> dict[str, Any]:
        """JSON values; docs/telemetry.md describes the fields."""
        fields = {
            "time": iso(self.time_ns), "level": LEVELS[self.severity], "kind": self.kind, "source": self.source,
            "message": self.message, "itemId": self.id, "operation_Id": self.operation, DIMENSIONS: dict(self.more),
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value != "" and value != {}}

    @staticmethod
    def from_json(text: str) -> LogLine:
        """The line that `as_json` gave. Raises BadLine."""
        try:
            fields = json.loads(text)
            return LogLine(
                time_of(fields["time"]), LEVELS.index(fields["level"]), fields["kind"], fields.get("source", ""),
                fields.get("message", ""), fields.get("itemId", ""), fields.get("operation_Id", ""),
                fields.get(DIMENSIONS, {}),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadLine(f"it is no line of a log: {type(error).__name__}") from None


def line_of(item: Mapping[str, Any]) -> LogLine | None:
    """The line that an event makes, as a line of `_collectord/telemetry/` has it; None: none, such as a request that went
    well. Raises BadLine."""
    kind = item.get("itemType")
    made = _MAKERS.get(kind) if isinstance(kind, str) else None
    if made is None:
        return None
    found = made(item)
    if found is None:
        return None
    severity, message = found
    dimensions = item.get(DIMENSIONS)
    return LogLine(
        time_of(item.get("timestamp")),
        severity,
        str(kind),
        _text(item, "cloud_RoleInstance") or _text(item, "cloud_RoleName"),
        message,
        _text(item, "itemId"),
        _text(item, "operation_Id"),
        dimensions if isinstance(dimensions, dict) else {"customDimensions": dimensions} if dimensions else {},
    )


def _trace(item: Mapping[str, Any]) -> tuple[int, str]:
    message, dimensions = _text(item, "message"), item.get(DIMENSIONS)
    if message == "STDOUT" and isinstance(dimensions, dict) and "Contents" in dimensions:
        # What print() said: the message says only that it was printed.
        contents = dimensions["Contents"]
        message = contents if isinstance(contents, str) else _json(contents)
    return _severity(item, INFO), message


def _exception(item: Mapping[str, Any]) -> tuple[int, str]:
    words = [text for text in (_text(item, "type"), _text(item, "message")) if text]
    details = _text(item, "details").rstrip()
    return _severity(item, ERROR), ": ".join(words) + (f"\n{details}" if details else "")


def _request(item: Mapping[str, Any]) -> tuple[int, str] | None:
    if item.get("success") is not False:
        return None
    duration = item.get("duration")
    took = f" after {duration:.1f} ms" if isinstance(duration, (int, float)) else ""
    return ERROR, f"{_text(item, 'name') or _text(item, 'url')} failed: {_text(item, 'resultCode')}{took}"


_MAKERS = {"trace": _trace, "exception": _exception, "request": _request}


def _severity(item: Mapping[str, Any], default: int) -> int:
    value = item.get("severityLevel")
    return value if isinstance(value, int) and 0 <= value < len(LEVELS) else default


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ------------------------------------------------------------------ time


def time_of(text: object) -> int:
    """Nanoseconds since 1970 of a time as ISO 8601 has it; without a zone it is UTC. Raises BadLine."""
    try:
        if not isinstance(text, str):
            raise ValueError
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
        since = (at if at.tzinfo else at.replace(tzinfo=timezone.utc)) - _EPOCH
    except (ValueError, OverflowError):
        raise BadLine("it has no time") from None
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def iso(time_ns: int) -> str:
    """The time with microseconds, in UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:06d}Z"


# ------------------------------------------------------------------ for people


def harmless(text: str) -> str:
    """The text with every character that would act on a terminal, but for line ends and tabs, as an escape."""
    return _HOSTILE.sub(_escaped, text.replace("\r\n", "\n"))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def text_of(line: LogLine, most: int = SHOWN_BYTES, level: str = "") -> str:
    """The line for people: time, level, who speaks, message; the lines behind its first are indented, so that no message
    looks like another line. A message of more than `most` characters is cut, and says so. `level`: instead of the plain word."""
    message = line.message
    cut = len(message) - most
    if cut > 0:
        message = f"{message[:most]}… {cut:,} characters more"
    if line.kind == OWN and line.more:
        message += "".join(f" {name}={_on_one_line(value)}" for name, value in line.more.items())
    message = harmless(message).replace("\n", "\n    ")
    return f"{iso(line.time_ns)} {level or f'{LEVELS[line.severity]:8}'} {_on_one_line(line.source) or '-'} {message}"


def _on_one_line(value: object) -> str:
    text = value if isinstance(value, str) else _json(value)
    return harmless(text).replace("\n", "\\n")
