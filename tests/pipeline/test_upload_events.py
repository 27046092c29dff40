"""The daemon's own uploads as events: for whom they are wanted, whatever came of them, and never of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable

from collectord.model import Stream, StreamKind
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Item
from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import Blocked
from tests.pipeline.node import Client, Node, landed_ids, schema, wait_until
from tests.pipeline.test_exporting import Recorder

MakeNode = Callable[..., Node]


class Keeper(Recorder):
    """Keeps the events themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def prepare(self, event: Event) -> Item:
        self.events.append(event)
        return Item(event.item_id, 100)


def test_each_attempt_is_a_dependency_of_its_service(node: MakeNode, store: MemoryStore) -> None:
    keeper = Keeper()
    running, rows = node(exporters=[keeper]), Client(schema())
    running.pipeline.upload_events.wanted = lambda stream: True
    store.plan("append", Fault(Blocked("forbidden", "no")))
    running.append(rows.batch(5))
    running.settle()
    wait_until(lambda: len(keeper.taken) == 2)
    failed, landed = keeper.events
    assert (failed.values["success"], failed.values["resultCode"]) == (False, "forbidden")
    assert (landed.values["success"], landed.values["resultCode"]) == (True, "201")
    for one in keeper.events:
        assert one.kind is StreamKind.DEPENDENCY
        assert (one.stream.model, one.stream.designation) == ("m", "dependencies")
        assert one.values["cloud_RoleInstance"] == "n1"
        assert one.values["duration"] >= 0
        assert json.loads(one.values["customDimensions"])["rows"] == 5
        assert one.values["data"].startswith("default/")
    assert failed.item_id != landed.item_id
    assert len(landed_ids(store, "inputs")) == 5
    running.settle()
    running.settle()
    assert len(keeper.events) == 2, "uploads of events are no events"
    assert running.balanced()


def test_nothing_is_told_where_nobody_wants_it(node: MakeNode) -> None:
    keeper = Keeper()
    running, rows = node(exporters=[keeper]), Client(schema())
    asked = []
    running.pipeline.upload_events.wanted = lambda stream: bool(asked.append(stream))
    running.append(rows.batch(5))
    running.settle()
    assert [(one.kind, one.designation, one.collection) for one in asked] == [
        (StreamKind.DEPENDENCY, "dependencies", "")
    ]
    assert running.pipeline.exports.drain(5)
    assert keeper.events == []


def test_a_fault_in_telling_does_not_concern_the_rows(node: MakeNode) -> None:
    running, rows = node(exporters=[Keeper()]), Client(schema())

    def wanted(stream: Stream) -> bool:
        raise RuntimeError("a fault of ours")

    running.pipeline.upload_events.wanted = wanted
    running.append(rows.batch(5))
    running.settle()
    assert running.numbers() == (5, 5, 0, 0)


def test_a_log_that_takes_nothing_is_no_reason_to_fail(node: MakeNode) -> None:
    running, rows = node(exporters=[Keeper()]), Client(schema())
    running.pipeline.upload_events.wanted = lambda stream: True
    running.append(rows.batch(5))
    running.log.close()
    running.settle()
    assert running.numbers() == (5, 5, 0, 0)
