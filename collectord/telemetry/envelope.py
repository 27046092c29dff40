"""An event becomes an item of Application Insights, in opencensus-ext-azure's own types, within the limits of the service.

What is longer than a limit is cut, and ends with words that say so; `collectord.cut` names the fields. An item over 64 KB refers to
a blob that holds the event whole (`large.py`), and is cut further until it fits. The texts' limits are those of the service's own
exporters, in UTF-16 units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import orjson
from opencensus.ext.azure.common.protocol import (
    Data,
    DataPoint,
    Envelope,
    ExceptionData,
    Message,
    MetricData,
    RemoteDependency,
    Request,
)

from collectord import __version__
from collectord.kinds import COMMON, DIMENSIONS, EVENTS
from collectord.model import StreamKind
from collectord.telemetry.event import Event, timestamp
from collectord.telemetry.exporter import Item, Unfit
from collectord.telemetry.large import reference

MAX_ITEM: Final = 64 << 10
MAX_KEY: Final = 150
MAX_VALUE: Final = 8192
MAX_MESSAGE: Final = 32_768
MAX_NAME: Final = 1024
MAX_ID: Final = 512
MAX_TAG: Final = {"ai.operation.id": 128, "ai.operation.parentId": 512, "ai.cloud.role": 256, "ai.cloud.roleInstance": 256,
                  "ai.operation.name": 1024}  # fmt: skip
MAX_URL: Final = 2048
MAX_DURATION: Final = 999 * 86_400_000
"""Milliseconds: the service takes less than a thousand days."""

_TIGHTER: Final = ((MAX_MESSAGE, MAX_VALUE, 1 << 30), (8192, 1024, 200), (2048, 128, 100), (256, 32, 20), (64, 16, 0))
"""Limits of messages, of values, and of how many properties of the user's there are: the first that fit are taken."""
_BASE: Final = {
    StreamKind.REQUEST: ("Request", "RequestData"),
    StreamKind.DEPENDENCY: ("RemoteDependency", "RemoteDependencyData"),
    StreamKind.EXCEPTION: ("Exception", "ExceptionData"),
    StreamKind.TRACE: ("Message", "MessageData"),
    StreamKind.METRIC: ("Metric", "MetricData"),
}


class Shape:
    """Makes items for one instrumentation key."""

    def __init__(self, key: str) -> None:
        self._key = key

    def item(self, event: Event) -> Item | Unfit:
        """The same event always makes the same item."""
        if event.kind is StreamKind.METRIC and not math.isfinite(event.values.get("value", math.nan)):
            return Unfit("not_a_number")
        body, cut = self._body(event, _TIGHTER[0], {})
        whole_size = len(body) if not cut else len(self._body(event, None, {})[0])
        if whole_size <= MAX_ITEM:
            return Item(body, len(body), cut=cut)
        whole, refers = reference(event)
        for limits in _TIGHTER:
            body, _ = self._body(event, limits, refers)
            if len(body) <= MAX_ITEM:
                break
        return Item(body, len(body), whole=whole, cut=True)

    def _body(self, event: Event, limits: tuple[int, int, int] | None, more: dict[str, str]) -> tuple[bytes, bool]:
        """The item as JSON, and whether anything in it was cut."""
        draft = _Draft(event, limits or (1 << 40,) * 3, unlimited=limits is None)
        data = _DATA[event.kind](draft)
        data.properties = draft.properties(more)
        name, base = _BASE[event.kind]
        envelope = Envelope(
            name=f"Microsoft.ApplicationInsights.{name}", time=timestamp(event.time_ns), iKey=self._key, tags=draft.tags,
            data=Data(baseData=data, baseType=base),
        )  # fmt: skip
        if event.sampling < 1.0:
            envelope.sampleRate = 100 * event.sampling
        return orjson.dumps(envelope), bool(draft.cut)


