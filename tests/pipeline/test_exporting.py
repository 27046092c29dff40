"""Events of the log reach an exporter that dawdles, fails or hangs, and nobody else is the worse for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from collectord.model import MINUTES_PER_HOUR, Entry, EntryKind, Partition, Schema, StreamKind
from collectord.pipeline import event_reader, upkeep
from collectord.pipeline.lag import Limits
from collectord.telemetry import delivery
from collectord.telemetry.appinsights import AppInsights
from collectord.telemetry.connection import parse
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Answer, Barred, Fate, Item, Later, Sorted, Unfit
from collectord.testing.ingestion import Ingestion
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import Blocked
from tests.pipeline.node import NOON, Client, Node, schema, wait_until
from tests.sent_events import batch_of, schema_of, traces

TRACES = schema_of(StreamKind.TRACE)
MakeNode = Callable[..., Node]
TAKEN, AGAIN = (Fate.DELIVERED, ""), (Fate.AGAIN, "item_500")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done every second is done all the time."""
    monkeypatch.setattr(upkeep, "RETIRE_EVERY", 0.02)
    monkeypatch.setattr(delivery, "LINGER", 0.02)
    monkeypatch.setattr(delivery, "AGAIN_FIRST", 0.05)


class Recorder:
    """An exporter that answers as it is told, and remembers what it was given."""

    def __init__(self, name: str = "fake", answer: Callable[[Sequence[Item]], Answer] | None = None) -> None:
        self.name = name
        self.answer = answer or (lambda items: Sorted((TAKEN,) * len(items)))
        self.taken: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.requests = 0
        self.closed = False

    def prepare(self, event: Event) -> Item | Unfit:
        if event.text("message") == "unfit":
            return Unfit("not_a_number")
        assert event.text("message") != "poison"
        whole = (f"_collectord/telemetry/large/{event.item_id}", b"{}") if event.text("message") == "large" else None
        return Item(event.item_id, 100, whole=whole)

    def send(self, items: Sequence[Item]) -> Answer:
        self.requests += 1
        self.seen.update(one.body for one in items)
        answer = self.answer(items)
        if isinstance(answer, Sorted):
            self.taken.update(
                one.body for one, (fate, _) in zip(items, answer.fates, strict=True) if fate is Fate.DELIVERED
            )
        return answer

    def probe(self) -> str:
        return ""

    def describe(self) -> str:
        return "a fake"

    def close(self) -> None:
        self.closed = True


class Events:
    """A client that sends traces."""

    def __init__(self) -> None:
        self.id = os.urandom(16)
        self.sequence = 0
        self.ids: list[str] = []

    def batch(self, number: int = 10, message: str = "") -> Entry:
        self.sequence += 1
        made, ids = traces(number, len(self.ids))
        self.ids += ids
        if message:
            made[0]["message"] = message
        body = batch_of(TRACES, made, self.sequence, ids=ids, times=[NOON] * number).SerializeToString()
        partition = Partition.of(TRACES.id, NOON, MINUTES_PER_HOUR)
        return Entry(EntryKind.BATCH, self.id, self.sequence, number, body, TRACES, partition)


def metric(node: Node, name: str, **labels: str) -> float:
    return metric_of(node, name, "fake", **labels)


def metric_of(node: Node, name: str, exporter: str, **labels: str) -> float:
    return node.metrics.registry.get_sample_value(f"collectord_export_{name}", {"exporter": exporter, **labels}) or 0.0


def totals(node: Node, name: str = "fake") -> tuple[int, int, int]:
    """Delivered, refused and expired."""
    (found,) = [one for one in node.pipeline.exports.status() if one["name"] == name]
    return found["delivered"], found["refused"], found["expired"]


def test_events_reach_every_exporter_once_and_rows_none(node: MakeNode) -> None:
    one, two = Recorder("fake"), Recorder("other")
    running, events, rows = node(exporters=[one, two]), Events(), Client(schema())
    for _ in range(20):
        running.append(events.batch(), rows.batch(5))
    wait_until(lambda: one.taken.keys() == two.taken.keys() == set(events.ids))
    assert one.taken == two.taken == Counter(events.ids)
    assert running.pipeline.exports.drain(10)
    assert totals(running) == (200, 0, 0)
    assert metric(running, "lag_bytes") == 0
    running.stop()
    assert one.closed


