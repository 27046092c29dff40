"""What scripts for the v1 SDK call, and what becomes of it."""

from __future__ import annotations

import copy
import datetime
import decimal
import io
import json
import pickle
import sys
import time
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from collectord_client import Request
from collectord_client.azureml import ModelDataCollector
from collectord_client.azureml import collector as module
from collectord_client.azureml.arrays import Correlated
from collectord_client.azureml.correlations import HEADERS
from collectord_client.block import FLOAT32

from tests.client.azureml.conftest import Landed, Make, keys
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.waiting import eventually

DAY = 86_400 * 10**9


def test_the_signature_is_that_of_v1(make: Make, landed: Landed) -> None:
    """All seven arguments by position; the file's name follows the collection with signals and general only."""
    ModelDataCollector("m", "signals", ["a"], "s/g/w", "svc", "7", "clicks").collect([1])
    ModelDataCollector("m", "labels", ["a"], "s/g/w", "svc", "7", "clicks").collect([1])
    assert {row.stream for row in landed("signals") + landed("labels")} == {"s/g/w/svc/m/7"}
    assert sorted(client._stream.collection for client in module._clients.values()) == ["", "clicks"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_none_or_empty_is_not_given(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch, nothing: Any
) -> None:
    """As `os.environ.get()` gives it: no level of a path is called `None`."""
    monkeypatch.setenv("SERVICE_NAME", "svc")
    told = ModelDataCollector("m", nothing, None, nothing, nothing, nothing, nothing).collect([1.0])
    assert [row.stream for row in landed("general")] == ["default/default/default/svc/m/default"]
    assert told["$aml_workspace"] == "default/default/default"
    assert [client._stream.collection for client in module._clients.values()] == [""]


@pytest.mark.parametrize(
    ("given", "filed"),
    [*[(name, name) for name in ("inputs", "predictions", "labels", "signals", "general")], ("default", "general")],
)
def test_designations(make: Make, landed: Landed, given: str, filed: str) -> None:
    collector = make(given)
    assert set(collector.collect([1.0])) == set(HEADERS)
    assert len(landed(filed)) == 1
    assert collector.designation == filed


def test_identifier_is_called_designation_now(make: Make, landed: Landed) -> None:
    with pytest.warns(DeprecationWarning, match="designation"):
        make("default", identifier="inputs").collect([1.0])
    assert len(landed("inputs")) == 1


def test_the_return_value_is_what_the_rows_carry(make: Make, landed: Landed) -> None:
    """Names, order and forms of v1; `json` and `pickle` keep it."""
    told = make(workspace="sub/group/Space", webservice_name="svc", model_version="3").collect(np.ones((2, 2)))
    [first, _] = landed("inputs")
    stamp = pd.Timestamp(first.time_ns // 1000 * 1000).isoformat(timespec="microseconds")
    assert list(told) == list(HEADERS)
    assert list(told.values()) == [
        first.correlation, stamp, 1440, "sub/group/Space", "svc", "best_model", "3", str(uuid.UUID(int=0)),
    ]  # fmt: skip
    assert json.loads(json.dumps(told)) == told == pickle.loads(pickle.dumps(told)) == copy.deepcopy(told)
    assert isinstance(told, dict)


def test_a_user_id_stands_before_the_generated_one(make: Make, landed: Landed) -> None:
    """As in v1. The prediction has the same, whether it names the user's id again or not."""
    inputs, predictions = make(), make("predictions")
    for again in ("", "loan-7"):
        told = inputs.collect([1.0], "loan-7")["$aml_dc_correlation_id"]
        assert told.startswith("loan-7-")
        assert uuid.UUID(told[-36:]).version == 7
        assert predictions.collect([2.0], again)["$aml_dc_correlation_id"] == told
    assert keys(landed("inputs")) == keys(landed("predictions"))
    assert predictions.collect([3.0], 12)["$aml_dc_correlation_id"] == "12"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (12.0, "12.0"), (np.float64(0.5), "0.5"), (np.float32(0.1), "0.1"), (np.int64(7), "7"), (np.array("a"), "a"),
        (decimal.Decimal("1.50"), "1.50"), (datetime.date(2020, 1, 2), "2020-01-02"), (False, "false"),
        (None, ""), (float("nan"), ""), (pd.NA, ""), (pd.NaT, ""), (np.str_(""), ""),
    ],
)  # fmt: skip
def test_a_user_id_of_any_kind_costs_no_row(make: Make, landed: Landed, given: Any, text: str) -> None:
    """As in v1, which wrote whatever it was given. What is missing is no id."""
    inputs, predictions, labels = make(), make("predictions"), make("labels")
    told = inputs.collect([1.0], given)["$aml_dc_correlation_id"]
    assert predictions.collect([2.0], given)["$aml_dc_correlation_id"] == told
    named = labels.collect([3.0], given)["$aml_dc_correlation_id"]
    assert told[:-36] == (f"{text}-" if text else "")
    assert named == text or not text
    assert inputs.stats()["dropped"] == {}
    assert [len(landed(name)) for name in ("inputs", "predictions", "labels")] == [1, 1, 1]


