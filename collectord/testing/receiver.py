"""A receiver of OTLP over HTTP on loopback: reads what it is sent, and answers as it is told.

It is held to the protocol by a test in which OpenTelemetry's own exporters send to it. Threads: its own; all may be asked from any.
"""

from __future__ import annotations

import gzip
import threading
from collections import Counter, deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
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

_KINDS: dict[str, tuple[Any, Any, str]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse, "rejected_spans"),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse, "rejected_log_records"),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse, "rejected_data_points"),
}


class Receiver:
    """`with Receiver() as receiver`: listens at `receiver.url`.

    A plan is a status as text, or `rejected` (one item was), `garbage`, `close`, `hang` (until `release`); then all is taken.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []
        """Spans, log records and metrics that were taken, in order."""
        self.resources: list[dict[str, Any]] = []
        """The attributes of the resource of each."""
        self.problems: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._plans: deque[str] = deque()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def taken(self) -> Counter[str]:
        """By the event's id, how often it was taken."""
        with self._lock:
            return Counter(str(attributes_of(item).get("collectord.item_id", "")) for item in self.items)

    @property
    def planned(self) -> int:
        """Plans that nobody has met yet."""
        return len(self._plans)

    def plan(self, *answers: str) -> None:
        """Answers to the next requests."""
        self._plans.extend(answers)

    def release(self) -> None:
        """Ends what hangs, now and later."""
        self._released.set()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes] | None:
        """Status, content type and body; None: the connection ends."""
        plan = self._plans.popleft() if self._plans else ""
        headers = {name.lower(): value for name, value in headers.items()}
        self.headers.append(headers)
        if plan == "hang":
            self._released.wait()
            return None
        if plan == "close":
            return None
        if plan == "garbage":
            return 200, "text/html", b"<html>"
        if plan.isdecimal():
            return int(plan), "text/plain", b""
        if path not in _KINDS or headers.get("content-type") != "application/x-protobuf":
            self.problems.append(f"{path} {headers.get('Content-Type')}")
            return 404, "text/plain", b""
        request, response, rejected = _KINDS[path]
        try:
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            found = list(_read(request.FromString(body)))
        except (DecodeError, OSError) as error:
            self.problems.append(str(error))
            return 400, "text/plain", b""
        said = response()
        if plan == "rejected":
            setattr(said.partial_success, rejected, 1)
            found = found[1:]
        with self._lock:
            self.items += [item for item, _ in found]
            self.resources += [resource for _, resource in found]
        return 200, "application/x-protobuf", said.SerializeToString()


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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is none of ours to tell about."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = receiver.answer(self.path, dict(self.headers), body)
            if answer is None:
                self.close_connection = True
                return
            status, kind, text = answer
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    return Handler
