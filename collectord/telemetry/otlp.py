"""Events go to a receiver of OTLP over HTTP, as OpenTelemetry's own messages: requests and dependencies as spans, traces and
exceptions as log records, metrics as metrics.

The protocol's messages are used, and neither the SDK nor its exporters: those keep what they send in memory and give it up after
a while. A request of many items is the concatenation of requests of one item, as protobuf has it.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from collectord import __version__
from collectord.kinds import COMMON, DIMENSIONS, EVENTS
from collectord.model import StreamKind
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Answer, Barred, Fate, Item, Later, Sorted, TooMuch, Unfit, Unwanted
from collectord.telemetry.large import reference
from collectord.telemetry.poster import NoReply, Poster, Reply, retry_after

NAME: Final = "otlp"
MAX_ITEM: Final = 256 << 10
"""Bytes of an item before it goes into a blob; the protocol knows no limit, receivers do."""
TRACES, LOGS, METRICS = "traces", "logs", "metrics"

_LANES: Final = {
    StreamKind.REQUEST: TRACES, StreamKind.DEPENDENCY: TRACES, StreamKind.EXCEPTION: LOGS, StreamKind.TRACE: LOGS,
    StreamKind.METRIC: METRICS,
}  # fmt: skip
_RESPONSES: Final[dict[str, tuple[Any, str]]] = {
    TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
    METRICS: (ExportMetricsServiceResponse, "rejected_data_points"),
}
_SEVERITY: Final = (
    SeverityNumber.SEVERITY_NUMBER_DEBUG,
    SeverityNumber.SEVERITY_NUMBER_INFO,
    SeverityNumber.SEVERITY_NUMBER_WARN,
    SeverityNumber.SEVERITY_NUMBER_ERROR,
    SeverityNumber.SEVERITY_NUMBER_FATAL,
)
"""By Application Insights' level."""
_TIGHTER: Final = ((1 << 30, 1 << 30), (8192, 100), (256, 50), (32, 0))
"""Limits of texts, and of how many dimensions there are: the first that fit are taken."""
_SCOPE: Final = InstrumentationScope(name="collectord", version=__version__)
_TRACE_ID, _SPAN_ID = re.compile(r"[0-9a-fA-F]{32}"), re.compile(r"[0-9a-fA-F]{16}")


