"""What the log holds is taken in once, whatever fails on the way."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.clock import SystemClock
from collectord.ingest.remembered import client_of
from collectord.model import ENTRY_BYTES, Entry, EntryKind, Partition, StreamKind
from collectord.testing.store import MemoryStore
from tests.buffer.test_event_totals import payload
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until
from tests.reference_batch import NOW
from tests.sent_events import schema_of


def dropped(running: Node) -> int:
    return sum(book.dropped_by_clients.get("outbox_full", 0) for book in running.pipeline.overview.books())


def test_dropped_rows_are_kept_in_the_books(
    tmp_path: Path, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What clients say to have dropped is a running total: repeated reports and restarts add nothing, and say nothing."""
    client = os.urandom(16)

    def report(rows: int, reason: str = "outbox_full") -> Entry:
        count = pb.DropCount(stream=pb.Stream(model="m", designation="inputs"), reason=reason, rows=rows)
        return Entry(EntryKind.DROPPED, client, 0, 0, pb.Dropped(counts=[count]).SerializeToString())

    first = Node(tmp_path / "spool", store)
    first.append(report(5), report(9))
    first.append(report(9))
    wait_until(lambda: dropped(first) == 9)
    first.stop()
    second = Node(tmp_path / "spool", store)
    try:
        second.append(report(11))
        second.append(report(50, "switched_off"))
        wait_until(lambda: dropped(second) == 11)
    finally:
        second.stop()
    said = [
        record.__dict__["fields"] for record in caplog.records if record.getMessage() == "a client has dropped rows"
    ]
    assert {(fields["stream"], fields["reason"]) for fields in said} == {
        ("default/default/default/default/m/default/inputs/default", "outbox_full")
    }
    assert sum(fields["rows"] for fields in said) == 11


def test_a_connected_client_that_was_silent_for_long_is_forgotten_nowhere(tmp_path: Path, store: MemoryStore) -> None:
    """Its totals run on, and would count twice beside what the ledger had put under no client; its mark is still wanted."""
    client = os.urandom(16)

    def report(rows: int) -> Entry:
        count = pb.DropCount(stream=pb.Stream(model="m", designation="inputs"), reason="outbox_full", rows=rows)
        return Entry(EntryKind.DROPPED, client, 0, 0, pb.Dropped(counts=[count]).SerializeToString())

    first = Node(tmp_path / "spool", store)
    first.marks.greet(client, 1)
    first.marks.observe(client, 7, 1)
    first.append(report(9))
    wait_until(lambda: dropped(first) == 9)
    upkeep = first.pipeline._upkeep
    upkeep.checkpoint(retire=False)
    upkeep._connected = lambda: frozenset({client})
    upkeep._prune(first.log.durable)
    first.append(report(11))
    wait_until(lambda: dropped(first) == 11)
    first.stop()
    second = Node(tmp_path / "spool", store)
    try:
        assert dropped(second) == 11
        assert second.marks.greet(client, 2) == 8
    finally:
        second.stop()


