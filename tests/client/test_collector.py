"""A collector may be shared by threads, and its fast way decides what the slow one would."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from collectord_client import Client, CollectError, Context
from collectord_client import core as module
from collectord_client.core import NO_SHAPE

from tests.client.fakedaemon import FakeDaemon


@pytest.fixture
def eager() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    "kinds",
    [
        [np.array([[1.5, 2.5]]), np.array([[7, 8]])],
        [np.array([[1.5, 2.5]]), np.array([[7.5, 8.5, 9.5]]), np.array([[3.5]])],
        [np.array([[1.5, 2.5]], "f4"), np.array([[2.5, 3.5, 4.5]]), np.array([[7, 8]], "i4"), np.array([[7, 8]], "i8")],
    ],
    ids=["dtypes", "widths", "both"],
)
def test_threads_with_arrays_of_several_kinds_store_what_they_were_given(
    make: Any, daemon: FakeDaemon, eager: None, kinds: list[Any]
) -> None:
    """The bytes of one dtype under the schema of another lost whole pages."""
    client = make(outbox="block")
    bound = client.collector("inputs")
    calls = 1500
    together(*[lambda a=a: [bound.collect(a) for _ in range(calls)] for a in kinds * 2])  # type: ignore[misc]
    assert client.flush(60)
    expected = {tuple(a[0].tolist()): calls * 2 for a in kinds}
    got: dict[tuple[Any, ...], int] = {}
    for row in daemon.rows:
        got[row.values] = got.get(row.values, 0) + 1
    # 7 and 7.5 are different, but 7 and 7.0 are equal: so the two whole-number kinds count together.
    assert sum(got.values()) == calls * 2 * len(kinds)
    assert set(got) == set(expected)
    assert client.stats()["rejected"] == client.stats()["dropped"] == {}


def test_threads_with_lists_of_several_widths(make: Any, daemon: FakeDaemon, eager: None) -> None:
    client = make(outbox="block", strict=True)
    bound = client.collector("inputs")
    wrong: list[BaseException] = []

    def run(row: list[Any]) -> None:
        try:
            for _ in range(500):
                bound.collect([row])
        except CollectError as error:
            wrong.append(error)

    rows = [[1, "a"], [1, "a", 2.5], [None, 0.5], [2, "b", None, True]]
    together(*[lambda row=row: run(row) for row in rows * 2])  # type: ignore[misc]
    assert client.flush(60)
    assert not wrong
    assert {row.values for row in daemon.rows} == {tuple(row) for row in rows}
    assert len(daemon.rows) == 4000


ARRAYS = [
    np.array([[1.0, 2.0]]),
    np.array([[1.0, 2.0], [3.0, 4.0]]),
    np.array([[5.0], [6.0], [7.0]]),
    np.array([[1, 2]]),
    np.array([0.1, 0.2]),
    np.array([0.1, 0.2, 0.3]),
    np.zeros((0, 2)),
    np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
    [[1, 0.5]],
    b"an image",
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["inputs", "predictions", "labels"]),
        # Mostly what may go the fast way after a first call.
        st.sampled_from([0] * 8 + [1] * 8 + list(range(len(ARRAYS)))),
        st.sampled_from([None, None, None, "id", "keys"]),
        st.sampled_from([None, None, "request"]),
        st.one_of(st.none(), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=25,
)


def play(client: Client, steps: Any, fast: bool) -> tuple[list[tuple[object, ...]], dict[str, int]]:
    """Makes the calls; each context is described by its first use, because ids differ from run to run."""
    bound = {name: client.collector(name) for name in ("inputs", "predictions", "labels")}
    contexts: list[Context] = []
    seen: dict[str, int] = {}
    told: list[tuple[object, ...]] = []
    client._pending._variable.set(None)
    for name, number, ids, request, earlier in steps:
        if not fast:
            bound[name]._shape = NO_SHAPE
        data = ARRAYS[number]
        given = None if ids is None else "k" if ids == "id" else [f"k{at}" for at in range(len(data))]
        context = contexts[earlier % len(contexts)] if earlier is not None and contexts else None
        made = bound[name].collect(data, given, request, context)
        contexts.append(made)
        told.append(
            (seen.setdefault(str(made.correlation), len(seen)), made.rows, made.request_id, len(made.correlations))
        )
    return told, seen


@hypothesis.settings(
    max_examples=120, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(STEPS)
def test_the_fast_way_does_what_the_slow_one_does(make: Any, daemon: FakeDaemon, steps: Any) -> None:
    outcomes = []
    for fast in (True, False):
        daemon.rows.clear()
        client = make(linger=0)
        told, seen = play(client, steps, fast)
        assert client.flush(20)
        # Pages of several schemas arrive in any order.
        rows = sorted(
            (r.designation, r.names, r.types, repr(r.values), r.row, r.request or "", seen.get(r.correlation, -1))
            for r in daemon.rows
        )
        stats = client.stats()
        outcomes.append((told, rows, stats["notes"], stats["dropped"], stats["collected"]))
        client.close(1)
    assert outcomes[0] == outcomes[1]


def test_a_context_from_elsewhere_tells_id_and_time_but_not_how_many_rows(client: Client, daemon: FakeDaemon) -> None:
    """From the second call on the other request's row count came back, and shaped the prediction."""
    inputs, predictions = client.collector("inputs"), client.collector("predictions")
    for _ in range(3):
        daemon.rows.clear()
        other = client.collect(np.array([[1.0]]), "signals")
        context = inputs.collect(np.ones((3, 2)), context=other)
        assert (context.rows, context.correlation) == (3, other.correlation)
        taken = predictions.collect(np.array([0.1, 0.2, 0.3]))
        assert taken.correlation == other.correlation
        assert client.flush(10)
        assert [r.values for r in daemon.rows if r.designation == "predictions"] == [(0.1,), (0.2,), (0.3,)]