@pytest.mark.parametrize(
    "ids", [["a", "b"], np.array(["a", "b"]), pd.Series(["a", "b"])], ids=["list", "array", "series"]
)
def test_a_user_id_per_row_is_for_labels(make: Make, landed: Landed, ids: Any) -> None:
    """Inputs have one for all of their rows; otherwise they are refused with a reason, which is no accident of ours."""
    labels = make("labels")
    labels.collect([[1.0], [2.0]], ids)
    assert [row.correlation for row in landed("labels")] == ["a", "b"]
    make().collect([[1.0], [2.0]], ids)
    assert labels.stats()["dropped"] == {"bad_id": 2}


def test_the_hosts_request_id_is_told(make: Make, landed: Landed) -> None:
    with Request("request-1"):
        assert make().collect([1.0])["$aml_request_id"] == "request-1"
        assert make("predictions").collect([1.0])["$aml_request_id"] == "request-1"
    assert make().collect([1.0], request_id="mine")["$aml_request_id"] == "mine"
    assert [row.request for row in landed("inputs")] == ["request-1", "mine"]


def test_inputs_and_predictions_share_a_client(make: Make) -> None:
    """One connection and one bound of memory, however many collectors a script makes."""
    for _ in range(20):
        make(), make("predictions")
    assert len(module._clients) == 1


# ------------------------------------------------------------------ correlations by value


AUGMENTED = {
    "list": ([0.1, 0.2, 0.3], "values"),
    "rows": ([[0.1], [0.2], [0.3]], "values"),
    "array": (np.array([0.1, 0.2, 0.3]), "values"),
    "float32": (np.array([[0.1], [0.2], [0.3]], "f4"), "values"),
    "frame": (pd.DataFrame({"p": [0.1, 0.2, 0.3]}), "columns"),
    "series": (pd.Series([0.1, 0.2, 0.3]), "columns"),
    "dictionary": ({"p": [0.1, 0.2, 0.3]}, "holder"),
    "tuple": ((0.1, 0.2, 0.3), "holder"),
    "levels": (pd.DataFrame([[0.1], [0.2], [0.3]], columns=pd.MultiIndex.from_tuples([("p", "mean")])), "holder"),
}


