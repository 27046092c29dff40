"""Feature names come from whatever has them; from what has none they are not made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest
from collectord_client import Client
from collectord_client.features import NoNames, names_of
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.client.fakedaemon import FakeDaemon

FRAME = pd.DataFrame({"age": [1.0, 2.0, 3.0], "bmi": [4.0, 5.0, 7.0]})
NAMES = ("age", "bmi")
TARGET = [1.0, 2.0, 4.0]


class Schema:
    """As much of `mlflow.types.Schema` as matters; `make test-hosts` has the real one."""

    def __init__(self, *names: str | None) -> None:
        self._names = names

    def input_names(self) -> list[str | int]:
        """Columns without names are counted, as there."""
        return [at if name is None else name for at, name in enumerate(self._names)]


SIGNATURE = SimpleNamespace(inputs=Schema(*NAMES), outputs=Schema("risk"))
LOGGED = SimpleNamespace(signature=SIGNATURE, metadata={"of": "the user"}, get_input_schema=lambda: SIGNATURE.inputs)
LOADED = SimpleNamespace(metadata=LOGGED, predict=lambda data: data)


class Unfitted:
    """Models of some libraries fail at being asked before they are fitted."""

    @property
    def feature_names_in_(self) -> list[str]:
        raise RuntimeError("call fit first")

    def predict(self, data: Any) -> Any:
        return data


class Booster:
    """LightGBM's has a method for it."""

    def feature_name(self) -> list[str]:
        return list(NAMES)

    def predict(self, data: Any) -> Any:
        return data


@pytest.mark.parametrize(
    "given",
    [
        FRAME, FRAME.columns, FRAME.columns.to_numpy(), dict.fromkeys(NAMES), iter(NAMES),
        polars.from_pandas(FRAME), pa.Table.from_pandas(FRAME), pa.RecordBatch.from_pandas(FRAME),
        pa.Table.from_pandas(FRAME).schema,
        Ridge().fit(FRAME, TARGET),
        make_pipeline(StandardScaler(), RandomForestRegressor(2)).fit(FRAME, TARGET),
        make_pipeline(ColumnTransformer([("scaled", StandardScaler(), ["bmi"])]), Ridge()).fit(FRAME, TARGET),
        Booster(), SimpleNamespace(feature_names_=list(NAMES)), SIGNATURE, SIGNATURE.inputs, LOGGED, LOADED,
    ],
    ids=str.split(
        "frame columns array keys iterator polars table batch schema estimator pipeline transformer booster catboost "
        "signature mlflow-schema mlflow-model pyfunc"
    ),
)  # fmt: skip
def test_what_has_names(given: Any) -> None:
    assert names_of(given) == NAMES


def test_the_datasets_of_scikit_learn_have_names() -> None:
    found = load_diabetes()
    assert names_of(found) == tuple(found.feature_names)


@pytest.mark.parametrize("given", [SIGNATURE, LOGGED, LOADED])
@pytest.mark.parametrize(
    ("designation", "names"),
    [("inputs", NAMES), ("raw", NAMES), ("predictions", ("risk",)), ("labels", ("risk",))],
)
def test_the_designation_chooses_a_side_of_a_signature(given: Any, designation: str, names: tuple[str, ...]) -> None:
    assert names_of(given, designation) == names


def test_the_columns_of_a_frame_are_not_mistaken_for_what_a_model_has() -> None:
    names = ("signature", "columns", "column_names", "feature_names_in_", "metadata", "predict")
    assert names_of(pd.DataFrame([range(6)], columns=names)) == names


@pytest.mark.parametrize(
    ("given", "designation", "says"),
    [
        (Ridge(), "inputs", "this Ridge does not know"),
        (RandomForestRegressor(2).fit(FRAME.to_numpy(), TARGET), "inputs", "this RandomForestRegressor does not know"),
        (make_pipeline(StandardScaler(), Ridge()), "inputs", "this Pipeline does not know"),
        (Ridge().fit(FRAME, TARGET), "predictions", "names of its inputs; predictions need a list"),
        (Unfitted(), "inputs", "this Unfitted does not know"),
        (SimpleNamespace(inputs=Schema(None, None), outputs=None), "inputs", "no names for the inputs"),
        (SimpleNamespace(inputs=Schema("a"), outputs=None), "labels", "no names for the outputs"),
        (SimpleNamespace(signature=None, get_input_schema=lambda: None), "inputs", "this SimpleNamespace does not know"),
    ],
)  # fmt: skip
def test_a_model_without_names_says_so(make: Any, given: Any, designation: str, says: str) -> None:
    """A forest is a list of trees, and a pipeline one of steps: neither are names."""
    with pytest.raises(NoNames, match=says):
        names_of(given, designation)
    with pytest.raises(ValueError, match=says):
        make().collector(designation, given)


@pytest.mark.parametrize("given", [5, object(), lambda: None])
def test_what_can_have_no_names_is_told_what_can(make: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=r"has no feature names\. They are a list of texts, a frame"):
        make().collector("inputs", given)


def test_names_without_an_order_are_refused(make: Any) -> None:
    with pytest.raises(NoNames, match="a set has no order"):
        names_of({"a", "b"})
    with pytest.raises(ValueError, match="a set has no order"):
        make().collector("inputs", {"a", "b"})
    assert names_of({"a"}) == ("a",)


def test_what_is_collected_comes_under_the_models_names(client: Client, daemon: FakeDaemon) -> None:
    model = Ridge().fit(FRAME, TARGET)
    client.collector(feature_names=model).collect(np.array([[1.0, 2.0]]))
    client.collect(np.array([[3.0, 4.0]]), feature_names=model)
    client.collect(FRAME[["bmi", "age"]][:1], feature_names=LOADED)
    client.collect(np.array([0.5, 0.6]), "predictions", LOADED)
    assert client.flush(10)
    assert [(row.names, row.values) for row in daemon.rows if row.designation == "inputs"] == [
        (NAMES, (1.0, 2.0)), (NAMES, (3.0, 4.0)), (NAMES, (1.0, 4.0)),
    ]  # fmt: skip
    assert [(row.names, row.values) for row in daemon.rows if row.designation == "predictions"] == [
        (("risk",), (0.5,)), (("risk",), (0.6,)),
    ]  # fmt: skip


def test_a_call_with_a_model_without_names_is_counted(make: Any) -> None:
    """It must not raise into the request."""
    client = make()
    client.collect(np.ones((2, 2)), feature_names=Ridge())
    assert client.stats()["dropped"] == {"bad_name": 1}
