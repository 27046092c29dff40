"""Correlation contexts: what scripts made of them, and what they come to."""

from __future__ import annotations

import copy
import datetime
import pickle
import time
import uuid
from typing import Any

import pandas as pd
import pytest
from collectord_client import Client, Request
from collectord_client.azureml.v2 import BasicCorrelationContext, CorrelationContext, get_context

from tests.client.azureml.conftest import Landed, MakeV2

FRAME = pd.DataFrame({"a": [1.0]})
SECOND = 10**9


def test_a_new_one_has_an_id_that_tells_its_time() -> None:
    before = time.time_ns()
    context = get_context()
    assert uuid.UUID(context.get_id()).version == 7
    assert before <= context.time_ns <= time.time_ns()
    assert (context.timestamp, context.headers) == (context.time_ns // SECOND, {})
    assert str(context) == repr(context) == context.id == context.get_id()
    assert get_context().id != context.id


@pytest.mark.parametrize(
    ("given", "time_ns"),
    [
        (1_700_000_000, 1_700_000_000 * SECOND),
        (1_700_000_000.5, 1_700_000_000_500_000_000),
        ("1700000000", 1_700_000_000 * SECOND),
        (1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (datetime.datetime(2023, 11, 14, 22, 13, 20, 5), 1_700_000_000_000_005_000),
        (datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc), 1_700_000_000 * SECOND),
    ],
)
def test_timestamps(make_v2: MakeV2, landed: Landed, given: Any, time_ns: int) -> None:
    """Seconds, as they were; a fraction, nanoseconds and datetimes too."""
    context = BasicCorrelationContext("x", given)
    assert context.get_timestamp() == time_ns // SECOND
    make_v2().collect(FRAME, context)
    assert [row.time_ns for row in landed("model_inputs")] == [time_ns]


@pytest.mark.parametrize("given", ["yesterday", -5, 10**40, float("inf"), float("nan"), [1], pd.NaT])
def test_timestamps_that_are_none_are_counted(make_v2: MakeV2, landed: Landed, given: Any) -> None:
    """The rows are filed under today."""
    inputs = make_v2()
    inputs.collect(FRAME, BasicCorrelationContext("x", given))
    [row] = landed("model_inputs")
    assert abs(row.time_ns - time.time_ns()) < 60 * SECOND
    assert inputs.stats()["notes"] == {"undated": 1}


def test_what_is_set_later_counts(make_v2: MakeV2, landed: Landed) -> None:
    """Attributes are as plain as they were."""
    context = BasicCorrelationContext()
    inputs = make_v2()
    inputs.collect(FRAME, context)
    context.id, context.timestamp = "mine", 1_700_000_000
    inputs.collect(FRAME, context)
    rows = {row.correlation: row.time_ns for row in landed("model_inputs")}
    assert len(rows) == 2
    assert rows["mine"] == 1_700_000_000 * SECOND


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda context: pickle.loads(pickle.dumps(context))])
def test_a_copy_is_as_good(make_v2: MakeV2, landed: Landed, twin: Any) -> None:
    context = make_v2().collect(FRAME)
    make_v2("model_outputs").collect(FRAME, twin(context))
    [first], [second] = landed("model_inputs"), landed("model_outputs")
    assert (first.correlation, first.time_ns) == (second.correlation, second.time_ns)


class Theirs:
    """A context as Microsoft's class, or a user's own, is one."""

    def get_id(self) -> str:
        return "theirs"

    def get_timestamp(self) -> int:
        return 1_700_000_000

    def get_headers(self) -> dict[str, str]:
        return {"X-Request-Id": "request-1", "user": "a"}


class OnlyAnId(CorrelationContext):
    def get_id(self) -> str:
        return "loan-7"


def test_whoever_made_it(make_v2: MakeV2, landed: Landed) -> None:
    """It is returned as it is; its headers may tell the request's id, but the host knows better."""
    theirs = Theirs()
    inputs: Any = make_v2()
    assert inputs.collect(FRAME, theirs) is theirs
    with Request("of the host"):
        inputs.collect(FRAME, theirs)
    inputs.collect(FRAME, BasicCorrelationContext("x", headers={"x-ms-request-id": "request-2"}))
    inputs.collect(FRAME, OnlyAnId())
    inputs.collect(FRAME, CorrelationContext())
    rows = {(row.correlation, row.request): row.time_ns for row in landed("model_inputs")}
    told = {("theirs", "request-1"), ("theirs", "of the host"), ("x", "request-2"), ("loan-7", None)}
    assert rows["theirs", "request-1"] == 1_700_000_000 * SECOND
    [(id, request)] = rows.keys() - told
    assert (uuid.UUID(id).version, request) == (7, None)
    assert len(rows) == 5
    assert inputs.stats()["notes"] == {"uncorrelated": 1}


def test_an_id_alone_is_enough(make_v2: MakeV2, landed: Landed) -> None:
    """Of labels, days later: an id that was generated tells its day, to the millisecond. A client's context will do too."""
    kept = make_v2().collect(FRAME).get_id()
    labels: Any = make_v2("labels")
    assert labels.collect(FRAME, kept).get_id() == kept
    assert labels.collect(FRAME, 12).get_id() == "12"
    with Client("m", enabled=False) as client:
        context = client.collect(FRAME)
    labels.collect(FRAME, context)
    [source] = landed("model_inputs")
    rows = {row.correlation: row for row in landed("labels")}
    assert set(rows) == {kept, "12", str(context.correlation)}
    assert rows[kept].time_ns == source.time_ns // 1_000_000 * 1_000_000


@pytest.mark.parametrize(
    "bad", [object(), 1.5, True, [], BasicCorrelationContext("x" * 2000), BasicCorrelationContext(1.5)]
)
def test_what_is_none_is_told_and_returned(make_v2: MakeV2, bad: Any) -> None:
    errors: list[Exception] = []
    inputs = make_v2(on_error=errors.append)
    assert inputs.collect(FRAME, bad) is bad
    assert [str(error).partition(":")[0] for error in errors] == ["bad_id"]
    assert inputs.stats()["dropped"] == {"bad_id": 1}


def test_a_context_that_fails_does_not_break_scoring(make_v2: MakeV2) -> None:
    class Failing:
        def get_id(self) -> str:
            raise RuntimeError("with data in it")

    inputs: Any = make_v2()
    inputs.collect(FRAME, Failing())
    assert inputs.stats()["dropped"] == {"internal_error": 1}
