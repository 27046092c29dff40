"""A real endpoint of Application Insights' ingestion on loopback: checks every item strictly, and answers as it is told.

What it demands of items is the service's published schema (envelope version 1, data version 2) with its limits; it is held to the
service's own types by a test in which opencensus-ext-azure's exporters send to it.

Threads: the server's own; everything may be asked from any.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collectord.testing.planned import Answer, PlannedServer

KEY = "12345678-9abc-4def-8123-456789abcdef"
HTML = b"<html><body>Welcome to the hotel's network</body></html>"

STATUSES = (401, 402, 403, 404, 408, 413, 429, 439, 500, 502, 503)
"""Answers without a body that concern a whole request; nothing of it is taken. `plan` takes them as texts."""

_TEXT_LIMITS = {"name": 1024, "url": 2048, "message": 32_768, "id": 512, "responseCode": 1024, "resultCode": 1024,
                "data": 8192, "type": 1024, "target": 1024, "typeName": 1024, "stack": 32_768}  # fmt: skip
_FIELDS: dict[str, tuple[str, frozenset[str], frozenset[str]]] = {
    # base type: the envelope's name, fields that must be there, fields that may be there
    "RequestData": (
        "Request", frozenset({"ver", "id", "duration", "responseCode", "success"}),
        frozenset({"name", "url", "source", "properties", "measurements"}),
    ),
    "RemoteDependencyData": (
        "RemoteDependency", frozenset({"ver", "name", "duration"}),
        frozenset({"id", "resultCode", "success", "data", "type", "target", "properties", "measurements"}),
    ),
    "ExceptionData": (
        "Exception", frozenset({"ver", "exceptions"}),
        frozenset({"severityLevel", "problemId", "properties", "measurements"}),
    ),
    "MessageData": (
        "Message", frozenset({"ver", "message"}), frozenset({"severityLevel", "properties", "measurements"})
    ),
    "MetricData": ("Metric", frozenset({"ver", "metrics"}), frozenset({"properties"})),
}  # fmt: skip
_DURATION = re.compile(r"\d{1,3}\.[0-2]\d:[0-5]\d:[0-5]\d\.\d{3,7}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_TAGS = frozenset(
    {"ai.operation.id", "ai.operation.parentId", "ai.operation.name", "ai.cloud.role", "ai.cloud.roleInstance",
     "ai.internal.sdkVersion", "ai.device.id", "ai.device.locale", "ai.device.osVersion", "ai.device.type"}
)  # fmt: skip


class BadItem(AssertionError):
    """An item that the service would refuse."""


def check(item: Any) -> None:
    """Raises BadItem where an item does not fit the schema or a limit."""
    _demand(isinstance(item, dict), "an item is an object")
    _demand(item.get("ver", 1) == 1, "ver is 1")
    _demand(bool(_TIME.fullmatch(item.get("time", ""))), f"time: {item.get('time')!r}")
    data = item.get("data")
    _demand(isinstance(data, dict) and isinstance(data.get("baseData"), dict), "data has baseData")
    base, body = data.get("baseType"), data["baseData"]
    _demand(base in _FIELDS, f"baseType: {base!r}")
    name, needed, allowed = _FIELDS[base]
    _demand(item.get("name") == f"Microsoft.ApplicationInsights.{name}", f"name: {item.get('name')!r}")
    _demand(needed <= body.keys(), f"{base} lacks {needed - body.keys()}")
    _demand(body.keys() <= needed | allowed, f"{base} has {body.keys() - needed - allowed}")
    _demand(body["ver"] == 2, "the data's ver is 2")
    tags = item.get("tags") or {}
    _demand(isinstance(tags, dict) and tags.keys() <= _TAGS, f"tags: {tags}")
    rate = item.get("sampleRate")
    _demand(rate is None or 0 < rate <= 100, f"sampleRate: {rate!r}")
    for field, value in body.items():
        _check_text(field, value)
    if "duration" in body:
        _demand(bool(_DURATION.fullmatch(body["duration"])), f"duration: {body['duration']!r}")
    if "success" in body:
        _demand(isinstance(body["success"], bool), "success is true or false")
    severity = body.get("severityLevel")
    _demand(severity is None or severity in range(5), f"severityLevel: {severity!r}")
    _check_properties(body.get("properties"))
    if base == "MessageData":
        _demand(bool(body["message"]), "message is empty")
    if base == "ExceptionData":
        _demand(bool(body["exceptions"]), "exceptions is empty")
        for one in body["exceptions"]:
            _demand(bool(one.get("typeName")) and bool(one.get("message")), "an exception has typeName and message")
            for field in ("typeName", "message", "stack"):
                _check_text(field, one.get(field))
    if base == "MetricData":
        _demand(len(body["metrics"]) == 1, "one metric an item")
        for one in body["metrics"]:
            _demand(isinstance(one.get("name"), str) and bool(one["name"]), "a metric has a name")
            _demand(isinstance(one.get("value"), int | float) and math.isfinite(one["value"]), "a metric has a value")
    size = len(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())
    _demand(size <= 64 << 10, f"an item has {size} bytes")


def _check_text(field: str, value: Any) -> None:
    if field in _TEXT_LIMITS and value is not None:
        _demand(isinstance(value, str), f"{field} is a text")
        units = len(value.encode("utf-16-le")) // 2
        _demand(units <= _TEXT_LIMITS[field], f"{field} has {units} characters")


def _check_properties(properties: Any) -> None:
    if properties is None:
        return
    for key, value in properties.items():
        _demand(0 < len(key.encode("utf-16-le")) // 2 <= 150, f"a key of {len(key)} characters")
        _demand(isinstance(value, str), f"{key} is no text but {type(value).__name__}")
        _demand(len(value.encode("utf-16-le")) // 2 <= 8192, f"{key} has {len(value)} characters")


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise BadItem(what)


class Ingestion(PlannedServer):
    """`with Ingestion() as endpoint`: listens, and takes what is sent to `endpoint.connection_string`.

    What is planned is answered, one plan per request, in order; then everything is taken. A plan is the text of one of
    `STATUSES`, or one of: `partial` (206: of three items in a row one is taken, one refused, one to be sent again), `garbage`,
    `redirect`, `close` (before it is read by anybody), `hang` (until `release`), `drop_reply` (taken, and then the connection ends).
    """

    def __init__(self, *, compressed: bool = True, retry_after: str = "") -> None:
        super().__init__()
        self._compressed = compressed
        self.retry_after = retry_after
        """Goes with 402, 429, 439 and 503."""
        self.poison: Callable[[Mapping[str, Any]], bool] = lambda _: False
        """A request with such an item is refused as a whole, with 400."""
        self.taken: Counter[str] = Counter()
        """By `itemId`, how often it was taken."""
        self.items: list[dict[str, Any]] = []
        """All that were taken, in order."""
        self.seen: Counter[str] = Counter()
        """By `itemId`, in how many requests it came."""
        self.requests: list[tuple[str, int]] = []
        """What was answered, and to how many items."""
        self.headers: list[dict[str, str]] = []
        self.problems: list[str] = []
        """What the service would have refused; no test may end with one that it does not expect."""
        self.refused: set[str] = set()
        """Items that it refused for good on purpose."""

    @property
    def connection_string(self) -> str:
        return f"InstrumentationKey={KEY};IngestionEndpoint={self.url}/;"

    def release(self) -> None:
        """Ends what hangs, and forgets what is planned."""
        with self._lock:
            self._plans.clear()
        super().release()

    # ------------------------------------------------------------------ one request

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        with self._lock:
            plan = self._plans.popleft() if self._plans else "200"
            self.headers.append({name.lower(): value for name, value in headers.items()})
        if plan == "hang":
            self._note(plan, ())
            self._released.wait()
            return None
        if plan == "close":
            self._note(plan, ())
            return None
        items = self._read(path, headers, body)
        self._note(plan, items)
        wait = {"Retry-After": self.retry_after} if self.retry_after and plan in ("402", "429", "439", "503") else {}
        if plan in map(str, STATUSES):
            return int(plan), wait, b""
        if plan == "garbage":
            return 200, {"Content-Type": "text/html"}, HTML
        if plan == "redirect":
            return 307, {"Location": f"{self.url}/elsewhere"}, b""
        return self._judge(plan, items) if items else _tracked(400, 0, {0: 400})

    def _judge(self, plan: str, items: Sequence[dict[str, Any]]) -> Answer | None:
        if any(item["iKey"] != KEY for item in items):
            return _tracked(400, len(items), dict.fromkeys(range(len(items)), 400))
        if any(self.poison(item) for item in items):
            return 400, {}, b""
        bad = {at: 400 for at, item in enumerate(items) if not self._is_good(item)}
        if plan == "partial":
            bad |= {at: (400, 500)[at % 3 - 1] for at in range(len(items)) if at % 3}
            with self._lock:
                self.refused |= {_id(items[at]) for at, status in bad.items() if status == 400}
        with self._lock:
            for at, item in enumerate(items):
                if at not in bad:
                    self.taken[_id(item)] += 1
                    self.items.append(item)
        if plan == "drop_reply":
            return None
        return _tracked(206 if bad else 200, len(items), bad)

    def _is_good(self, item: Any) -> bool:
        try:
            check(item)
        except BadItem as error:
            self._complain(str(error))
            return False
        return True

    def _read(self, path: str, headers: Mapping[str, str], body: bytes) -> list[dict[str, Any]] | None:
        try:
            _demand(path == "/v2.1/track", f"path {path}")
            _demand(headers.get("Content-Type", "").startswith("application/json"), "it is sent as JSON")
            if self._compressed:
                _demand(headers.get("Content-Encoding") == "gzip", "it is sent compressed")
                body = gzip.decompress(body)
            items = json.loads(body.decode(), parse_constant=_no_constant)
            _demand(isinstance(items, list), "it is a list of items")
            for item in items:
                _demand(isinstance(item, dict) and isinstance(item.get("iKey"), str), "an item has its iKey")
        except (AssertionError, ValueError, OSError) as error:
            self._complain(str(error))
            return None
        return list(items)

    def _note(self, plan: str, items: Sequence[dict[str, Any]] | None) -> None:
        with self._lock:
            self.requests.append((plan, len(items or ())))
            for item in items or ():
                self.seen[_id(item)] += 1

    def _complain(self, what: str) -> None:
        with self._lock:
            self.problems.append(what)


def _id(item: Mapping[str, Any]) -> str:
    try:
        return str(item["data"]["baseData"]["properties"]["itemId"])
    except (KeyError, TypeError):
        return ""


def _no_constant(name: str) -> Any:
    raise BadItem(f"{name} is no JSON")


def _tracked(status: int, number: int, bad: Mapping[int, int]) -> Answer:
    errors = [{"index": at, "statusCode": code, "message": "refused"} for at, code in bad.items()]
    body = {"itemsReceived": number, "itemsAccepted": number - len(bad), "errors": errors}
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()
