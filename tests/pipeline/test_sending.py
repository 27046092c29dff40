"""What somebody else does to our blobs is told and counted, not only survived."""

from __future__ import annotations

import logging
from collections.abc import Callable

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