class Otlp:
    """One receiver."""

    name = NAME

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], *, poster: Poster | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`endpoint`: `/v1/traces` and so on are put behind it."""
        self._endpoint = endpoint
        self._headers = {**headers, "Content-Type": "application/x-protobuf"}
        self._poster = poster or Poster()
        self._now = now

    def prepare(self, event: Event) -> Item | Unfit:
        lane = _LANES[event.kind]
        if lane == METRICS and "value" not in event.values:
            return Unfit("not_a_number")
        body = _Draft(event, _TIGHTER[0], {}).body()
        if len(body) <= MAX_ITEM:
            return Item(body, len(body), lane)
        whole, refers = reference(event)
        for limits in _TIGHTER[1:]:
            body = _Draft(event, limits, refers).body()
            if len(body) <= MAX_ITEM:
                break
        return Item(body, len(body), lane, whole, cut=True)

    def send(self, items: Sequence[Item]) -> Answer:
        lane = items[0].lane
        body = b"".join(item.body for item in items)
        reply = self._poster.post(f"{self._endpoint}/v1/{lane}", body, self._headers)
        answer = judge(reply, lane, len(items), self._now())
        if isinstance(reply, Reply) and reply.status in (404, 405) and self._takes_another(lane):
            # Many take only some: Jaeger and Tempo traces, Loki logs. The others must not wait behind what has no place there.
            return Unwanted(f"no_receiver_of_{lane}")
        return answer

    def _takes_another(self, lane: str) -> bool:
        """Whether this is a receiver all the same, which `lane` alone is missing of."""
        return any(isinstance(self._ask(one), Sorted) for one in _RESPONSES if one != lane)

    def _ask(self, lane: str) -> Answer:
        """What a request of no items is answered."""
        reply = self._poster.post(f"{self._endpoint}/v1/{lane}", b"", self._headers)
        return judge(reply, lane, 0, self._now())

    def probe(self) -> str:
        for lane in _RESPONSES:
            answer = self._ask(lane)
            if isinstance(answer, Barred | Later):
                return answer.detail
        return ""

    def describe(self) -> str:
        return self._endpoint.partition("://")[2]

    def close(self) -> None:
        self._poster.close()


def judge(reply: Reply | NoReply, lane: str, sent: int, now: float) -> Answer:
    """What the answer to a request with so many items says. Pure; `now` is in seconds since 1970."""
    if isinstance(reply, NoReply):
        return Later("no_answer", reply.detail, doubtful=reply.sent)
    status, wait = reply.status, retry_after(reply.headers, now)
    if 200 <= status < 300:
        rejected = _rejected(reply, lane)
        if rejected is None:
            return Later("garbage", f"HTTP {status} without the answer of an OTLP receiver", wait, doubtful=True)
        # Which ones, the protocol does not say.
        number = min(max(rejected, 0), sent)
        return Sorted(((Fate.REFUSED, "item_rejected"),) * number + ((Fate.DELIVERED, ""),) * (sent - number), wait)
    if 300 <= status < 400:
        return Barred("redirect", "the receiver sends us to another address; name that one")
    if status in (400, 413):
        return TooMuch(f"http_{status}")
    if status in (401, 403):
        return Barred(f"http_{status}", f"HTTP {status}: no permission; see otlp_headers")
    if status in (404, 405, 415):
        return Barred(f"http_{status}", f"HTTP {status}: there is no OTLP receiver of {lane} at this address")
    if status in (408, 429, 500, 502, 503, 504):
        return Later(f"http_{status}", f"HTTP {status}", wait)
    return Later("http_5xx" if status >= 500 else "garbage", f"HTTP {status}", wait, doubtful=status < 500)


def _rejected(reply: Reply, lane: str) -> int | None:
    """How many items were rejected; None: it is no answer of the protocol's."""
    if not reply.body:
        return 0
    kind, field = _RESPONSES[lane]
    form = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        match form:
            case "application/x-protobuf":
                said = kind.FromString(reply.body)
            case "application/json" if reply.body.lstrip().startswith(b"{"):
                # The protocol's other form; some answer in it whatever they were sent. What else is in it is no such answer.
                said = json_format.Parse(reply.body, kind())
            case _:
                return None
    except (DecodeError, json_format.ParseError, UnicodeDecodeError):
        return None
    return int(getattr(said.partial_success, field))


