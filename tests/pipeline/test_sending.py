"""What somebody else does to our blobs is told and counted, not only survived."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import Blocked
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until


def test_a_blob_deleted_behind_our_back_is_told_and_counted(
    node: Callable[..., Node],
    store: MemoryStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes next begins the blob afresh; a warning names it, and a metric counts it."""
    running = node()
    client = Client(schema())
    running.append(client.batch(3))
    assert running.pipeline.flush(10)
    (name,) = [name for name in store.blobs if name.endswith(".csv.zst")]
    del store.blobs[name]
    running.append(client.batch(2))
    with caplog.at_level(logging.WARNING, "collectord.pipeline"):
        assert running.pipeline.flush(10)
    assert landed_ids(store) == client.ids[3:]
    assert 'collectord_blob_findings_total{finding="replaced"} 1.0' in running.metrics.render().decode()
    assert any("deleted or replaced behind our back" in record.getMessage() for record in caplog.records)


def test_appends_bytes_blob_and_errors_of_a_stream_are_told(node: Callable[..., Node], store: MemoryStore) -> None:
    """An attempt that fails costs as much as others, and is named until something else fails."""
    running = node()
    client = Client(schema())
    store.plan("append", Fault(Blocked("forbidden", "no rights")))
    running.append(client.batch(3))
    wait_until(lambda: bool(running.pipeline.overview.troubles()) or running.pipeline.flush(0.1))
    running.settle()
    (name,) = [name for name in store.blobs if name.endswith(".csv.zst")]
    (key,) = [book.stream for book in running.pipeline.overview.books()]
    flow = running.pipeline.traffic.view()[0][key]
    assert (flow.operations, flow.blob) == (2, name)
    assert "forbidden" in flow.error
    assert 0 < flow.bytes <= len(store.blobs[name].content)
    (error,) = running.pipeline.overview.errors()
    assert "forbidden" in error.what
    assert running.pipeline.last_error == error.what


@pytest.mark.parametrize("makers", [1, 3])
def test_no_more_frames_are_made_at_a_time_than_may_be(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch, makers: int
) -> None:
    """Though four blobs are in hand: one core stays with those who wait for an acknowledgement."""
    running = node(makers=makers)
    framer, dispatch = running.pipeline._framer, running.pipeline.dispatch
    made, lock, full = framer.make, threading.Lock(), threading.Event()
    now = most = 0

    def make(*args: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        wait_until(lambda: full.is_set() or (now == makers and len(dispatch._busy) == 4))
        full.set()
        frame = made(*args)
        with lock:
            now -= 1
        return frame

    monkeypatch.setattr(framer, "make", make)
    clients = [Client(schema(f"d{number}")) for number in range(4)]
    for client in clients:
        running.append(client.batch(10))
    assert running.pipeline.flush(30)
    assert most == makers
    assert len(landed_ids(store)) == 40
