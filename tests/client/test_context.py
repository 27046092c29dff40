"""Predictions find their inputs, and never those of another request."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import threading
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Client, CollectError

from tests.client.fakedaemon import FakeDaemon, Row


def rows(client: Client, daemon: FakeDaemon, designation: str) -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == designation]


def rows_of(client: Client, daemon: FakeDaemon) -> list[Row]:
    return rows(client, daemon, "inputs")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Inputs that an earlier test left behind are not this one's."""
    for variable, value in list(contextvars.copy_context().items()):
        if variable.name == "collectord_inputs" and value is not None:
            variable.set(None)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("count", [1, 5])
def test_a_prediction_carries_its_inputs_id_time_and_rows(
    client: Client, daemon: FakeDaemon, explicit: bool, count: int
) -> None:
    """The v1 SDK gave N predictions one row, and no id."""
    bound = client.collector("inputs"), client.collector("predictions", ["p"])
    for _ in range(3):
        context = bound[0].collect(np.random.default_rng(5).random((count, 6)))
        bound[1].collect(np.arange(float(count)), context=context if explicit else None)
    inputs, predictions = rows(client, daemon, "inputs"), rows(client, daemon, "predictions")
    assert [(r.correlation, r.time_ns, r.row) for r in inputs] == [
        (r.correlation, r.time_ns, r.row) for r in predictions
    ]
    assert [r.values for r in predictions] == [(float(k),) for _ in range(3) for k in range(count)]
    assert len({r.correlation for r in inputs}) == 3
    assert client.stats()["notes"] == {}


def test_inputs_are_taken_once(client: Client, daemon: FakeDaemon) -> None:
    client.collect([[1.0]])
    client.collect([[2.0]], "predictions")
    client.collect([[3.0]], "predictions")
    first, second = rows(client, daemon, "predictions")
    assert first.correlation != second.correlation
    assert client.stats()["notes"] == {"uncorrelated": 1}


def test_the_fast_way_takes_them_once_too(client: Client, daemon: FakeDaemon) -> None:
    inputs, predictions = client.collector("inputs"), client.collector("predictions")
    one = np.ones((1, 2))
    for _ in range(3):
        inputs.collect(one)
        predictions.collect(one)
        predictions.collect(one)
    ids = [row.correlation for row in rows(client, daemon, "predictions")]
    assert len(set(ids)) == 6
    assert client.stats()["notes"] == {"uncorrelated": 3}


def test_inputs_that_were_passed_on_are_taken(client: Client) -> None:
    """A prediction alone, on the same thread later, does not take them once more; neither way."""
    collectors = client.collector("inputs"), client.collector("predictions")
    for data in (np.ones((1, 2)), [[1.0, 2.0]]):
        for _ in range(2):
            context = collectors[0].collect(data)
            collectors[1].collect(data, context=context)
            assert collectors[1].collect(data).correlation != context.correlation