class _Draft:
    """One item while it is made."""

    def __init__(self, event: Event, limits: tuple[int, int], more: Mapping[str, str]) -> None:
        self._event = event
        self._text, self._number = limits
        self._more = more

    def body(self) -> bytes:
        """A request of this one item."""
        event = self._event
        match _LANES[event.kind]:
            case "traces":
                spans = ResourceSpans(
                    resource=self._resource(), scope_spans=[ScopeSpans(scope=_SCOPE, spans=[self._span()])]
                )
                return bytes(ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString())
            case "logs":
                logs = ResourceLogs(
                    resource=self._resource(), scope_logs=[ScopeLogs(scope=_SCOPE, log_records=[self._record()])]
                )
                return bytes(ExportLogsServiceRequest(resource_logs=[logs]).SerializeToString())
            case _:
                metrics = ResourceMetrics(
                    resource=self._resource(), scope_metrics=[ScopeMetrics(scope=_SCOPE, metrics=[self._metric()])]
                )
                return bytes(ExportMetricsServiceRequest(resource_metrics=[metrics]).SerializeToString())

    def _resource(self) -> Resource:
        stream = self._event.stream
        named = {
            "service.name": stream.webservice or "default",
            "service.instance.id": self._event.text("cloud_RoleInstance"),
            "azureml.workspace": stream.workspace,
            "azureml.model": stream.model,
            "azureml.model_version": stream.version,
        }
        return Resource(attributes=[self._pair(name, value) for name, value in named.items() if value])

    def _span(self) -> Span:
        event = self._event
        client = event.kind is StreamKind.DEPENDENCY
        duration = event.values.get("duration", 0.0)
        took = round(max(duration, 0.0) * 1e6) if math.isfinite(duration) else 0
        code = event.text("resultCode")
        named = {"url.full": event.text("url")}
        if client:
            named = {
                "server.address": event.text("target"), "dependency.type": event.text("type"),
                "dependency.data": event.text("data"),
            }  # fmt: skip
        return Span(
            trace_id=self._trace_id(),
            span_id=_span_id(event.text("id")) or hashlib.sha256(event.item_id.encode()).digest()[:8],
            parent_span_id=_span_id(event.text("operation_ParentId")),
            name=self._cut(event.text("name")) or "n/a",
            kind=Span.SPAN_KIND_CLIENT if client else Span.SPAN_KIND_SERVER,
            start_time_unix_nano=event.time_ns,
            end_time_unix_nano=event.time_ns + min(took, 1 << 60),
            attributes=self._attributes({**named, "result.code": code}),
            status=Status(
                code=Status.STATUS_CODE_UNSET if event.values.get("success", True) else Status.STATUS_CODE_ERROR
            ),
        )

    def _record(self) -> LogRecord:
        event = self._event
        named, usual = {}, 1
        if event.kind is StreamKind.EXCEPTION:
            usual = 3
            named = {
                "exception.type": event.text("type"), "exception.message": event.text("message"),
                "exception.stacktrace": event.text("details"),
            }  # fmt: skip
        level = min(max(int(event.values.get("severityLevel", usual)), 0), 4)
        return LogRecord(
            time_unix_nano=event.time_ns,
            observed_time_unix_nano=event.time_ns,
            severity_number=_SEVERITY[level],
            body=AnyValue(string_value=self._cut(event.text("message"))),
            attributes=self._attributes(named),
            trace_id=self._trace_id(),
            span_id=_span_id(event.text("operation_ParentId")),
        )

    def _metric(self) -> Metric:
        event, values = self._event, self._event.values
        attributes = self._attributes({})
        count = int(values.get("valueCount", 1))
        name = self._cut(event.text("name")) or "n/a"
        if count <= 1:
            number = NumberDataPoint(attributes=attributes, time_unix_nano=event.time_ns, as_double=values["value"])
            return Metric(name=name, gauge=Gauge(data_points=[number]))
        point = HistogramDataPoint(
            attributes=attributes, start_time_unix_nano=event.time_ns, time_unix_nano=event.time_ns, count=count,
            sum=values["value"], bucket_counts=[count], min=values.get("valueMin"), max=values.get("valueMax"),
        )  # fmt: skip
        return Metric(
            name=name,
            histogram=Histogram(data_points=[point], aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA),
        )

    def _attributes(self, named: Mapping[str, str]) -> list[KeyValue]:
        """Ours, then the user's dimensions, then columns that this version does not know."""
        event = self._event
        found: dict[str, Any] = {"collectord.item_id": event.item_id, **self._more}
        found |= {name: value for name, value in named.items() if value}
        if operation := event.text("operation_Name"):
            found["operation.name"] = operation
        dimensions = event.dimensions()
        users = {DIMENSIONS: event.text(DIMENSIONS)} if dimensions is None else dimensions
        known = {column.name for column in (*COMMON, *EVENTS[event.kind].columns)}
        extra = {name: value for name, value in event.values.items() if name not in known}
        for at, (name, value) in enumerate({**users, **extra}.items()):
            if at >= self._number:
                found["collectord.cut"] = "…"
                break
            found.setdefault(self._cut(name), value)
        return [self._pair(name, value) for name, value in found.items()]

    def _pair(self, name: str, value: Any) -> KeyValue:
        return KeyValue(key=name, value=self._value(value))

    def _value(self, value: Any) -> AnyValue:
        match value:
            case bool():
                return AnyValue(bool_value=value)
            case int() if -(1 << 63) <= value < 1 << 63:
                return AnyValue(int_value=value)
            case float():
                return AnyValue(double_value=value)
            case str():
                return AnyValue(string_value=self._cut(value))
            case _:
                return AnyValue(string_value=self._cut(orjson.dumps(value).decode()))

    def _cut(self, text: str) -> str:
        if len(text) <= self._text:
            return text
        return f"{text[: self._text]}… [cut: {len(text)} characters]"

    def _trace_id(self) -> bytes:
        operation = self._event.text("operation_Id")
        if _TRACE_ID.fullmatch(operation) and int(operation, 16):
            return bytes.fromhex(operation)
        try:
            return uuid.UUID(self._event.item_id).bytes
        except ValueError:
            return hashlib.sha256(self._event.item_id.encode()).digest()[:16]


def _span_id(text: str) -> bytes:
    """Eight bytes; none where it is no span's id."""
    return bytes.fromhex(text) if _SPAN_ID.fullmatch(text) and int(text, 16) else b""
