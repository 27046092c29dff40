"""What comes later, from another process, finds its inputs: their id, their day, their row."""

from __future__ import annotations

import datetime
import time
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import Client, CollectError, Request
from collectord_client.core import Uuid7
from collectord_client.ids import time_of

from tests.client.fakedaemon import FakeDaemon, Row

DAY = 86_400 * 10**9
NOW = time.time_ns()
EARLIER = [NOW - days * DAY for days in (0, 0, 1, 3, 3, 20)]
"""Scoring times, in milliseconds as ids tell them."""
IDS = [str(uuid.UUID(bytes=Uuid7().make(when))) for when in EARLIER]


def labels(client: Client, daemon: FakeDaemon) -> list[Row]:
    assert client.flush(10)
    return [row for row in daemon.rows if row.designation == "labels"]


def test_an_id_alone_tells_the_day(client: Client, daemon: FakeDaemon) -> None:
    """Also as a uuid, and behind a prefix of the user's."""
    for id in (IDS[5], uuid.UUID(IDS[5]), f"loan-7-{IDS[5]}"):
        client.collect([[1.0]], "labels", correlation_id=id)
    got = labels(client, daemon)
    assert {row.time_ns // 10**6 for row in got} == {EARLIER[5] // 10**6}
    assert [row.correlation for row in got] == [IDS[5], IDS[5], f"loan-7-{IDS[5]}"]
    assert client.stats()["notes"] == {}


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_ids_of_any_kind_of_list(client: Client, daemon: FakeDaemon, kind: Any) -> None:
    client.collect(np.arange(6.0).reshape(6, 1), "labels", correlation_id=kind(IDS), row=kind(range(6)))
    assert sorted((row.time_ns // 10**6, row.row) for row in labels(client, daemon)) == sorted(
        (when // 10**6, at) for at, when in enumerate(EARLIER)
    )


def test_what_is_refused_of_one_day_does_not_touch_the_others(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect([["a"], ["b"], ["x" * (4 << 20)], ["d"], ["e"], ["f"]], "labels", correlation_id=IDS)
    assert sorted(row.values[0] for row in labels(client, daemon)) == list("abdef")
    assert client.stats()["dropped"] == {"row_too_large": 1}


def test_a_prediction_with_an_id_of_the_users_own_is_of_today(client: Client) -> None:
    """It is made now, so that nothing is doubtful."""
    client.collect([[1.0]], "predictions", correlation_id="loan-1")
    client.collect([[1.0]], "general", request_id="r")
    assert client.stats()["notes"] == {}


@pytest.mark.parametrize("data", [np.arange(6.0).reshape(6, 1), [[float(k)] for k in range(6)]])
def test_labels_of_many_days_in_one_call(client: Client, daemon: FakeDaemon, data: Any) -> None:
    """Each is filed under the day of its own inputs, with the row it has there."""
    client.collect(data, "labels", ["y"], correlation_id=IDS, row=[4, 5, 0, 1, 2, 7], request_id=list("abcdef"))
    got = sorted(labels(client, daemon), key=lambda row: row.values)
    assert [row.time_ns // 10**6 for row in got] == [when // 10**6 for when in EARLIER]
    assert [(row.correlation, row.row, row.request) for row in got] == list(
        zip(IDS, [4, 5, 0, 1, 2, 7], "abcdef", strict=True)
    )


def test_rows_of_other_hours_are_numbered_on(client: Client, daemon: FakeDaemon) -> None:
    """Without indices they count through the call, as those of one hour do."""
    client.collect(np.arange(6.0).reshape(6, 1), "labels", correlation_id=IDS)
    assert sorted((row.values[0], row.row) for row in labels(client, daemon)) == [(float(k), k) for k in range(6)]


@pytest.mark.parametrize(
    "times",
    [
        EARLIER,
        np.array(EARLIER),
        pd.Series(pd.to_datetime(EARLIER)),
        pd.to_datetime(EARLIER).to_numpy("M8[ns]"),
        [datetime.datetime.fromtimestamp(when / 1e9, datetime.timezone.utc) for when in EARLIER],
    ],
    ids=["ints", "int64", "series", "datetime64", "datetimes"],
)
def test_times_of_the_users_own(client: Client, daemon: FakeDaemon, times: Any) -> None:
    client.collect(np.arange(6.0).reshape(6, 1), "labels", correlation_id=list("abcdef"), timestamp=times)
    got = sorted(labels(client, daemon), key=lambda row: row.values)
    assert [row.time_ns // 10**4 for row in got] == pytest.approx([when // 10**4 for when in EARLIER], abs=1)


def test_a_foreign_id_without_a_time_is_filed_today_and_counted(client: Client, daemon: FakeDaemon) -> None:
    before = time.time_ns()
    client.collect([[1.0]], "labels", correlation_id="loan-1")
    client.collect([[1.0]], "labels", request_id="request-1")
    client.collect([[1.0]] * 2, "labels", correlation_id=[IDS[5], "loan-1"])
    got = labels(client, daemon)
    assert [before <= row.time_ns <= time.time_ns() for row in got if row.correlation != IDS[5]] == [True] * 3
    assert [row.request for row in got if row.request] == ["request-1"]
    assert client.stats()["notes"] == {"undated": 3}


@pytest.mark.parametrize("beside", ["loan-1", f"loan-7-{IDS[0]}"], ids=["text", "prefixed"])
def test_an_id_tells_its_day_beside_texts_too(client: Client, daemon: FakeDaemon, beside: str) -> None:
    """One text makes texts of all ids of a call."""
    client.collect([[1.0]] * 2, "labels", correlation_id=[IDS[5], beside])
    got = {row.correlation: row.time_ns // 10**6 for row in labels(client, daemon)}
    assert got[IDS[5]] == EARLIER[5] // 10**6


@pytest.mark.parametrize("several", [False, True])
def test_a_prediction_of_another_request_leaves_the_inputs_of_this_one(
    client: Client, daemon: FakeDaemon, several: bool
) -> None:
    """It is filed under the day of those that it names, without the request that it came in."""
    with Request("of today"):
        inputs = client.collect([[1.0], [2.0]])
        client.collect([0.1, 0.2], "predictions", ["p"], correlation_id=IDS[3:5] if several else IDS[3])
        mine = client.collect([0.3, 0.4], "predictions", ["p"])
    assert mine.correlation == inputs.correlation
    assert client.flush(10)
    got = [
        row for row in daemon.rows if row.designation == "predictions" and row.correlation != str(inputs.correlation)
    ]
    assert [(row.time_ns // 10**6, row.request) for row in got] == [(EARLIER[3] // 10**6, None)] * 2
    assert client.stats()["notes"] == {}


@pytest.mark.parametrize("given", ["own", "loan-1", ["loan-1", "loan-2"]], ids=["same", "text", "texts"])
def test_a_prediction_under_another_name_belongs_to_its_request(client: Client, daemon: FakeDaemon, given: Any) -> None:
    """An id that tells no time, or the very one of the inputs."""
    with Request("r"):
        inputs = client.collect([[1.0], [2.0]])
        named = inputs.correlation if given == "own" else given
        made = client.collect([0.1, 0.2], "predictions", ["p"], correlation_id=named)
    assert (made.time_ns, made.request_id) == (inputs.time_ns, "r")


def test_a_label_does_not_take_the_id_of_the_request_it_came_in(client: Client, daemon: FakeDaemon) -> None:
    with Request("of the feedback"):
        client.collect([[1.0]], "labels", correlation_id=IDS[0])
        client.collect([[1.0]], "labels")
    assert [row.request for row in labels(client, daemon)] == [None, "of the feedback"]


def test_an_input_with_an_id_of_the_users_own_is_of_today(client: Client, daemon: FakeDaemon) -> None:
    """Only what names something earlier is filed there."""
    client.collect([[1.0]], correlation_id=IDS[5])
    assert client.flush(10)
    assert daemon.rows[0].time_ns >= NOW


@pytest.mark.parametrize(
    "given",
    [
        {"timestamp": [1, 2, 3]}, {"timestamp": [1, "x"]}, {"row": [0]}, {"row": [0, -1]}, {"row": [0, 1.5]},
        {"row": [0, 1 << 32]}, {"request_id": ["a"]}, {"request_id": ["a", ""]},
    ],
)  # fmt: skip
def test_what_does_not_fit_the_rows_is_refused(client: Client, given: Any) -> None:
    with pytest.raises(CollectError) as caught:
        client.collect([[1.0], [2.0]], "labels", correlation_id=IDS[:2], **given)
    assert caught.value.reason in ("bad_id", "bad_timestamp")


@pytest.mark.parametrize(
    "id",
    [uuid.uuid4().bytes, str(uuid.uuid4()), "loan-1", "", f"loan{IDS[0]}", f"loan-{IDS[0].upper()}", b"\xff" * 16],
    ids=["bytes", "random", "text", "empty", "no hyphen", "upper case", "ones"],
)
def test_other_ids_tell_no_time(id: Any) -> None:
    assert time_of(id) is None


def test_an_id_of_a_far_future_tells_no_time() -> None:
    assert time_of(bytes([255] * 6 + [0x70, 0, 0x80] + [0] * 7)) is None