def test_after_a_restart_only_what_was_not_settled_is_sent_again(node: MakeNode) -> None:
    def partly(items: Sequence[Item]) -> Answer:
        return Sorted(tuple(AGAIN if int(one.body[-2:], 16) % 5 == 0 else TAKEN for one in items))

    first = Recorder(answer=partly)
    running, events = node(exporters=[first]), Events()
    running.append(events.batch(100))
    wait_until(lambda: len(first.taken) == 80 and len(first.seen) == 100)
    wait_until(lambda: totals(running)[0] == 80)
    running.stop()
    second = Recorder()
    again = node(exporters=[second])
    again.append(events.batch(10))
    wait_until(lambda: len(second.taken) == 30)
    assert first.taken + second.taken == Counter(events.ids)
    wait_until(lambda: totals(again) == (110, 0, 0))


def test_a_request_without_an_answer_is_repeated_after_a_restart_and_nothing_else(node: MakeNode) -> None:
    """As after kill -9: the ledger says what was settled before it."""
    hang = threading.Event()
    first = Recorder()
    running, events = node(exporters=[first]), Events()
    running.append(events.batch(50))
    wait_until(lambda: totals(running)[0] == 50)

    def hanging(items: Sequence[Item]) -> Answer:
        hang.wait(30)
        return Later("no_answer", "", doubtful=True)

    first.answer = hanging
    running.append(events.batch(50))
    wait_until(lambda: len(first.seen) > 50)
    state = running.ledger.exported.get("fake")
    hang.set()
    running.stop()
    assert state is not None
    assert state.totals.delivered == 50
    second = Recorder()
    node(exporters=[second])
    wait_until(lambda: len(second.taken) == 50)
    assert not second.taken.keys() & first.taken.keys()


def test_an_exporter_that_hangs_holds_up_neither_rows_nor_others_and_loses_the_oldest_counted(node: MakeNode) -> None:
    hang = threading.Event()

    def hanging(items: Sequence[Item]) -> Answer:
        hang.wait(60)
        return Sorted((TAKEN,) * len(items))

    wedged, well = Recorder("fake", hanging), Recorder("other")
    running = node(
        exporters=[wedged, well], segment_bytes=1 << 20, log_bytes=4 << 20, limits=Limits(3600, 1 << 20), flush_bytes=64 << 10
    )  # fmt: skip
    events, rows = Events(), Client(schema())
    for _ in range(9):
        for _ in range(3):
            running.append(events.batch(10), rows.batch(7000))
        wait_until(lambda: len(well.taken) == len(events.ids))
        running.settle()
    assert running.log.used_bytes <= 4 << 20
    assert totals(running, "other") == (270, 0, 0)
    assert metric(running, "lag_bytes") <= 1 << 20
    hang.set()
    wait_until(lambda: running.pipeline.exports.drain(5))
    delivered, refused, expired = totals(running)
    assert (delivered + expired, refused) == (270, 0)
    assert expired > 0
    assert delivered == len(wedged.taken)
    assert metric(running, "expired_total") == expired
    assert sum(wedged.taken.values()) == len(wedged.taken)
    assert (
        len(running.log.catalog.segments()) <= 2 or wait_until(lambda: len(running.log.catalog.segments()) <= 2) is None
    )
    assert running.balanced()


def test_segments_stay_while_an_exporter_needs_them_and_go_then(node: MakeNode) -> None:
    exporter = Recorder(answer=lambda _: Barred("http_401", "no permission"))
    running = node(exporters=[exporter], segment_bytes=1 << 20)
    events, rows = Events(), Client(schema())
    running.append(events.batch())
    for _ in range(20):
        running.append(rows.batch(7000))
    running.settle()
    wait_until(lambda: metric(running, "blocked") == 1)
    before = len(running.log.catalog.segments())
    assert before > 3, before
    assert running.pipeline.exports.status()[0]["trouble"] == "no permission"
    running.stop()
    second = Recorder()
    again = node(exporters=[second], segment_bytes=1 << 20)
    wait_until(lambda: len(second.taken) == 10)
    wait_until(lambda: len(again.log.catalog.segments()) < before - 2)


def test_events_that_wait_too_long_expire_counted(node: MakeNode) -> None:
    exporter = Recorder(answer=lambda _: Barred("http_401", "no permission"))
    running, events = node(exporters=[exporter], limits=Limits(0.2, 1 << 30)), Events()
    running.append(events.batch(25))
    wait_until(lambda: metric(running, "expired_total") == 25)
    assert totals(running) == (0, 0, 25)
    assert running.pipeline.exports.drain(10)


def test_what_cannot_be_made_an_item_is_refused_and_the_others_go(node: MakeNode) -> None:
    exporter = Recorder()
    running, events = node(exporters=[exporter]), Events()
    running.append(events.batch(5, message="unfit"), events.batch(5, message="poison"), events.batch(5))
    wait_until(lambda: totals(running) == (13, 2, 0))
    assert metric(running, "refused_total", reason="not_a_number") == 1
    assert metric(running, "refused_total", reason="unencodable") == 1


