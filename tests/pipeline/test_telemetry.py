"""Telemetry events land as lines of JSON, each once, however the journey is interrupted."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from collectord.kinds import EVENTS
from collectord.model import Entry, EntryKind, Partition, StreamKind
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.naming import TELEMETRY_PREFIX, content_type
from collectord.upload.store import MAX_APPEND, Unknown
from tests.pipeline.node import HOUR, NOON, Client, Node, find, schema
from tests.sent_events import batch_of, schema_of

FOLDER = "_collectord/telemetry/traces/default/default/default/svc/best/1/2023/11/14/12"


class Events(Client):
    """Traces whose messages count up from 0, or say what they are given."""

    def __init__(self, kind: StreamKind = StreamKind.TRACE, **stream: str) -> None:
        super().__init__(schema_of(kind, **{"model": "best", **stream}))
        self.rows = 0

    def events(self, rows: int, time_ns: int = NOON, messages: Sequence[str] = (), **more: Any) -> Entry:
        self.sequence += 1
        ids = [str(uuid.uuid4()) for _ in range(rows)]
        self.ids += ids
        said = messages or [str(self.rows + at) for at in range(rows)]
        self.rows += rows
        events = [{"message": one, **more} for one in said]
        message = batch_of(self.schema, events, self.sequence, ids=ids, times=[time_ns] * rows)
        partition = Partition.of(self.schema.id, time_ns, 60)
        return Entry(EntryKind.BATCH, self.id, self.sequence, rows, message.SerializeToString(), self.schema, partition)


def blobs(store: MemoryStore) -> dict[str, bytes]:
    return {name: bytes(blob.content) for name, blob in store.blobs.items() if name.startswith(TELEMETRY_PREFIX)}


def landed(store: MemoryStore) -> list[dict[str, Any]]:
    return [json.loads(line) for _, text in sorted(blobs(store).items()) for line in text.splitlines()]


def test_events_land_in_their_hour_beside_the_data(node: Callable[..., Node], store: MemoryStore) -> None:
    """Whatever the rows of models do: those have their folder, and events have theirs."""
    daemon, client, rows = node(), Events(), Client(schema())
    for hour in (-1, 0, 3):
        daemon.append(client.events(2, NOON + hour * HOUR, customDimensions='{"a": {"b": [1]}}'))
    daemon.append(rows.batch(3))
    assert daemon.pipeline.flush(20)
    assert [name.split("/")[-2] for name in sorted(blobs(store))] == ["11", "12", "15"]
    name = f"{FOLDER}/{daemon.ledger.writer_id.hex()}.jsonl"
    assert name in blobs(store)
    assert store.blobs[name].content_type == content_type(name) == "application/x-ndjson"
    found = landed(store)
    assert [event["itemId"] for event in found] == client.ids
    assert [event["message"] for event in found] == [str(at) for at in range(6)]
    assert all(event["customDimensions"] == {"a": {"b": [1]}} for event in found)
    assert len([name for name in store.blobs if not name.startswith("_collectord/")]) == 1
    assert daemon.balanced()


@pytest.mark.parametrize("kind", EVENTS)
def test_each_kind_has_its_table(node: Callable[..., Node], store: MemoryStore, kind: StreamKind) -> None:
    """Also where a client calls its stream otherwise; patterns of another output do not hold for them."""
    daemon, client = node(mdc=["*/*/*"]), Events(kind, designation="inputs", collection="mine")
    daemon.append(client.events(1))
    assert daemon.pipeline.flush(20)
    (name,) = blobs(store)
    assert name.startswith(f"{TELEMETRY_PREFIX}{EVENTS[kind].table}/default/default/default/svc/best/1/")
    assert [event["itemType"] for event in landed(store)] == [EVENTS[kind].item_type]


def test_a_batch_larger_than_an_append_becomes_several_frames(node: Callable[..., Node], store: MemoryStore) -> None:
    daemon, client = node(), Events()
    daemon.append(client.events(2000, messages=["\x01" * 1500] * 2000))
    assert daemon.pipeline.flush(20)
    assert sum(map(len, blobs(store).values())) > 3 * MAX_APPEND
    assert b"collectord_frames_landed_total 1.0" not in daemon.metrics.render()
    assert Counter(event["itemId"] for event in landed(store)) == Counter(client.ids)
    assert daemon.balanced()


def test_a_frame_whose_answer_was_lost_lands_once(node: Callable[..., Node], store: MemoryStore) -> None:
    first, client = node(), Events()
    store.plan("append", Fault(Unknown("the answer was lost"), "after"), *[Fault(Unknown("again"))] * 50)
    first.append(client.events(4))
    while not store.fired:
        assert not first.pipeline.flush(0.2)
    first.stop()
    store.heal()
    second = node()
    assert second.pipeline.flush(20)
    assert [event["itemId"] for event in landed(store)] == client.ids
    assert second.balanced()


def test_an_event_too_large_as_json_is_set_aside_and_holds_nothing_up(
    node: Callable[..., Node], store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectord.pipeline.poison.TRIES", 1)
    daemon, client = node(), Events()
    daemon.append(client.events(1, messages=["before"]))
    daemon.append(client.events(1, messages=["\x01" * 800_000]))
    daemon.append(client.events(1, messages=["behind"]))
    assert daemon.pipeline.flush(15), daemon.pipeline.last_error
    assert sorted(event["message"] for event in landed(store)) == ["before", "behind"]
    (book,) = daemon.pipeline.overview.books()
    assert (book.landed, book.quarantined) == (2, 1)
    assert daemon.balanced()


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_landed_is_found_again_when_the_ledger_is_lost(
    node: Callable[..., Node], store: MemoryStore, everywhere: bool
) -> None:
    """Beside rows of a model, that are looked for elsewhere."""
    daemon, client, rows = node(flush_bytes=4096), Events(), Client(schema())
    daemon.append(client.events(300, customDimensions='{"text": "\\"\\n"}', operation_Name='"'))
    daemon.append(rows.batch(5))
    assert daemon.pipeline.flush(20)
    daemon.append(client.events(10))
    daemon.lose_ledger()
    again = node()
    found = find(again, store, everywhere=everywhere)
    assert {(one.rows, one.landed, one.again, one.given_up, one.notes) for one in found} == {
        (310, 300, 0, 0, ()), (5, 5, 0, 0, ()),
    }  # fmt: skip
    again.pipeline.rebuild(found)
    assert again.pipeline.flush(20)
    assert Counter(event["itemId"] for event in landed(store)) == Counter(client.ids)
    assert len(blobs(store)) == 2, "the writer is another one, and so is its file"
    assert again.balanced()


def test_a_damaged_line_hides_its_own_event_only(node: Callable[..., Node], store: MemoryStore) -> None:
    daemon, client = node(), Events()
    daemon.append(client.events(3))
    assert daemon.pipeline.flush(20)
    daemon.lose_ledger()
    again = node()
    (name,) = blobs(store)
    content = store.blobs[name].content
    content[content.index(b"\n") + 30] ^= 0xFF
    (found,) = find(again, store)
    assert (found.landed, found.again) == (1, 1)