@pytest.mark.parametrize("bogus", ["hello", {"id": 1}, 5])
def test_what_is_no_context_is_counted(make: Any, bogus: Any) -> None:
    client = make()
    for designation in ("inputs", "predictions"):
        bound = client.collector(designation)
        bound.collect(np.ones((1, 2)))
        assert isinstance(bound.collect(np.ones((1, 2)), context=bogus), Context)
    assert client.stats()["dropped"] == {"bad_id": 2}
    assert isinstance(client.collect([1.0], "in\n", context=bogus), Context)


@pytest.mark.parametrize(
    ("data", "told", "reason"),
    [
        (np.ones((5, 1)), {"correlation_id": ["a", "b", "c", "d", 1.5]}, "bad_id"),
        (np.ones((5, 1)), {"correlation_id": ""}, "bad_id"),
        (np.ones((5, 1)), {"request_id": ["a", "b", "c", "d", ""]}, "bad_id"),
        (np.ones((5, 1)), {"timestamp": [1, 2, 3, 4, "x"]}, "bad_timestamp"),
        (pd.DataFrame({"photo": [b"x"] * 5}), {}, "unsupported_media"),
        (pd.DataFrame({"a\0": [1] * 5}), {}, "bad_name"),
    ],
    ids=["an id of many", "one id", "a request of many", "a time of many", "a cell", "a name"],
)
def test_what_is_refused_is_counted_in_rows(make: Any, data: Any, told: dict[str, Any], reason: str) -> None:
    """Whatever it was refused for: one id among a night's labels loses all of them."""
    client = make()
    client.collect(data, "labels", **told)
    assert client.stats()["dropped"] == {reason: 5}


def test_an_array_that_does_not_fit_into_memory_is_counted(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make()
    bound = client.collector("inputs")
    bound.collect(np.ones((1, 2)))

    def fail(*_: object) -> None:
        raise MemoryError("123 is somebody's number")

    assert client.flush(10)
    monkeypatch.setattr(client._outbox, "_make_room", fail)
    assert bound.collect(np.ones((1, 2))).rows == 0
    assert client.stats()["dropped"] == {"internal_error": 1}


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_an_accident_is_logged_without_its_message(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """Other libraries quote values in their messages."""
    monkeypatch.setattr("collectord_client.notices._last", {})
    client = make()

    class Bad:
        def __array__(self, *_: object, **__: object) -> None:
            raise ArithmeticError(f"secret {253402300798 + 1}")

    with caplog.at_level(level, "collectord_client"):
        client.collect(Bad())
        client.collect([1.0], feature_names=object())  # type: ignore[arg-type]
    assert "253402300799" not in caplog.text
    assert "ArithmeticError" in caplog.text
    assert ("in __array__" in caplog.text) == (level == logging.DEBUG)
    assert client.stats()["dropped"] == {"internal_error": 1, "bad_name": 1}


@pytest.mark.parametrize("data", [b"image", np.zeros((2, 1, 1)), [[1], [2, 3]]], ids=["unknown", "array", "list"])
def test_predictions_after_refused_inputs_are_not_shaped_by_them(make: Any, daemon: FakeDaemon, data: Any) -> None:
    """Two values became one row of two columns, under a header of their own."""
    client = make()
    refused = client.collect(data)
    client.collect(np.array([0.1, 0.2]), "predictions")
    client.collect([0.1, 0.2], "predictions", context=refused)
    assert client.flush(10)
    assert [row.values for row in daemon.rows] == [(0.1,), (0.2,)] * 2
    assert {row.correlation for row in daemon.rows} == {str(refused.correlation)}


def test_predictions_whose_names_say_so_stay_one_row_after_refused_inputs(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect(b"image")
    client.collect(np.array([0.1, 0.9]), "predictions", ["no", "yes"])
    assert client.flush(10)
    assert [row.values for row in daemon.rows] == [(0.1, 0.9)]


def test_inputs_refused_under_a_context_do_not_leave_those_before_them(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    other = client.collect([[1.0]], "signals")
    client.collect([[1.0]])
    client.collect(b"image", context=other)
    assert client.collect([[1.0]], "predictions").correlation == other.correlation


def test_the_shape_of_the_fast_way_is_one_object() -> None:
    """Fields that are replaced one by one are seen half replaced."""
    client = Client("m", endpoint="unix:/nowhere/c.sock")
    collector = client.collector()
    before = collector._shape
    collector.collect(np.ones((1, 3)))
    assert before is NO_SHAPE is module.NO_SHAPE
    assert isinstance(collector._shape, tuple)
    assert collector._shape[2] == (3,)
    client.close(0)
