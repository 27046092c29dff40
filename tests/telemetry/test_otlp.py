"""Events as OpenTelemetry's messages, and what a receiver's answers mean."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collectord.model import Stream, StreamKind
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Answer, Barred, Fate, Item, Later, Sorted, TooMuch, Unfit, Unwanted
from collectord.telemetry.otlp import LOGS, MAX_ITEM, METRICS, TRACES, Otlp, judge
from collectord.telemetry.poster import NoReply, Reply
from collectord.testing.receiver import Receiver, attributes_of

STREAM = Stream("s", "rg", "ws", "svc", "m", "3", "x")
ID = "0190b8a0-0000-7000-8000-000000000001"
NOW = 1_700_000_000_123_456_789
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
        assert made.problems == []


@pytest.fixture
def exporter(receiver: Receiver) -> Iterator[Otlp]:
    made = Otlp(receiver.url, {"api-key": "k"})
    yield made
    made.close()


def event(kind: StreamKind, item_id: str = ID, **values: Any) -> Event:
    return Event(kind, STREAM, item_id, NOW, values)


def send(exporter: Otlp, *events: Event) -> Answer:
    items = [exporter.prepare(one) for one in events]
    return exporter.send([one for one in items if isinstance(one, Item)])


def test_a_request_is_a_span_of_the_service(receiver: Receiver, exporter: Otlp) -> None:
    one = event(
        StreamKind.REQUEST, id="c" * 16, operation_Id="a" * 32, operation_ParentId="b" * 16, name="POST /score", url="http://h",
        duration=12.5, resultCode="500", success=False, cloud_RoleInstance="pod",
        customDimensions='{"Request Id": "r", "n": 1, "x": 1.5, "yes": true, "deep": {"a": [1]}}',
    )  # fmt: skip
    assert send(exporter, one) == Sorted(((Fate.DELIVERED, ""),))
    (span,), (resource,) = receiver.items, receiver.resources
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == ("a" * 32, "c" * 16, "b" * 16)
    assert (span.kind, span.status.code, span.name) == (Span.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR, "POST /score")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (NOW, NOW + 12_500_000)
    assert attributes_of(span) == {
        "collectord.item_id": ID, "url.full": "http://h", "result.code": "500", "Request Id": "r", "n": 1, "x": 1.5, "yes": True,
        "deep": '{"a":[1]}',
    }  # fmt: skip
    assert resource == {
        "service.name": "svc", "service.instance.id": "pod", "azureml.workspace": "ws", "azureml.model": "m",
        "azureml.model_version": "3",
    }  # fmt: skip
    assert receiver.headers[0]["api-key"] == "k"


def test_dependencies_traces_exceptions_and_metrics(receiver: Receiver, exporter: Otlp) -> None:
    send(exporter, event(StreamKind.DEPENDENCY, type="SQL", target="db", name="q", success=True))
    send(
        exporter, event(StreamKind.TRACE, message="STDOUT", severityLevel=2),
        event(StreamKind.EXCEPTION, type="ValueError", message="no", details="Traceback"),
    )  # fmt: skip
    send(
        exporter, event(StreamKind.METRIC, name="n", value=2.0),
        event(StreamKind.METRIC, name="h", value=6.0, valueCount=3, valueMin=1.0, valueMax=3.0),
    )  # fmt: skip
    span, trace, failed, gauge, histogram = receiver.items
    assert (span.kind, attributes_of(span)["server.address"]) == (Span.SPAN_KIND_CLIENT, "db")
    assert len(span.trace_id), len(span.span_id) == (16, 8)
    assert (trace.body.string_value, trace.severity_number) == ("STDOUT", SeverityNumber.SEVERITY_NUMBER_WARN)
    assert attributes_of(failed)["exception.stacktrace"] == "Traceback"
    assert failed.severity_number == SeverityNumber.SEVERITY_NUMBER_ERROR
    assert gauge.gauge.data_points[0].as_double == 2.0
    point = histogram.histogram.data_points[0]
    assert (point.count, point.sum, point.min, point.max, list(point.bucket_counts)) == (3, 6.0, 1.0, 3.0, [3])


def test_ids_that_are_none_are_made_from_the_events_own(exporter: Otlp, receiver: Receiver) -> None:
    for bad in ("", "0" * 32, "x" * 32):
        send(exporter, event(StreamKind.REQUEST, name="n", operation_Id=bad, id="nope", operation_ParentId="0" * 16))
    for span in receiver.items:
        assert span.trace_id.hex() == ID.replace("-", "")
        assert span.span_id == hashlib.sha256(ID.encode()).digest()[:8]
        assert span.parent_span_id == b""


def test_the_same_event_always_makes_the_same_item(exporter: Otlp) -> None:
    for kind in (StreamKind.REQUEST, StreamKind.TRACE, StreamKind.METRIC):
        one = event(kind, name="n", value=math.nan, message="m", customDimensions='{"a": 1}')
        assert exporter.prepare(one) == exporter.prepare(one)
    assert exporter.prepare(event(StreamKind.METRIC, name="n")) == Unfit("not_a_number")


@pytest.mark.parametrize("duration", [math.nan, math.inf, -1.0, 1e300])
def test_a_duration_that_is_none_is_sent_all_the_same(exporter: Otlp, receiver: Receiver, duration: float) -> None:
    send(exporter, event(StreamKind.REQUEST, name="n", duration=duration))
    assert receiver.items[0].end_time_unix_nano >= NOW


def test_what_is_too_large_refers_to_a_blob(exporter: Otlp, receiver: Receiver) -> None:
    made = exporter.prepare(
        event(StreamKind.TRACE, message="m" * 300_000, customDimensions=json.dumps({"c": "x" * 300_000}))
    )
    assert isinstance(made, Item)
    assert made.size == len(made.body) <= MAX_ITEM
    assert made.whole is not None
    assert len(json.loads(made.whole[1])["message"]) == 300_000
    exporter.send([made])
    attributes = attributes_of(receiver.items[0])
    assert attributes["collectord.blob"] == made.whole[0]
    assert attributes["collectord.sha256"] == hashlib.sha256(made.whole[1]).hexdigest()
    assert receiver.items[0].body.string_value.endswith("… [cut: 300000 characters]")


def test_many_items_are_one_request(exporter: Otlp, receiver: Receiver) -> None:
    events = [event(StreamKind.TRACE, f"id-{at}", message=f"m{at}") for at in range(500)]
    assert send(exporter, *events) == Sorted(((Fate.DELIVERED, ""),) * 500)
    assert set(receiver.taken.values()) == {1}
    assert len(receiver.taken) == 500


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, TooMuch), (413, TooMuch), (401, Barred), (403, Barred), (404, Barred), (405, Barred), (415, Barred), (302, Barred),
     (408, Later), (429, Later), (500, Later), (502, Later), (503, Later), (504, Later), (599, Later), (418, Later)],
)  # fmt: skip
def test_every_status_has_its_remedy(status: int, kind: type) -> None:
    assert isinstance(judge(Reply(status, {}, b""), TRACES, 1, 0), kind)


def test_a_partial_success_says_how_many_and_not_which() -> None:
    body = ExportTraceServiceResponse()
    body.partial_success.rejected_spans = 2
    said = judge(Reply(200, PROTOBUF, body.SerializeToString()), TRACES, 5, 0)
    assert isinstance(said, Sorted)
    assert [fate for fate, _ in said.fates].count(Fate.REFUSED) == 2


@pytest.mark.parametrize(
    "reply", [Reply(200, {"Content-Type": "text/html"}, b"<html>"), Reply(200, PROTOBUF, b"\xff" * 9)]
)
def test_an_answer_of_somebody_else_is_no_answer(reply: Reply) -> None:
    for lane in (TRACES, LOGS, METRICS):
        said = judge(reply, lane, 1, 0)
        assert isinstance(said, Later)
        assert said.doubtful
    assert judge(Reply(200, {}, b""), LOGS, 1, 0) == Sorted(((Fate.DELIVERED, ""),))
    assert judge(NoReply("x", sent=True), LOGS, 1, 0) == Later("no_answer", "x", doubtful=True)


def test_json_is_the_protocols_other_form() -> None:
    """As some receivers answer whatever they were sent: without it each request would arrive again and again."""
    plain = {"Content-Type": "application/json; charset=utf-8"}
    assert judge(Reply(200, plain, b"{}"), LOGS, 1, 0) == Sorted(((Fate.DELIVERED, ""),))
    assert judge(Reply(200, plain, b'{"partialSuccess":{}}'), LOGS, 1, 0) == Sorted(((Fate.DELIVERED, ""),))
    said = judge(Reply(200, plain, b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}'), TRACES, 5, 0)
    assert isinstance(said, Sorted)
    assert [fate for fate, _ in said.fates].count(Fate.REFUSED) == 2
    for body in (b'{"error":"no"}', b"[]", b"{", b"\xff"):
        assert isinstance(judge(Reply(200, plain, body), LOGS, 1, 0), Later)


def test_what_a_receiver_has_no_place_for_is_given_up_if_it_takes_the_rest(exporter: Otlp, receiver: Receiver) -> None:
    receiver.plan("404")
    assert send(exporter, event(StreamKind.TRACE, message="m")) == Unwanted("no_receiver_of_logs")
    receiver.plan("404", "503", "404")
    said = send(exporter, event(StreamKind.METRIC, name="m", value=1.0))
    assert isinstance(said, Barred), "nothing says that there is a receiver at all"
    assert "metrics" in said.detail
    assert receiver.items == []


def test_a_probe_says_whether_somebody_answers(exporter: Otlp, receiver: Receiver) -> None:
    assert exporter.probe() == ""
    receiver.plan("200", "404")
    assert "logs" in exporter.probe()
    assert receiver.items == []


def test_the_receiver_takes_what_opentelemetrys_own_exporter_sends(receiver: Receiver) -> None:
    """The fake knows the protocol as the real thing speaks it."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
    with provider.get_tracer("t").start_as_current_span("theirs", attributes={"collectord.item_id": "theirs"}):
        pass
    provider.shutdown()
    assert receiver.taken == {"theirs": 1}
