"""Nothing is uploaded while somebody says so; and frames whose log is gone still land, once, and are in the books."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collectord.pipeline import Pipeline
from collectord.spool import open_ledger
from collectord.testing.store import LOST, Fault, MemoryStore
from collectord.upload.store import CONTROL_PREFIX, Unknown
from tests.pipeline.node import Client, Node, landed_ids, schema


def data(store: MemoryStore) -> list[str]:
    return [name for name in store.blobs if not name.startswith(CONTROL_PREFIX)]


def test_while_it_is_held_rows_are_taken_in_and_nothing_is_sent(tmp_path: Path) -> None:
    store = MemoryStore()
    node = Node(tmp_path / "spool", store)
    client = Client(schema())
    node.pipeline.dispatch.hold("a", "first reason")
    node.pipeline.dispatch.hold("b", "second reason", lasting=True)
    node.append(client.batch(5))
    assert node.pipeline.dispatch.held == "first reason; second reason"
    assert not node.pipeline.flush(3600), "a lasting one is not waited for"
    assert data(store) == []
    node.pipeline.dispatch.let_go("b")
    assert not node.pipeline.flush(0.3)
    assert data(store) == []
    assert node.balanced()
    node.pipeline.dispatch.let_go("a")
    node.pipeline.dispatch.let_go("a")
    assert node.pipeline.dispatch.held == ""
    assert node.pipeline.flush(20)
    assert landed_ids(store) == client.ids
    node.stop()


@pytest.mark.parametrize("landed", [True, False])
def test_a_frame_under_way_lands_once_though_its_log_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    """Its bytes and its place are in ledger and frames; the books say where its rows are, before and after."""
    store = MemoryStore()
    node = Node(tmp_path / "spool", store)
    client = Client(schema())
    node.append(client.batch(5))
    assert node.pipeline.flush(20)
    node.append(client.batch(7))
    fault = LOST if landed else Fault(Unknown("down"))
    store.plan("append", fault, *[Fault(Unknown("down"))] * 1000)
    for _ in range(200):
        if store.fired or node.pipeline.flush(0.1):
            break
    assert store.fired
    node.stop()
    store.heal()
    shutil.rmtree(node.spool / "log")
    opened = open_ledger(node.spool, node.spool / "log")
    assert opened.log_lost
    store.plan("append", *[Fault(Unknown("down"))] * 1)

    def made(**given: Any) -> Pipeline:
        return Pipeline(**{**given, "received": opened.received(given["received"])})

    monkeypatch.setattr("tests.pipeline.node.Pipeline", made)
    again = Node(node.spool, store)
    assert again.balanced()
    assert sum(book.received for book in again.pipeline.overview.books()) == 12
    more = Client(schema())
    again.append(more.batch(3))
    for _ in range(200):
        assert again.balanced()
        if again.pipeline.flush(0.1) and len(landed_ids(store)) == 15:
            break
    assert Counter(landed_ids(store)) == Counter(client.ids + more.ids)
    for _ in range(200):
        if sum(book.in_log for book in again.pipeline.overview.books()) == 0:
            break
    assert again.balanced()
    assert sum(book.landed for book in again.pipeline.overview.books()) == 15
    opened.ledger.close()
    again.stop()


def test_a_frame_under_way_lands_though_its_entry_was_damaged_meanwhile(tmp_path: Path) -> None:
    """Its bytes are in frames; the rows are not lost, and are not counted as lost."""
    store = MemoryStore()
    node = Node(tmp_path / "spool", store)
    client, other = Client(schema()), Client(schema("labels"))
    entry = client.batch(7)
    store.plan("append", *[Fault(Unknown("down"))] * 1000)
    node.append(entry)
    for _ in range(200):
        if store.fired or node.pipeline.flush(0.1):
            break
    assert store.fired
    # Behind it, so that it is no torn end of the log.
    node.append(other.batch(2))
    node.stop()
    store.heal()
    (segment,) = (node.spool / "log").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[content.index(bytes(entry.payload)) + 5] ^= 1
    segment.write_bytes(content)
    again = Node(node.spool, store, damaged=True)
    assert again.balanced()
    assert again.pipeline.flush(20)
    for _ in range(200):
        if len(landed_ids(store)) == 9:
            break
        assert again.pipeline.flush(0.1)
    assert Counter(landed_ids(store)) == Counter(client.ids + other.ids)
    assert sum(book.quarantined for book in again.pipeline.overview.books()) == 0
    assert again.balanced()
    again.stop()