class _Draft:
    """One item while it is made: remembers what was cut."""

    def __init__(self, event: Event, limits: tuple[int, int, int], *, unlimited: bool) -> None:
        self.event = event
        self._message, self._value, self._number = limits
        self._unlimited = unlimited
        self.cut: list[str] = []
        tags = {
            "ai.operation.id": event.text("operation_Id"),
            "ai.operation.parentId": event.text("operation_ParentId"),
            "ai.operation.name": event.text("operation_Name"),
            "ai.cloud.role": event.stream.webservice or "default",
            "ai.cloud.roleInstance": event.text("cloud_RoleInstance"),
        }
        self.tags = {name: self._fit(name, text, MAX_TAG[name]) for name, text in tags.items() if text}
        self.tags["ai.internal.sdkVersion"] = f"collectord:{__version__}"

    def text(self, column: str, limit: int, instead: str = "") -> str:
        return self._fit(column, self.event.text(column) or instead, min(limit, max(self._value, 64)))

    def message(self, column: str, instead: str = "") -> str:
        return self._fit(column, self.event.text(column) or instead, self._message)

    def duration(self) -> str:
        """d.hh:mm:ss.ffffff; what is no duration is none at all."""
        ms = self.event.values.get("duration", 0.0)
        micros = round(min(max(ms, 0.0), MAX_DURATION) * 1000) if math.isfinite(ms) else 0
        seconds, rest = divmod(micros, 1_000_000)
        minutes, second = divmod(seconds, 60)
        hours, minute = divmod(minutes, 60)
        day, hour = divmod(hours, 24)
        return f"{day}.{hour:02}:{minute:02}:{second:02}.{rest:06}"

    def severity(self) -> int | None:
        level = self.event.values.get("severityLevel")
        return None if level is None else min(max(int(level), 0), 4)

    def properties(self, more: dict[str, str]) -> dict[str, str]:
        """Ours, then the user's dimensions, then columns that this version does not know."""
        event = self.event
        found = {"itemId": event.item_id, **more}
        dimensions = event.dimensions()
        users = {DIMENSIONS: event.text(DIMENSIONS)} if dimensions is None else dimensions
        known = {column.name for column in (*COMMON, *EVENTS[event.kind].columns)}
        extra = {name: value for name, value in event.values.items() if name not in known}
        number = 0
        for name, value in {**users, **extra}.items():
            if name in found and name in ("itemId", *more):
                self.cut.append(name)
                continue
            if number >= self._number:
                self.cut.append("…")
                break
            number += 1
            key = self._key(name, found)
            found[key] = self._fit(key, _text(value), min(MAX_VALUE, self._value))
        for name, text in (("model", event.stream.model), ("modelVersion", event.stream.version)):
            if text:
                found.setdefault(name, text)
        if self.cut:
            found["collectord.cut"] = ", ".join(self.cut)[:1024]
        return found

    def _key(self, name: str, taken: dict[str, str]) -> str:
        """A property's name, short enough, not empty, and nobody else's."""
        key = name or "_"
        if not self._unlimited and _units(key) > MAX_KEY:
            key = _head(key, MAX_KEY - 1) + "…"
            number = 2
            while key in taken:
                end = f"…{number}"
                key = _head(name, MAX_KEY - len(end)) + end
                number += 1
            self.cut.append(key)
        return key

    def _fit(self, name: str, text: str, limit: int) -> str:
        if self._unlimited or len(text) * 2 <= limit or _units(text) <= limit:
            return text
        self.cut.append(name)
        mark = f"… [cut: {len(text)} characters]"
        return _head(text, limit - len(mark)) + mark if limit > len(mark) else _head(text, limit - 1) + "…"


def _request(draft: _Draft) -> Request:
    event = draft.event
    return Request(
        id=draft.text("id", MAX_ID, event.item_id), duration=draft.duration(),
        responseCode=draft.text("resultCode", MAX_NAME, "0"), success=bool(event.values.get("success", True)),
        name=draft.text("name", MAX_NAME), url=draft.text("url", MAX_URL),
    )  # fmt: skip


def _dependency(draft: _Draft) -> RemoteDependency:
    event = draft.event
    return RemoteDependency(
        id=draft.text("id", MAX_ID, event.item_id), name=draft.text("name", MAX_NAME, "n/a"), duration=draft.duration(),
        resultCode=draft.text("resultCode", MAX_NAME), success=bool(event.values.get("success", True)),
        type=draft.text("type", MAX_NAME), target=draft.text("target", MAX_NAME), data=draft.text("data", MAX_VALUE),
    )  # fmt: skip


def _exception(draft: _Draft) -> ExceptionData:
    kind = draft.text("type", MAX_NAME, "Exception")
    details = draft.message("details")
    one: dict[str, Any] = {
        "id": 1, "outerId": 0, "typeName": kind, "message": draft.message("message", kind),
        "hasFullStack": bool(details) and "details" not in draft.cut,
    }  # fmt: skip
    if details:
        one["stack"] = details
    data = ExceptionData(exceptions=[one])
    if (severity := draft.severity()) is not None:
        data.severityLevel = severity
    return data


def _message(draft: _Draft) -> Message:
    data = Message(message=draft.message("message", "n/a"))
    if (severity := draft.severity()) is not None:
        data.severityLevel = severity
    return data


def _metric(draft: _Draft) -> MetricData:
    values = draft.event.values
    point = DataPoint(name=draft.text("name", MAX_NAME, "n/a"), value=float(values["value"]))
    count = values.get("valueCount")
    if count is not None and count != 1:
        point.kind, point.count = 1, int(count)
        for name, column in (("min", "valueMin"), ("max", "valueMax")):
            if math.isfinite(values.get(column, math.nan)):
                point[name] = float(values[column])
    return MetricData(metrics=[point])


_DATA: Final[dict[StreamKind, Callable[[_Draft], Any]]] = {
    StreamKind.REQUEST: _request,
    StreamKind.DEPENDENCY: _dependency,
    StreamKind.EXCEPTION: _exception,
    StreamKind.TRACE: _message,
    StreamKind.METRIC: _metric,
}


def _text(value: Any) -> str:
    """A property's value: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _units(text: str) -> int:
    """UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _head(text: str, units: int) -> str:
    """The first so many units of a text, no character torn."""
    if text.isascii():
        return text[:units]
    return text[:units].encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")
