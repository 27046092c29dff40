"""The journey behind the acknowledgement, with the real rooms and a store in memory that fails as it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectord.errors import SpoolFull
from collectord.pipeline import Pipeline, journey, upkeep
from collectord.pipeline.snapshot import WaitingPiece
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.appender import Appender
from collectord.upload.store import CONTROL_PREFIX, Blocked, Unknown
from tests.pipeline.node import HOUR, NOON, Client, Node, landed_ids, schema, wait_until


def test_acknowledged_rows_land_once_in_the_order_of_the_log(node: Callable[..., Node], store: MemoryStore) -> None:
    """Several batches of one client stand in the blob in the order in which they were sent."""
    running = node()
    client = Client(schema())
    for rows in (1, 10, 1000, 3):
        running.append(client.batch(rows))
    assert running.pipeline.flush(10)
    assert landed_ids(store) == client.ids
    assert running.balanced()


def test_rows_are_uploaded_by_age_without_a_flush(node: Callable[..., Node], store: MemoryStore) -> None:
    """A quiet stream appears by itself after the flush interval."""
    running = node(flush_interval=0.2)
    client = Client(schema())
    running.append(client.batch(5))
    wait_until(lambda: len(landed_ids(store)) == 5)


def test_a_batch_larger_than_a_frame_is_cut_between_rows(node: Callable[..., Node], store: MemoryStore) -> None:
    """Frames smaller than a batch hold whole rows, and the cursor stands inside the batch in between."""
    running = node(flush_bytes=4096)
    client = Client(schema())
    running.append(client.batch(5000))
    running.append(client.batch(10))
    assert running.pipeline.flush(20)
    assert landed_ids(store) == client.ids
    appends = [request for request in store.requests if request[0] == "append"]
    assert len(appends) > 20
    assert running.balanced()


def test_a_restart_continues_inside_a_batch(tmp_path: Path, store: MemoryStore) -> None:
    """What has landed of a batch before the stop is not sent again after it."""
    first = Node(tmp_path / "spool", store, flush_bytes=4096)
    client = Client(schema())
    store.plan("append", *[None] * 5, *[Fault(Blocked("authorization", "no"))] * 1000)
    first.append(client.batch(5000))
    wait_until(lambda: store.fired > 0)
    first.stop()
    some = landed_ids(store)
    assert 0 < len(some) < 5000
    store.heal()
    second = Node(tmp_path / "spool", store, flush_bytes=4096)
    try:
        assert second.pipeline.flush(20)
        assert landed_ids(store) == client.ids
        assert second.balanced()
        assert second.marks.durable(client.id) == 1
    finally:
        second.stop()


def test_want_of_memory_is_said_in_words_and_costs_no_row(
    node: Callable[..., Node], store: MemoryStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be more in a moment; a traceback for each attempt would only fill the log."""
    monkeypatch.setattr("collectord.pipeline.dispatch.RETRY_UNEXPECTED", 0.01)
    running = node()
    sending = running.pipeline._sending
    make, failures = sending._make, 5

    def short(*given: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise MemoryError
        return make(*given)

    monkeypatch.setattr(sending, "_make", short)
    client = Client(schema())
    running.append(client.batch(10))
    assert running.pipeline.flush(20)
    assert failures == 0
    assert landed_ids(store) == client.ids
    assert "not enough memory for a frame" in running.pipeline.last_error
    assert "Traceback" not in caplog.text


def test_one_blocked_blob_holds_up_nobody_else(
    node: Callable[..., Node], store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """While one stream's blob refuses, another stream lands; the first lands when it heals. The log says whose it was."""
    running = node(flush_interval=0.1)
    refused, healthy = Client(schema("inputs")), Client(schema("labels"))
    store.plan("append", *[Fault(Blocked("authorization", "no"))] * 1)
    running.append(refused.batch(3))
    wait_until(lambda: store.fired > 0)
    running.append(healthy.batch(4))
    wait_until(lambda: len(landed_ids(store, "labels")) == 4)
    assert any(trouble.blocked for _, trouble in running.pipeline.overview.troubles())
    said = [record.__dict__["fields"] for record in caplog.records if "did not succeed" in record.getMessage()]
    assert [fields["stream"] for fields in said] == [refused.schema.stream.key()]
    assert running.balanced()
    assert running.pipeline.flush(10)
    assert landed_ids(store, "inputs") == refused.ids


def test_a_lost_reply_is_settled_without_a_second_copy(node: Callable[..., Node], store: MemoryStore) -> None:
    """The append took place, the answer did not arrive: the frame is there once."""
    running = node(flush_interval=0.1)
    client = Client(schema())
    store.plan("append", None, Fault(Unknown("reset"), when="after"))
    running.append(client.batch(7))
    wait_until(lambda: store.fired > 0)
    assert running.pipeline.flush(10)
    assert landed_ids(store) == client.ids
    assert running.balanced()


def test_segments_go_when_everything_in_them_has_landed(node: Callable[..., Node], store: MemoryStore) -> None:
    """The log does not keep what is in its blob."""
    running = node(flush_interval=0.1)
    client = Client(schema())
    for _ in range(8):
        running.append(client.batch(10_000))
    assert running.pipeline.flush(20)
    wait_until(lambda: len(running.log.catalog.segments()) <= 1)
    assert running.ledger.clients()[0].mark >= 7


def test_two_schemas_that_alternate_make_two_parts(node: Callable[..., Node], store: MemoryStore) -> None:
    """A changed header goes to a part of its own, and back again to the first one."""
    running = node()
    a, b = Client(schema(columns=("x", "y"))), Client(schema(columns=("x", "y", "z")))
    for _ in range(4):
        running.append(a.batch(2))
        assert running.pipeline.flush(10)
        running.append(b.batch(2))
        assert running.pipeline.flush(10)
    assert len([name for name in store.blobs if not name.startswith(CONTROL_PREFIX)]) == 2
    assert sorted(landed_ids(store)) == sorted(a.ids + b.ids)
    assert running.balanced()


def test_on_a_full_disk_the_reserve_lets_the_log_drain(
    node: Callable[..., Node], store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the reserve takes up the room, staging fails; it is given up, the rows land, and it is taken again."""
    reserve = tmp_path / "spool" / "reserve"
    running = node(flush_interval=0.1)
    wait_until(reserve.exists)
    stage = Appender.stage
    refused = []

    def full(self: Appender, *args: Any) -> Any:
        if reserve.exists():
            refused.append(1)
            raise SpoolFull("no room")
        return stage(self, *args)

    monkeypatch.setattr(Appender, "stage", full)
    client = Client(schema())
    running.append(client.batch(3))
    wait_until(lambda: landed_ids(store) == client.ids)
    assert refused
    wait_until(reserve.exists)
    assert running.balanced()


def test_a_day_has_a_blob_of_its_own(node: Callable[..., Node], store: MemoryStore) -> None:
    """Rows before and after midnight are filed under their own day."""
    running = node()
    client = Client(schema())
    running.append(client.batch(2, NOON), client.batch(3, NOON + 12 * HOUR))
    assert running.pipeline.flush(10)
    assert sorted(len(landed_ids(store, day)) for day in ("/14/", "/15/")) == [2, 3]


def is_read(running: Node) -> bool:
    return running.pipeline._state.taken_to == running.log.durable


def let_it_rest(running: Node, client: Client) -> None:
    """It does after a look that has found something; another look, that finds nothing, ends that."""
    while running.pipeline._rests_until is None:
        running.append(client.batch(1))
        wait_until(lambda: is_read(running) or running.pipeline._rests_until is not None)


Resting = Callable[[float], tuple[Node, Client]]


@pytest.fixture
def resting(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> Resting:
    """A node whose pipeline rests for so many seconds, in which nothing else wakes it by itself."""

    def make(seconds: float) -> tuple[Node, Client]:
        monkeypatch.setattr(journey, "REST_SECONDS", seconds)
        monkeypatch.setattr(upkeep, "RETIRE_EVERY", 3600.0)
        running, client = node(segment_bytes=4 << 20), Client(schema())
        let_it_rest(running, client)
        return running, client

    return make


def test_while_little_comes_a_commit_does_not_wake_the_pipeline(resting: Resting) -> None:
    """Who asks for the books, or a lot of bytes, wakes it all the same."""
    running, client = resting(3600.0)
    for _ in range(3):
        running.append(client.batch(1))
    assert not running.pipeline._state.work
    assert not is_read(running)
    assert running.numbers() == (len(client.ids), 0, len(client.ids), 0)
    let_it_rest(running, client)
    running.append(client.batch(journey.UNREAD_BYTES // 16))
    wait_until(lambda: is_read(running))


@pytest.mark.parametrize(
    "look",
    [
        lambda pipeline: pipeline.overview.waiting().rows,
        lambda pipeline: sum(book.received for book in pipeline.overview.books()),
        lambda pipeline: sum(rows for _, _, rows in pipeline.overview.search([b""], 1 << 30)[0]),
        lambda pipeline: sum(stream.rows for stream in pipeline.snapshots.streams()),
        lambda pipeline: sum(
            piece.rows
            for piece in pipeline.snapshots.take(lambda _: True, 0, 1 << 40, 1 << 30)
            if isinstance(piece, WaitingPiece)
        ),
        lambda pipeline: pipeline.stop() and pipeline.overview.waiting().rows,
    ],
    ids=["waiting", "books", "where", "streams", "rows", "end"],
)
def test_who_looks_sees_what_came_while_the_pipeline_rested(resting: Resting, look: Callable[[Pipeline], int]) -> None:
    """Rows that were acknowledged are there for whoever asks, at once."""
    running, client = resting(3600.0)
    running.append(client.batch(3))
    assert look(running.pipeline) == len(client.ids)


def test_what_came_while_the_pipeline_rested_is_read_by_itself(resting: Resting) -> None:
    """No commit follows."""
    running, client = resting(0.5)
    running.append(client.batch(1))
    wait_until(lambda: is_read(running))
