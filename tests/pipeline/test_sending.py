"""What somebody else does to our blobs is told and counted, not only survived."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from collectord.testing.store import MemoryStore
from tests.pipeline.node import Client, Node, landed_ids, schema


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
