"""A receiver of OTLP over HTTP on loopback: reads what it is sent, and answers as it is told.

It is held to the protocol by a test in which OpenTelemetry's own exporters send to it. Threads: the server's own; all may be asked
from any.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

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

from collectord.testing.planned import Answer, PlannedServer

_KINDS: dict[str, tuple[Any, Any, str]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse, "rejected_spans"),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse, "rejected_log_records"),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse, "rejected_data_points"),
}


class Receiver(PlannedServer):
    """`with Receiver() as receiver`: listens at `receiver.url`.

    A plan is a status as text, or `rejected` (one item was), `garbage`, `close`, `hang` (until `release`); then all is taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []
        """Spans, log records and metrics that were taken, in order."""
        self.resources: list[dict[str, Any]] = []
        """The attributes of the resource of each."""
        self.problems: list[str] = []
        self.headers: list[dict[str, str]] = []

    @property
    def taken(self) -> Counter[str]:
        """By the event's id, how often it was taken."""
        with self._lock:
            return Counter(str(attributes_of(item).get("collectord.item_id", "")) for item in self.items)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        plan = self._plans.popleft() if self._plans else ""
        headers = {name.lower(): value for name, value in headers.items()}
        self.headers.append(headers)
        if plan == "hang":
            self._released.wait()
            return None
        if plan == "close":
            return None
        if plan == "garbage":
            return 200, {"Content-Type": "text/html"}, b"<html>"
        if plan.isdecimal():
            return int(plan), {"Content-Type": "text/plain"}, b""
        if path not in _KINDS or headers.get("content-type") != "application/x-protobuf":
            self.problems.append(f"{path} {headers.get('content-type')}")
            return 404, {"Content-Type": "text/plain"}, b""
        request, response, rejected = _KINDS[path]
        try:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found = list(_read(request.FromString(body)))
        except (DecodeError, OSError) as error:
            self.problems.append(str(error))
            return 400, {"Content-Type": "text/plain"}, b""
        said = response()
        if plan == "rejected":
            setattr(said.partial_success, rejected, 1)
            found = found[1:]
        with self._lock:
            self.items += [item for item, _ in found]
            self.resources += [resource for _, resource in found]
        return 200, {"Content-Type": "application/x-protobuf"}, said.SerializeToString()


def attributes_of(item: Any) -> dict[str, Any]:
    """The attributes of a span, a log record, or a metric's only point, as plain values."""
    field = item.WhichOneof("data") if item.DESCRIPTOR.name == "Metric" else None
    pairs = getattr(item, field).data_points[0].attributes if field else item.attributes
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


def _read(message: Any) -> Iterable[tuple[Any, dict[str, Any]]]:
    """Every item of a request with the attributes of its resource."""
    (per_resource,) = (getattr(message, field.name) for field in message.DESCRIPTOR.fields)
    for one in per_resource:
        resource = attributes_of(one.resource)
        for scope in getattr(one, one.DESCRIPTOR.fields[1].name):
            for item in getattr(scope, scope.DESCRIPTOR.fields[1].name):
                yield item, resource
