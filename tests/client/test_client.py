"""Arguments that can never work are refused at once; everything later is counted."""

from __future__ import annotations

from typing import Any

import pytest
from collectord_client import Client

from tests.client.fakedaemon import FakeDaemon


@pytest.mark.parametrize(
    "wrong",
    [
        {"workspace": "a/b/c/d"},
        {"outbox": "spill"},
        {"outbox_bytes": 10},
        {"page_bytes": 10},
        {"page_bytes": 1 << 21},
        {"linger": -1},
        {"model": "x" * 256},
        {"version": "a\n"},
        {"webservice": "\ud800"},
        {"version": 10},
    ],
    ids=str,
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Client(**wrong)


@pytest.mark.parametrize(
    ("workspace", "levels"),
    [("sub/rg/ws", ("sub", "rg", "ws")), ("rg/ws", ("", "rg", "ws")), ("ws", ("", "", "ws")), ("", ("", "", ""))],
)
def test_the_rightmost_level_is_the_workspace(workspace: str, levels: tuple[str, str, str]) -> None:
    stream = Client(workspace=workspace)._stream
    assert (stream.subscription, stream.resource_group, stream.workspace) == levels


@pytest.mark.parametrize("names", [["a\0"], ["x" * 1025], ["x"] * 10_001])
def test_names_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(ValueError):
        Client().collector("inputs", names)


def test_names_and_designations_of_a_call_are_counted_not_raised(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect([1.0], "in\nputs")
    client.collect([1.0], "inputs", ["a\0"])
    client.collect([1.0], "inputs", 5)
    assert client.stats()["dropped"] == {"bad_name": 3}


def test_more_and_fewer_values_than_names_are_counted(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    bound = client.collector("inputs", ["a", "b"])
    for _ in range(3):
        bound.collect([[1.0, 2.0, 3.0]])
    bound.collect([[1.0]])
    bound.collect([[1.0, 2.0]])
    assert client.flush(10)
    assert [row.names for row in daemon.rows] == [("a", "b", "column_3")] * 3 + [("a",), ("a", "b")]
    assert client.stats()["notes"] == {"more_values_than_names": 3, "fewer_values_than_names": 1}


def test_the_context_manager_flushes(daemon: FakeDaemon) -> None:
    with Client("m", endpoint=daemon.endpoint, linger=60) as client:
        client.collect([1.0])
    assert len(daemon.rows) == 1
    assert client.stats()["closed"]