def test_refused_inputs_do_not_leave_those_before_them(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    earlier = client.collect([[1.0]])
    refused = client.collect(b"an image")
    client.collect([[2.0]], "predictions")
    [prediction] = rows(client, daemon, "predictions")
    assert prediction.correlation == str(refused.correlation) != str(earlier.correlation)


def test_another_model_or_thread_or_task_does_not_take_them(make: Any, daemon: FakeDaemon) -> None:
    one, other = make(strict=True), make(model="other", strict=True)
    context = one.collect([[1.0]])
    other.collect([[2.0]], "predictions")
    thread = threading.Thread(target=one.collect, args=([[3.0]], "predictions"))
    thread.start()
    thread.join()
    one.collect([[4.0]], "predictions")
    ids = {
        row.values[0]: row.correlation for row in rows(one, daemon, "predictions") + rows(other, daemon, "predictions")
    }
    assert ids[4.0] == str(context.correlation)
    assert len(set(ids.values())) == 3


def test_two_clients_of_one_model_belong_together(make: Any, daemon: FakeDaemon) -> None:
    context = make().collect([[1.0]])
    client = make()
    client.collect([[2.0]], "predictions")
    assert [row.correlation for row in rows(client, daemon, "predictions")] == [str(context.correlation)]


def test_tasks_that_interleave(client: Client, daemon: FakeDaemon) -> None:
    async def request(number: float) -> None:
        client.collect([[number]])
        await asyncio.sleep(0)
        client.collect([[number]], "predictions")

    async def serve() -> None:
        await asyncio.gather(*(request(float(k)) for k in range(50)))

    asyncio.run(serve())
    assert {r.correlation: r.values for r in rows(client, daemon, "inputs")} == {
        r.correlation: r.values for r in rows(client, daemon, "predictions")
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("loan-1", "loan-1"),
        ("日本", "日本"),
        (12345, "12345"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (str(uuid.UUID(int=8)), str(uuid.UUID(int=8))),
        ("0123456789ABCDEF0123456789ABCDEF", "0123456789ABCDEF0123456789ABCDEF"),
        ("AAAAAAAA-0000-0000-0000-000000000000", "AAAAAAAA-0000-0000-0000-000000000000"),
    ],
)
def test_ids_of_the_users_own(client: Client, daemon: FakeDaemon, given: Any, expected: str) -> None:
    context = client.collect([[1.0], [2.0]], correlation_id=given, request_id=given)
    client.collect([0.1, 0.2], "predictions", context=context)
    assert {r.correlation for r in rows(client, daemon, "inputs")} == {expected}
    assert {(r.correlation, r.request) for r in rows(client, daemon, "predictions")} == {(expected, expected)}
    assert str(context.correlation) == expected == str(context.request_id)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_a_key_per_row(client: Client, daemon: FakeDaemon, kind: Any) -> None:
    context = client.collect(np.arange(6.0).reshape(3, 2), correlation_id=kind(["a", "b", "c"]))
    client.collect([0.1, 0.2, 0.3], "predictions", context=context)
    for designation in ("inputs", "predictions"):
        assert [(r.correlation, r.row) for r in rows(client, daemon, designation)] == [("a", 0), ("b", 1), ("c", 2)]
    assert context.correlations == ("a", "b", "c")


def test_keys_of_both_kinds_are_text(client: Client, daemon: FakeDaemon) -> None:
    client.collect([[1.0], [2.0]], correlation_id=["a", uuid.UUID(int=9)])
    assert [r.correlation for r in rows(client, daemon, "inputs")] == ["a", str(uuid.UUID(int=9))]


@pytest.mark.parametrize("rows", [1000, 20_000])
@pytest.mark.parametrize("kind", [str, int, uuid.UUID])
def test_many_keys(client: Client, daemon: FakeDaemon, kind: Any, rows: int) -> None:
    keys = [uuid.UUID(int=k) if kind is uuid.UUID else kind(k + 7) for k in range(rows)]
    client.collect(np.arange(2.0 * rows).reshape(rows, 2), correlation_id=keys, request_id="r")
    got = rows_of(client, daemon)
    assert [r.correlation for r in got] == [str(key) for key in keys]
    assert [r.row for r in got] == list(range(rows))
    assert {r.request for r in got} == {"r"}


@pytest.mark.parametrize(
    "bad", [["a"], ["a", "b", "c"], "", "x" * 1025, "\ud800", "a\0", b"ra", {"a": 1, "b": 2}, {"a", "b"}, 1.5, True]
)
def test_unusable_ids_are_refused(client: Client, bad: Any) -> None:
    with pytest.raises(CollectError) as caught:
        client.collect([[1.0], [2.0]], correlation_id=bad)
    assert caught.value.reason == "bad_id"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1_500_000_000_123_456_789, 1_500_000_000_123_456_789),
        (datetime.datetime(2018, 12, 31, 23, 59, 59, 123456), 1546300799123456000),
        (datetime.datetime(2019, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))), 1546297200000000000),
        (pd.Timestamp("2018-12-31T23:59:59.123456789Z"), 1546300799123456789),
        (np.int64(5), 5),
    ],
)
def test_scoring_times_of_the_users_own(client: Client, daemon: FakeDaemon, given: Any, expected: int) -> None:
    """The generated id tells the same time, so that a late label finds its day."""
    context = client.collect([[1.0]], timestamp=given)
    assert [r.time_ns for r in rows(client, daemon, "inputs")] == [expected] == [context.time_ns]
    assert isinstance(context.correlation, uuid.UUID)
    assert context.correlation.int >> 80 == expected // 1_000_000


@pytest.mark.parametrize("bad", [-1, 1 << 63, 1.5, "today", datetime.datetime(1969, 1, 1), pd.NaT])
def test_unusable_times_are_refused(client: Client, bad: Any) -> None:
    with pytest.raises(CollectError) as caught:
        client.collect([[1.0]], timestamp=bad)
    assert caught.value.reason == "bad_timestamp"