def test_events_that_cannot_be_read_are_refused_and_what_is_behind_them_goes(
    node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = event_reader.events_of

    def faulty(schema: Schema, payload: memoryview, start: int, stop: int) -> list[Event]:
        if start == 100:
            raise KeyError("a fault of ours")
        return real(schema, payload, start, stop)

    monkeypatch.setattr(event_reader, "events_of", faulty)
    exporter = Recorder()
    running, events = node(exporters=[exporter]), Events()
    running.append(events.batch(250), events.batch(10))
    wait_until(lambda: totals(running) == (160, 100, 0))
    assert metric(running, "refused_total", reason="damaged") == 100


def test_a_large_event_waits_for_its_blob_and_holds_up_nobody(node: MakeNode, store: MemoryStore) -> None:
    exporter = Recorder()
    store.plan("create", Fault(Blocked("forbidden", "no")), Fault(Blocked("forbidden", "no")))
    running, events = node(exporters=[exporter]), Events()
    running.append(events.batch(5, message="large"))
    wait_until(lambda: len(exporter.taken) == 5)
    assert metric(running, "retried_total", reason="store") == 2
    assert metric(running, "large_total") == 1
    assert list(exporter.seen)[-1] == events.ids[0], "the others went first"
    assert bytes(store.blobs[f"_collectord/telemetry/large/{events.ids[0]}"].content) == b"{}"


def test_large_events_that_cannot_be_stored_take_no_room_from_the_others(
    node: MakeNode, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "HELD_BYTES", 2000)
    exporter = Recorder()
    running, events = node(exporters=[exporter]), Events()
    real = store.create
    monkeypatch.setattr(store, "create", lambda *_: Blocked("forbidden", "no"))
    running.append(*[events.batch(1, message="large") for _ in range(30)], events.batch(100))
    wait_until(lambda: exporter.taken.keys() == set(events.ids[30:]))
    monkeypatch.setattr(store, "create", real)
    wait_until(lambda: len(exporter.taken) == 130)
    assert totals(running) == (130, 0, 0)


def test_a_clock_that_is_set_forward_expires_nothing(node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Recorder(answer=lambda _: Barred("http_401", "no permission"))
    running, events = node(exporters=[exporter]), Events()
    running.append(events.batch())
    wait_until(lambda: metric(running, "lag_seconds") > 0.05)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**18)
    before = exporter.requests
    monkeypatch.setattr(delivery, "BARRED_FIRST", 0.05)
    for _ in range(20):
        running.pipeline.exports.expire()
    assert totals(running) == (0, 0, 0)
    assert 0 < metric(running, "lag_seconds") < 3600
    assert exporter.requests >= before


def test_with_a_wrong_key_nothing_is_lost_and_with_the_right_one_all_arrives(node: MakeNode) -> None:
    with Ingestion() as endpoint:
        right = endpoint.connection_string
        running, events = node(exporters=[AppInsights(parse(right.replace("1234", "9999")))]), Events()
        running.append(events.batch(300))
        wait_until(lambda: metric_of(running, "blocked", "app_insights") == 1)
        (status,) = running.pipeline.exports.status()
        assert "instrumentation key" in status["trouble"]
        running.stop()
        again = node(exporters=[AppInsights(parse(right))])
        wait_until(lambda: len(endpoint.taken) == 300)
        assert again.pipeline.exports.drain(10)
        assert totals(again, "app_insights") == (300, 0, 0)
        assert set(endpoint.taken.values()) == {1}


def test_an_exporter_that_is_configured_no_more_says_what_it_gives_up(
    node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Recorder(answer=lambda items: Later("http_503", "HTTP 503"))
    running, events = node(exporters=[exporter]), Events()
    running.append(events.batch(300))
    wait_until(lambda: exporter.requests > 0)
    running.stop()
    with caplog.at_level(logging.WARNING, "collectord.export"):
        caplog.clear()
        node().stop()
    (told,) = [one for one in caplog.records if "not configured any more" in one.getMessage()]
    assert told.__dict__["fields"] == {"exporter": "fake", "events": 300}


def test_an_exporter_that_is_configured_later_begins_with_what_comes_then(node: MakeNode) -> None:
    running, events = node(), Events()
    running.append(events.batch())
    running.stop()
    exporter = Recorder()
    again = node(exporters=[exporter])
    again.append(events.batch())
    wait_until(lambda: len(exporter.taken) == 10)
    assert exporter.taken.keys() == set(events.ids[10:])
    again.stop()
    assert node().ledger.exported.get("fake") is None
