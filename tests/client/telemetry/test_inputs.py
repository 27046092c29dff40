"""An exception carries the inputs that caused it, as they were collected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Client
from collectord_client.telemetry import inputs

from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import own, told

FRAME = pd.DataFrame({"age": [40, 41], "name": ["ann", None], "score": [0.5, np.nan]})


def fail(client: Client, daemon: FakeDaemon, *data: Any, **more: Any) -> dict[str, Any]:
    """What is told of an exception behind these inputs."""
    for other in range(3):
        with client.request("r"):
            client.collect([[float(other), 9.0]])
    with pytest.raises(ValueError, match="odd"), client.request("r"):
        for one in data:
            client.collect(one, **more)
        raise ValueError("odd")
    [event] = told(client, daemon, "exceptions")
    return own(event)


@pytest.fixture
def client(make: Any) -> Client:
    """One whose pages stay open."""
    return make(telemetry=True, strict=True, linger=3600.0)  # type: ignore[no-any-return]


def test_a_tensor(client: Client, daemon: FakeDaemon) -> None:
    collector = client.collector("inputs", ["a", "b"])
    collector.collect(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="odd"), client.request("r"):
        collector.collect(np.array([[1.5, 2.0], [3.0, np.nan]]))
        raise ValueError("odd")
    [event] = told(client, daemon, "exceptions")
    assert own(event)["Inputs"] == [{"a": 1.5, "b": 2.0}, {"a": 3.0, "b": "NaN"}]
    [id] = own(event)["Correlation Ids"]
    assert [row.values[0] for row in daemon.rows if row.correlation == id and row.designation == "inputs"] == [1.5, 3.0]


def test_columns(client: Client, daemon: FakeDaemon) -> None:
    assert fail(client, daemon, FRAME)["Inputs"] == [
        {"age": 40, "name": "ann", "score": 0.5}, {"age": 41, "name": None, "score": "NaN"},
    ]  # fmt: skip


def test_only_the_first_rows(client: Client, daemon: FakeDaemon) -> None:
    found = fail(client, daemon, np.arange(4000.0).reshape(1000, 4))["Inputs"]
    assert len(found) == inputs.ROWS
    assert found[1] == {"column_1": 4.0, "column_2": 5.0, "column_3": 6.0, "column_4": 7.0}


def test_no_more_values_than_are_taken(client: Client, daemon: FakeDaemon) -> None:
    found = fail(client, daemon, np.zeros((5, inputs.CELLS // 2 - 1)))["Inputs"]
    assert len(found) == 2


def test_rules_hold_for_them(make: Any, daemon: FakeDaemon) -> None:
    client = make(
        telemetry=True, linger=3600.0, columns={"name": "mask", "age": "drop"}
    )  # fmt: skip
    assert fail(client, daemon, FRAME)["Inputs"] == [{"name": "***", "score": 0.5}, {"name": None, "score": "NaN"}]
    assert not any("ann" in str(row.values) for row in daemon.rows)


def test_an_id_that_must_not_leave(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True, linger=3600.0, columns={"$aml_dc_correlation_id": "hmac"}, columns_key="k")
    found = fail(client, daemon, FRAME, correlation_id="ann")
    [collected] = {row.correlation for row in daemon.rows if "score" in row.names}
    assert found["Correlation Ids"] == [collected] != ["ann"]


def test_without_texts_where_these_are_not_wanted(make: Any, daemon: FakeDaemon) -> None:
    found = fail(make(telemetry=True, linger=3600.0, errors="types"), daemon, FRAME)
    assert set(found) == {"Correlation Ids", "Request Id"}


def test_what_was_sent_already_is_found_by_its_id(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(ValueError, match="odd"), client.request("r"):
        client.collect(FRAME)
        assert client.flush(10)
        raise ValueError("odd")
    [event] = told(client, daemon, "exceptions")
    assert set(own(event)) == {"Correlation Ids", "Request Id"}


def test_what_was_left_out_is_not_named(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True, sampling=1e-12)
    assert set(fail(client, daemon, FRAME)) == {"Request Id"}