def test_a_clock_that_is_set_ahead_makes_nobody_silent(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload that is sent again, and a client that comes again, are known; also after a restart."""
    client, payload_id = os.urandom(16), client_of("c", "t")
    first = Node(tmp_path / "spool", store)
    wall = time.time_ns()
    first.marks.observe(client, 7, wall)
    first.marks.observe(payload_id, 1, wall)
    upkeep = first.pipeline._upkeep
    upkeep.checkpoint(retire=False)
    month = 30 * 86_400_000_000_000
    monkeypatch.setattr(SystemClock, "wall_ns", lambda _: time.time_ns() + month)
    upkeep._follow_clock()
    upkeep.checkpoint(retire=False)
    upkeep._prune(first.log.durable)
    assert first.marks.has_stored(payload_id)
    assert first.marks.greet(client, wall + month) == 8
    first.stop()
    second = Node(tmp_path / "spool", store)
    try:
        assert second.marks.has_stored(payload_id)
        assert second.marks.greet(client, wall + month) == 8
    finally:
        second.stop()


def test_what_cannot_be_taken_in_is_tried_again_with_all_behind_it(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of dropped rows cannot be read once: no batch behind it is passed over, nor counted twice."""
    running = node()
    client = Client(schema())
    read, failures = running.pipeline._reading._reader.read_payload, iter([OSError(5, "input/output error")] * 2)

    def failing(*arguments: Any) -> memoryview:
        for error in failures:
            raise error
        return read(*arguments)

    monkeypatch.setattr(running.pipeline._reading._reader, "read_payload", failing)
    report = Entry(EntryKind.DROPPED, client.id, 0, 0, pb.Dropped().SerializeToString())
    running.append(client.batch(10), report, client.batch(20))
    running.append(client.batch(5))
    assert running.pipeline.flush(20)
    assert landed_ids(store) == client.ids
    assert running.balanced()
    assert next(failures, None) is None, "the fault did not happen"


def test_a_declaration_is_held_for_its_batch_though_that_was_taken_in_at_the_second_attempt(
    node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = node()
    index = running.pipeline._state.index
    running.append(Client(schema()).batch(1))
    wait_until(lambda: index.rows == 1)
    before = index.bytes
    known, failures = running.pipeline._known.knows, iter([OSError(5, "input/output error")])

    def failing(schema_id: bytes) -> bool:
        for error in failures:
            raise error
        return known(schema_id)

    monkeypatch.setattr(running.pipeline._known, "knows", failing)
    entry = Client(schema("other")).batch(1)
    running.append(entry)
    wait_until(lambda: index.rows == 2)
    assert entry.schema is not None
    assert index.bytes - before > len(entry.payload) + 2 * ENTRY_BYTES + len(entry.schema.raw)
    assert next(failures, None) is None, "the fault did not happen"


def events(kind: StreamKind, count: int, sequence: int, sampled: bool = False) -> Entry:
    schema = schema_of(kind, sampled=sampled)
    raw = payload(schema, [(20.0, False)] * count, sampling=0.5)
    return Entry(EntryKind.BATCH, b"e" * 16, sequence, count, raw, schema, Partition.of(schema.id, NOW, 1440))


def test_telemetry_is_counted_as_it_becomes_durable_and_not_again_after_a_restart(
    tmp_path: Path, store: MemoryStore
) -> None:
    """What only has to be counted is not even read."""
    first = Node(tmp_path / "spool", store)
    read = first.pipeline._reading._reader.read_payload
    reads: list[object] = []
    first.pipeline._reading._reader.read_payload = lambda one: (reads.append(one), read(one))[1]  # type: ignore[method-assign,assignment,misc]
    first.append(events(StreamKind.REQUEST, 3, 1), events(StreamKind.TRACE, 4, 2), Client(schema()).batch(5))
    first.append(events(StreamKind.EXCEPTION, 2, 3, sampled=True), events(StreamKind.METRIC, 7, 4))
    wait_until(lambda: len(reads) == 2)
    wait_until(lambda: first.pipeline.event_minutes.recent() is not None)
    first.settle()
    found = first.pipeline.event_minutes.recent()
    assert found is not None
    counts = {kind: said["per_minute"] for kind, said in found.items()}
    assert counts["trace"] > 0
    assert counts["request"] == pytest.approx(counts["trace"] * 3 / 4, abs=0.01)
    assert counts["exception"] == pytest.approx(counts["trace"], abs=0.01)
    assert found["request"]["failed_percent"] == 100
    first.stop()
    second = Node(tmp_path / "spool", store)
    second.settle()
    assert second.pipeline.event_minutes.recent() is None
    second.stop()


def test_telemetry_that_cannot_be_read_for_counting_still_lands(
    node: Callable[..., Node], store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    running = node()

    def failing(*arguments: Any) -> memoryview:
        raise OSError(5, "input/output error")

    running.pipeline._reading._reader.read_payload = failing  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING, "collectord.pipeline"):
        running.append(events(StreamKind.REQUEST, 3, 1))
        running.settle()
    assert any("could not be counted" in record.getMessage() for record in caplog.records)
    (book,) = running.pipeline.overview.books()
    assert (book.received, book.landed) == (3, 3)