@pytest.mark.parametrize("kind", AUGMENTED)
@pytest.mark.parametrize("as_json", [False, True])
def test_added_correlations_are_the_rows(make: Make, landed: Landed, kind: str, as_json: bool) -> None:
    """Whatever carries them; also where the dictionary was kept as JSON by another process."""
    data, how = AUGMENTED[kind]
    inputs, predictions = make(), make("predictions", ["p"])
    with Request("r"):
        told: dict[str, Any] = inputs.collect(np.ones((3, 4)))
    inputs.collect(np.ones((1, 4)))
    given = json.loads(json.dumps(told)) if as_json else told
    augmented = predictions.add_correlations(data, given)
    if how == "columns":
        assert list(augmented.columns) == ["p", *HEADERS]
        assert list(pd.DataFrame({"p": [0.1, 0.2, 0.3]}).columns) == ["p"]
    elif how == "values":
        assert type(data) is not type(augmented)
        assert np.array_equal(augmented, data)
        assert getattr(augmented, "dtype", None) == getattr(data, "dtype", None)
    else:
        assert isinstance(augmented, Correlated)
    assert predictions.collect(augmented) == told
    rows = landed("predictions")
    assert [(row.correlation, row.row, row.time_ns // 1000, row.request) for row in rows] == [
        (row.correlation, row.row, row.time_ns // 1000, row.request) for row in landed("inputs")[:3]
    ]
    assert [float(row.values[0]) for row in rows] == pytest.approx([0.1, 0.2, 0.3])
    assert [row.names for row in rows] == [("p",)] * 3


@pytest.mark.parametrize("how", ["id", "json", "user"])
def test_what_names_the_inputs_of_this_request_knows_their_rows(make: Make, landed: Landed, how: str) -> None:
    """Two rows and two names: only the inputs tell that these two values are rows."""
    inputs, predictions = make(), make("predictions", ["p", "q"])
    with Request("r"):
        told = inputs.collect(np.ones((2, 4)))
        id = told["$aml_dc_correlation_id"]
        given = {"id": {"correlations": id}, "json": {"correlations": dict(told)}, "user": {"user_correlation_id": id}}
        assert predictions.collect(np.array([0.1, 0.2]), **given[how]) == told
    assert keys(landed("predictions")) == keys(landed("inputs"))


def test_no_correlations_change_nothing(make: Make) -> None:
    data = np.ones(3)
    assert make().add_correlations(data, None) is data


def test_what_is_computed_from_an_array_with_correlations_has_none(make: Make) -> None:
    inputs = make()
    augmented = inputs.add_correlations(np.ones((2, 2)), inputs.collect(np.ones((2, 2))))
    assert (augmented * 2).correlations is None
    assert augmented[:1].correlations is None


def test_correlations_in_the_place_of_the_users_id_are_correlations(make: Make, landed: Landed) -> None:
    """The second argument of the v2 SDK's `collect`. Their JSON text became the id of the rows, which joined with nothing."""
    told: dict[str, Any] = json.loads(json.dumps(make().collect([1.0])))
    make("labels", ["y"]).collect([1], told)
    assert keys(landed("labels")) == [(told["$aml_dc_correlation_id"], *keys(landed("inputs"))[0][1:])]


def test_labels_days_later_from_another_process(make: Make, landed: Landed) -> None:
    """By what was kept as JSON, by the id alone, by the user's id with it, by the request id: on the day of the inputs."""
    told: dict[str, Any] = json.loads(json.dumps(make(webservice_name="svc", model_version="3").collect([1.0])))
    then = time.time_ns() - 3 * DAY
    stamp = pd.Timestamp(then).isoformat(timespec="microseconds")
    labels = make("labels", ["y"])
    labels.collect([1], correlations={**told, "$aml_dc_scoring_timestamp": stamp})
    labels.collect([2], correlations={**told, "$aml_dc_scoring_timestamp": stamp + "Z"})
    labels.collect([3], correlations=told["$aml_dc_correlation_id"])
    labels.collect([4], told["$aml_dc_correlation_id"])
    labels.collect([5], request_id="request-1")
    rows = sorted(landed("labels"), key=lambda row: row.values)
    assert [row.time_ns // DAY for row in rows[:2]] == [then // DAY] * 2
    assert {row.correlation for row in rows[:4]} == {told["$aml_dc_correlation_id"]}
    # What names its stream is filed there, although this process knows neither service nor version.
    assert [row.stream.split("/")[3:] for row in rows] == [["svc", "best_model", "3"]] * 2 + [
        ["default", "best_model", "default"]
    ] * 3
    assert rows[4].request == "request-1"
    assert labels.stats()["notes"] == {"undated": 1}


def test_a_frame_of_inputs_that_landed_becomes_one_of_labels(make: Make, landed: Landed) -> None:
    """Read from the blobs, joined with the truth, shuffled, with some rows of a foreign service and one without an id."""
    now = time.time_ns()
    ids = [str(uuid.uuid4()) for _ in range(3)]
    frame = pd.DataFrame(
        {
            "y": [10.0, 11.0, 12.0, 13.0, 14.0],
            "$aml_dc_correlation_id": [ids[0], ids[0], ids[1], ids[2], None],
            "$aml_dc_scoring_timestamp": [
                pd.Timestamp(now - days * DAY).isoformat(timespec="microseconds") for days in (2, 2, 5, 9, 0)
            ],
            "$aml_dc_boundary": 1440,
            "$aml_workspace": "sub/group/space",
            "$aml_service_name": ["svc", "svc", "svc", "other", "svc"],
            "$aml_model_name": "best_model",
            "$aml_model_version": 10,
            "$aml_request_id": ["r", "r", str(uuid.UUID(int=0)), "s", None],
            "$aml_dc_row": [1, 0, 4, 0, 0],
        }
    )
    labels = make("labels", ["y"])
    labels.collect(frame)
    rows = sorted(landed("labels"), key=lambda row: row.values)
    assert [row.values[0] for row in rows] == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert [row.names for row in rows] == [("y",)] * 5
    assert [(row.correlation, row.row) for row in rows[:4]] == [(ids[0], 1), (ids[0], 0), (ids[1], 4), (ids[2], 0)]
    assert [(now - row.time_ns + DAY // 2) // DAY for row in rows] == [2, 2, 5, 9, 0]
    nil = str(uuid.UUID(int=0))
    assert [row.request or nil for row in rows] == ["r", "r", nil, "s", nil]
    assert [row.stream for row in rows] == [
        f"sub/group/space/{name}/best_model/10" for name in ("svc", "svc", "svc", "other", "svc")
    ]
    assert labels.stats()["notes"] == {"uncorrelated": 1}


CARRYING: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "dictionaries": lambda rows: rows,
    "dictionary of lists": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "dictionary of arrays": lambda rows: {name: np.array([row[name] for row in rows]) for name in rows[0]},
    "arrow": pa.Table.from_pylist,
    "polars": pl.DataFrame,
    "list of lists": lambda rows: [list(row.values()) for row in rows],
    "object array": lambda rows: np.array([list(row.values()) for row in rows], dtype=object),
    "each a list": lambda rows: [list(row.values()) for row in rows],
    "each an array": lambda rows: [np.array(list(row.values()), dtype=object) for row in rows],
    "each a dictionary": lambda rows: rows,
    "each a series": lambda rows: [pd.Series(row) for row in rows],
    "series": lambda rows: [row for _, row in pd.DataFrame(rows, index=[7] * len(rows)).iterrows()],
}


OF_PANDAS_OR_ARROW = ("pandas", "arrow", "each a series", "series")


@pytest.mark.parametrize(
    ("kind", "alone"),
    [
        *[(kind, False) for kind in CARRYING],
        *[(kind, True) for kind in CARRYING if kind not in OF_PANDAS_OR_ARROW],
    ],
)
def test_labels_that_carry_the_columns_are_filed_by_them_whatever_holds_them(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch, kind: str, alone: bool
) -> None:
    """v1 read them from a frame, and from lists and arrays whose feature names have them. Under today's date and an id of their
    own they would join nothing. Also where nobody else has installed a package (`alone`): a client needs none."""
    then, id = time.time_ns() - 3 * DAY, str(uuid.uuid4())
    said = {
        "$aml_dc_correlation_id": id,
        "$aml_dc_scoring_timestamp": pd.Timestamp(then).isoformat(timespec="microseconds"),
        "$aml_workspace": "sub/group/space",
        "$aml_service_name": "svc",
        "$aml_model_name": "best_model",
        "$aml_model_version": "10",
        "$aml_dc_row": 0,
    }
    given = CARRYING[kind]([{"y": at + 10, **said, "$aml_dc_row": at} for at in range(2)])
    plain = isinstance(given, (list, np.ndarray)) and not isinstance(given[0], (dict, pd.Series))
    labels = make("labels", ["y", *said] if plain else ["y"])
    with monkeypatch.context() as patch:
        for name in ("pandas", "pyarrow") if alone else ():
            patch.setitem(sys.modules, name, None)
        for data in given if kind.startswith("each") else [given]:
            labels.collect(data)
    rows = landed("labels")
    assert [(row.names, row.values, row.correlation, row.row) for row in rows] == [
        (("y",), (at + 10,), id, at) for at in range(2)
    ]
    assert {(row.time_ns // DAY, row.stream) for row in rows} == {(then // DAY, "sub/group/space/svc/best_model/10")}
    assert labels.stats()["notes"] == labels.stats()["dropped"] == {}


@pytest.mark.parametrize(
    "kind", ["pandas", "dictionaries", "dictionary of lists", "dictionary of arrays", "arrow", "polars", "series"]
)
def test_labels_of_several_streams_are_parted_whatever_holds_them(make: Make, landed: Landed, kind: str) -> None:
    """Each row goes where its request is filed; one that names no stream, or not all of it, is this collector's own."""
    said = {"$aml_workspace": "a/b/c", "$aml_model_name": "m", "$aml_model_version": 10}
    services = ["svc", "other", None, "svc", "other"]
    labels = make("labels")
    labels.collect(
        CARRYING[kind](
            [
                {"y": at, "t": f"text {at}", "$aml_dc_correlation_id": "loan-1", "$aml_service_name": service, **said}
                for at, service in enumerate(services)
            ]
        )
    )
    rows = sorted(landed("labels"), key=lambda row: row.values)
    assert [(row.names, row.values) for row in rows] == [(("y", "t"), (at, f"text {at}")) for at in range(5)]
    own = "default/default/default/default/best_model/default"
    assert [row.stream for row in rows] == [own if one is None else f"a/b/c/{one}/m/10" for one in services]
    assert [(row.correlation, row.row) for row in rows] == [("loan-1", at) for at in (0, 0, 0, 1, 1)]
    assert labels.stats()["dropped"] == {}


def test_times_of_requests_are_read_whatever_they_are(make: Make, landed: Landed) -> None:
    """Texts, Python's and numpy's times, Arrow's with more digits than Python's have, days; what is none is left to the id."""
    then = datetime.datetime(2026, 11, 20, 12, 30, 0, 123456)
    aware = then.replace(tzinfo=datetime.timezone.utc)
    given: list[Any] = [
        *[[one] for one in (then, aware, then.isoformat(), aware.isoformat(), then.isoformat() + "Z", then.date())],
        np.array([then], "M8[ns]"),
        [np.datetime64(then, "ns")],
        [then.isoformat() + "7Z"],
        [f" {then.isoformat(' ')} Z"],
        pd.Series([pd.Timestamp(aware)]),
        pa.array([1_795_177_800_123_456_789], pa.timestamp("ns", "UTC")),
        pl.Series([aware]),
        ["yesterday"],
        [float("nan")],
        [pd.NaT],
        [np.datetime64("NaT")],
    ]
    labels = make("labels")
    for at, times in enumerate(given):
        table = {"y": [at], "$aml_dc_correlation_id": ["loan-1"], "$aml_dc_scoring_timestamp": times}
        made = pa.table if isinstance(times, pa.Array) else pl.DataFrame if isinstance(times, pl.Series) else dict
        labels.collect(made(table))
    rows = sorted(landed("labels"), key=lambda row: row.values)
    midnight = datetime.datetime.combine(then.date(), datetime.time())
    assert [row.values[0] for row in rows] == list(range(17))
    told = [datetime.datetime.fromtimestamp(row.time_ns // 1000 / 1e6, datetime.timezone.utc) for row in rows[:13]]
    assert [one.replace(tzinfo=None) for one in told] == [*[then] * 5, midnight, *[then] * 7]
    assert labels.stats()["notes"] == {"undated": 4}


def test_rows_of_requests_are_read_where_a_reader_made_texts_of_them(make: Make, landed: Landed) -> None:
    """As `csv.DictReader` does, of a file in which a join that left gaps had made 2.0 of 2."""
    labels = make("labels")
    labels.collect(
        [{"y": at, "$aml_dc_correlation_id": "loan-1", "$aml_dc_row": row} for at, row in enumerate(("2.0", "0"))]
    )
    assert sorted((row.values, row.row) for row in landed("labels")) == [((0,), 2), ((1,), 0)]


def test_labels_whose_feature_names_repeat_lose_no_column(make: Make, landed: Landed) -> None:
    id = "$aml_dc_correlation_id"
    make("labels", [id, "y", "y"]).collect([["loan-1", 1, 2]])
    (row,) = landed("labels")
    assert (row.names, row.values, row.correlation) == (("y", "y.1"), (1, 2), "loan-1")
    twice = make("labels", [id, id, "y"])
    twice.collect([["loan-1", "loan-2", 1]])
    assert twice.stats()["dropped"] == {"bad_id": 1}


def test_tensors_of_labels_of_several_streams_keep_their_type(make: Make, landed: Landed) -> None:
    table: dict[str, Any] = {
        "y": Tensor([0.1, 0.2]),
        "$aml_dc_correlation_id": ["a", "b"],
        "$aml_service_name": ["svc", "other"],
    }
    table |= {"$aml_workspace": ["a/b/c"] * 2, "$aml_model_name": ["m"] * 2, "$aml_model_version": ["1"] * 2}
    make("labels").collect(table)
    assert [row.types for row in landed("labels")] == [(FLOAT32,)] * 2


class Tensor:
    """What of a tensor of float32 counts here: its own type is not numpy's."""

    dtype, ndim = "torch.float32", 1

    def __init__(self, values: list[float]) -> None:
        self._values = np.array(values, "f4")

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._values

    def tolist(self) -> Any:
        return self._values.tolist()


def test_ids_that_are_numbers_are_read_by_the_feature_names_as_well(make: Make, landed: Landed) -> None:
    """Also behind an array that went the short way; one without the ids is labels alone, and a ragged list is none."""
    labels = make("labels", ["y", "$aml_dc_correlation_id"])
    for _ in range(3):
        labels.collect(np.array([[1, 7], [0, 8]]))
    labels.collect([1], 9)
    labels.collect(np.float64(1), 10)
    labels.collect([[1, "a"], [1]])
    labels.collect([])
    rows = landed("labels")
    assert [(row.names, row.values[0], row.correlation) for row in rows] == [
        *[(("y",), 1, "7"), (("y",), 0, "8")] * 3,
        (("y",), 1, "9"),
        (("y",), 1, "10"),
    ]
    assert labels.stats()["dropped"] == {"ragged": 2, "no_rows": 1}


def test_the_attributes_of_v1_are_there(make: Make) -> None:
    """Scripts look up what `collect` returned by the constants that Microsoft's reference lists."""
    inputs = make(workspace="sub/group/space", webservice_name="svc", model_version=3)
    told = inputs.collect([1.0])
    named = {
        name: getattr(ModelDataCollector, f"AML_{name}_HEADER")
        for name in (
            "DC_CORRELATION", "DC_SCORING_TIMESTAMP", "DC_BOUNDARY", "WORKSPACE", "SERVICE_NAME", "MODEL_NAME",
            "MODEL_VERSION", "REQUEST_ID",
        )
    }  # fmt: skip
    assert {name: f"$aml_{name.lower()}".replace("correlation", "correlation_id") for name in named} == named
    assert list(told) == list(named.values())
    assert [told[named[name]] for name in ("WORKSPACE", "SERVICE_NAME", "MODEL_NAME", "MODEL_VERSION")] == [
        inputs.workspace, inputs.service_name, inputs.model_name, inputs.model_version,
    ]  # fmt: skip


def test_labels_are_filed_by_their_times_with_pandas_1_as_well(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows no format of this name, and parses none of the texts by it: all of them would be filed under today."""
    parse: Any = pd.to_datetime

    def to_datetime(given: Any, format: str | None = None, **options: Any) -> Any:
        return parse(given, format="%q" if format == "ISO8601" else "ISO8601", **options)

    monkeypatch.setattr(pd, "to_datetime", to_datetime)
    monkeypatch.setattr(pd, "__version__", "1.5.3")
    then = time.time_ns() - 3 * DAY
    texts = [
        pd.Timestamp(then).isoformat(timespec="microseconds"),
        pd.Timestamp(then).isoformat(timespec="seconds") + "Z",
    ]
    labels = make("labels")
    labels.collect(
        pd.DataFrame({"y": [1, 2], "$aml_dc_correlation_id": ["loan-1", "loan-2"], "$aml_dc_scoring_timestamp": texts})
    )
    assert [row.time_ns // 10**9 for row in landed("labels")] == [then // 10**9] * 2
    assert labels.stats()["notes"] == {}


def test_rows_are_counted_where_the_frame_has_no_index(make: Make, landed: Landed) -> None:
    frame = pd.DataFrame({"y": [1, 2, 3], "$aml_dc_correlation_id": ["a", "b", "a"]})
    make("labels").collect(frame)
    assert [(row.correlation, row.row) for row in landed("labels")] == [("a", 0), ("b", 0), ("a", 1)]


SCORED = """\
loan,$aml_dc_correlation_id,$aml_dc_scoring_timestamp,$aml_workspace,$aml_service_name,$aml_model_name,$aml_model_version,$aml_request_id,$aml_dc_row
1,ID,TIME,sub/group/space,svc,best_model,VERSION,REQUEST,1
2,ID,TIME,sub/group/space,svc,best_model,VERSION,REQUEST,2
"""
TRUTH = pd.DataFrame({"loan": [2, 9, 1], "y": [20, 90, 10]})


@pytest.mark.parametrize("how", ["inner", "left"])
@pytest.mark.parametrize("backend", ["numpy", "numpy_nullable", "pyarrow", "category", "str"])
@pytest.mark.parametrize("columns", ["all", "id and row"])
@pytest.mark.parametrize(("id", "request_id"), [(str(uuid.uuid4()), "r"), ("1001", "12345")], ids=["texts", "numbers"])
def test_labels_join_their_inputs_whatever_a_reader_and_a_join_made_of_the_columns(
    make: Make, landed: Landed, how: Any, backend: Any, columns: str, id: str, request_id: str
) -> None:
    """A left join leaves a gap for a loan that was never scored: whole numbers become fractions, or missing values what is
    neither equal nor not. Its row alone has an id of its own."""
    then = time.time_ns() - 3 * DAY
    stamp = pd.Timestamp(then).isoformat(timespec="microseconds")
    options = {"dtype_backend": backend} if backend in ("numpy_nullable", "pyarrow") else {}
    text = SCORED.replace("ID", id).replace("TIME", stamp).replace("VERSION", "10").replace("REQUEST", request_id)
    scored = pd.read_csv(io.StringIO(text), **options)
    if backend in ("category", "str"):
        scored = scored.astype({name: backend for name in scored.columns if name.startswith("$")})
    if columns != "all":
        scored = scored[["loan", "$aml_dc_correlation_id", "$aml_dc_row"]]
    labels = make("labels", ["y"])
    labels.collect(TRUTH.merge(scored, on="loan", how=how))
    rows = {row.values[0]: row for row in landed("labels")}
    assert sorted(rows) == ([10, 20] if how == "inner" else [10, 20, 90])
    assert [(rows[y].correlation, rows[y].row) for y in (10, 20)] == [(id, 1), (id, 2)]
    if columns == "all":
        assert [rows[y].stream for y in (10, 20)] == ["sub/group/space/svc/best_model/10"] * 2
        assert [rows[y].request for y in (10, 20)] == [request_id] * 2
        assert [rows[y].time_ns // DAY for y in (10, 20)] == [then // DAY] * 2
    if how == "left":
        assert (rows[90].row, rows[90].stream) == (0, "default/default/default/default/best_model/default")
        assert rows[90].correlation != id
    assert labels.stats()["notes"].get("uncorrelated", 0) == (how == "left")
    assert labels.stats()["dropped"] == {}


def test_ids_that_are_no_whole_numbers_are_refused_and_all_of_their_rows_counted(make: Make) -> None:
    """A float has lost what was written."""
    labels = make("labels", ["y"])
    for ids in ([1.5, 2.0], [2.0**53, 1.0]):
        labels.collect(pd.DataFrame({"y": [1, 2], "$aml_dc_correlation_id": ids}))
    assert labels.stats()["dropped"] == {"bad_id": 4}


@pytest.mark.parametrize("kind", [dict, pd.DataFrame.to_dict], ids=["a row", "records"])
@pytest.mark.parametrize(
    "data", [[7], [[7]], np.array([[7]]), pd.DataFrame({"y": [7]})], ids=["value", "row", "array", "frame"]
)
@pytest.mark.parametrize("added", [False, True])
def test_labels_by_the_values_of_a_row_are_that_rows(
    make: Make, landed: Landed, kind: Any, data: Any, added: bool
) -> None:
    """Values as pandas hands them over, one row at a time; several labels count from the first row as ever. Those of a join are
    fractions."""
    text = SCORED.replace("ID", str(uuid.uuid4())).replace("TIME", f"{pd.Timestamp.now('UTC'):%Y-%m-%dT%H:%M:%S}")
    scored = pd.read_csv(io.StringIO(text.replace("VERSION", "10").replace("REQUEST", "12345")))
    scored = scored.astype({"$aml_request_id": float, "$aml_dc_row": float})
    rows: Any = scored.to_dict("records") if kind is not dict else [dict(row) for _, row in scored.iterrows()]
    labels = make("labels", ["y"])
    for row in rows:
        if added:
            labels.collect(labels.add_correlations(data, row))
        else:
            labels.collect(data, correlations=row)
    labels.collect([8, 9], correlations=rows[1])
    got = landed("labels")
    assert sorted((row.values[0], row.row) for row in got) == [(7, 1), (7, 2), (8, 0), (9, 1)]
    assert {row.request for row in got} == {"12345"}
    assert labels.stats()["dropped"] == {}


@pytest.mark.parametrize("version", ["1.0", "2.5", "10"])
def test_labels_are_filed_under_a_version_that_a_reader_takes_for_a_number(
    make: Make, landed: Landed, version: str
) -> None:
    """By frame, and by the values of one of its rows."""
    text = SCORED.replace("ID", str(uuid.uuid4())).replace("TIME", "2026-11-20T12:00:00").replace("VERSION", version)
    scored = pd.read_csv(io.StringIO(text))
    labels = make("labels", ["y"])
    labels.collect(scored.assign(y=1))
    if version != "1.0":
        labels.collect([1], correlations=dict(scored.loc[0]))
    assert {row.stream for row in landed("labels")} == {f"sub/group/space/svc/best_model/{version}"}


def test_a_frame_with_a_column_of_ours_twice_is_told_so(make: Make, landed: Landed) -> None:
    """As `concat` makes one. Which one is meant, nobody can tell. Columns of several levels are none of ours."""
    labels = make("labels")
    frame = pd.DataFrame([["a", "b", 1]] * 2, columns=["$aml_dc_correlation_id"] * 2 + ["y"])
    labels.collect(frame)
    assert labels.stats()["dropped"] == {"bad_id": 2}
    labels.collect(pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("$aml_dc_correlation_id", "x")])))
    assert len(landed("labels")) == 1


@pytest.mark.parametrize(
    "given", [{}, {"$aml_dc_correlation_id": 1.5}, {"$aml_dc_correlation_id": None}, 1.5, b"x", object()]
)
def test_correlations_that_are_none_are_counted(make: Make, given: Any) -> None:
    collector = make("labels")
    collector.collect([1.0], correlations=given)
    assert collector.stats()["dropped"] == {"bad_id": 1}


# ------------------------------------------------------------------ switches


@pytest.mark.parametrize(
    ("variable", "daemon_says", "collects"),
    [
        (None, True, True), (None, False, False), ("true", True, True), ("True ", True, True), ("true", False, True),
        ("false", True, False), ("1", True, False), ("", True, True),
    ],
)  # fmt: skip
def test_who_switches_collecting_on(
    make: Make, landed: Landed, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch,
    variable: str | None, daemon_says: bool, collects: bool,
) -> None:  # fmt: skip
    """The variable, unless the service is switched; where it is not set, the daemon's default."""
    if variable is not None:
        monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", variable)
    general = make("general")
    if variable not in ("false", "1"):
        general.collect([0.0])
        assert general.flush()
        daemon.settings(daemon_says)
        eventually(lambda: general.stats()["collecting"] is collects, "the client hears of it")
    told = make().collect([1.0])
    assert make("predictions").collect([2.0]) == told
    assert len(landed("inputs")) == len(landed("predictions")) == collects


def test_the_boundary_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AML_MODEL_DC_BOUNDARY", "hour")
    assert make().collect([1.0])["$aml_dc_boundary"] == 60


@pytest.mark.parametrize(
    ("given", "bound"), [("1048576", 1 << 20), ("", 32 << 20), ("many", 32 << 20), ("1", 32 << 20)]
)
def test_the_buffer_size_bounds_the_outbox(make: Make, monkeypatch: pytest.MonkeyPatch, given: str, bound: int) -> None:
    monkeypatch.setenv("AML_MODEL_DC_STORAGE_MAX_SINGLE_BUFFER_SIZE", given)
    assert make().stats()["outbox_limit_bytes"] == bound


def test_variables_of_the_daemon_are_pointed_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By name: the value of one is a secret."""
    monkeypatch.setattr("collectord_client.notices._last", {})
    monkeypatch.setenv("AML_MODEL_DC_STORAGE", "AccountKey=secret")
    make()
    assert "AML_MODEL_DC_STORAGE means nothing" in caplog.text
    assert "secret" not in caplog.text


# ------------------------------------------------------------------ hosts and errors


@pytest.mark.parametrize(
    "bad",
    [{"model": "m\n"}, {"names": ["\ud800"]}, {"names": 5}, {"workspace": "a/b/c/d"}, {"model": "x" * 300}],
    ids=["a control character", "no Unicode", "no names", "four levels", "too long"],
)
def test_arguments_that_cannot_work_do_not_stop_the_script(make: Make, bad: Any) -> None:
    broken = make(**bad)
    assert set(broken.collect([[1.0], [2.0]])) == set(HEADERS)
    assert broken.add_correlations([1.0], {"a": 1}) == [1.0]
    assert broken.stats()["dropped"]["bad_name"] >= 2
    assert broken.stats()["unusable"]


@pytest.mark.parametrize(
    "data",
    [b"image", object(), [], np.ones((2, 2, 2)), {1, 2}, None, [[1], [1, 2]]],
    ids=["bytes", "object", "empty", "cube", "set", "None", "ragged"],
)
def test_data_that_cannot_work_does_not_break_scoring(make: Make, data: Any) -> None:
    for designation in ("inputs", "predictions"):
        assert set(make(designation).collect(data)) == set(HEADERS)


def test_an_error_of_ours_does_not_break_scoring(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = make()
    monkeypatch.setattr(module, "parted", lambda _: 1 / 0)
    assert set(collector.collect([1.0])) == set(HEADERS)
    assert collector.stats()["dropped"] == {"internal_error": 1}


def test_a_spark_frame_is_collected_where_the_host_has_spark(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyspark is looked at only if the script has loaded it."""
    assert "pyspark" not in sys.modules

    class DataFrame:
        def toPandas(self) -> pd.DataFrame:
            return pd.DataFrame({"a": [1.0, 2.0]})

    sql = types.ModuleType("pyspark.sql")
    sql.DataFrame = DataFrame  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    inputs, labels = make(), make("labels")
    told = inputs.collect(DataFrame())
    labels.collect(labels.add_correlations(DataFrame(), told))
    assert [(row.names, row.values) for row in landed("inputs")] == [(("a",), (1.0,)), (("a",), (2.0,))]
    assert [(r.values, r.correlation, r.row) for r in landed("labels")] == [
        (r.values, r.correlation, r.row) for r in landed("inputs")
    ]


def test_debug_mode_prints_and_collects_only_if_told(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """N predictions of N rows are as many printed rows, with the ids of the inputs."""
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    for storage in ("", "true"):
        monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", storage)
        told = make().collect(np.arange(4.0).reshape(2, 2))
        make("predictions", ["p", "q"]).collect(np.array([0.5, 0.25]))
        said = capsys.readouterr().out.splitlines()
        tail = [",".join([*map(str, told.values()), str(row)]) for row in (0, 1)]
        assert said[1:3] == [f"0.0,1.0,{tail[0]}", f"2.0,3.0,{tail[1]}"]
        assert said[4:] == [f"0.5,{tail[0]}", f"0.25,{tail[1]}"]
    assert len(landed("inputs")) == len(landed("predictions")) == 2


@pytest.mark.parametrize("stdout", ["closed", "ascii", "none"])
def test_what_debug_mode_cannot_print_is_collected_all_the_same(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stdout: str
) -> None:
    """Told once; the ids that are returned are those of the rows."""
    monkeypatch.setattr("collectord_client.notices._last", {})
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", "true")
    given = io.TextIOWrapper(io.BytesIO(), "ascii")
    if stdout == "closed":
        given.close()
    inputs, predictions = make(), make("predictions")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None if stdout == "none" else given)
        told = inputs.collect(["é"])
        assert predictions.collect(["ü"]) == told
    assert [row.correlation for row in landed("inputs") + landed("predictions")] == [told["$aml_dc_correlation_id"]] * 2
    assert inputs.stats()["dropped"] == {}
    assert caplog.text.count("stdout does not take") == 1


def test_debug_mode_prints_all_kinds_of_values(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the dialect of the blobs: null is empty, an empty text is quoted."""
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    collector = make("general")
    time_at = pd.Timestamp("2018-12-31T23:59:59.5Z")
    collector.collect([[1, 0.5, True, None, "", 'a "b",\nc', time_at, float("nan")]])
    collector.collect(np.array([[0.1]], "f4"))
    collector.collect(pd.DataFrame({"y": [7], "$aml_dc_correlation_id": ["loan-1"], "$aml_dc_row": [3]}))
    said = capsys.readouterr().out
    assert '\n1,0.5,true,,"","a ""b"",\nc",2018-12-31T23:59:59.500000Z,NaN,' in said
    assert "\n0.1," in said
    assert said.splitlines()[-1].startswith("7,loan-1,")
    assert said.splitlines()[-1].endswith(",3")


@pytest.mark.parametrize("collecting", ["true", "false"])
def test_debug_mode_prints_values_in_one_dimension_as_they_land(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], collecting: str
) -> None:
    """Of no request, they are one row, also where nothing is sent."""
    monkeypatch.setenv("AML_MODEL_DC_DEBUG", "true")
    monkeypatch.setenv("AML_MODEL_DC_STORAGE_ENABLED", collecting)
    for designation in ("general", "predictions"):
        make(designation).collect([1.5, 2.5])
        said = capsys.readouterr().out.splitlines()
        assert [line.split(",")[:2] for line in said] == [["column_1", "column_2"], ["1.5", "2.5"]]


def test_it_is_found_under_the_old_names(tmp_path: Path) -> None:
    from azureml.datacollector import ModelDataCollector as collector
    from azureml.monitoring import ModelDataCollector as monitoring
    from azureml.monitoring.modeldatacollector import ModelDataCollector as modeldatacollector

    assert monitoring is collector is modeldatacollector is ModelDataCollector


def test_a_frame_that_carries_correlations_is_seen_after_plain_ones(make: Make, landed: Landed) -> None:
    """Plain frames with the same columns go the short way."""
    labels, plain = make("labels", ["p"]), pd.DataFrame({"p": [0.5]})
    for _ in range(3):
        labels.collect(plain)
    given = make("inputs", ["a"]).collect(np.ones((1, 1)))
    labels.collect(labels.add_correlations(plain, given))
    rows = landed("labels")
    assert [row.values for row in rows] == [(0.5,)] * 4
    assert [row.correlation == given["$aml_dc_correlation_id"] for row in rows] == [False] * 3 + [True]
