"""`feature_names=` of a scoring script may be the model, or what it was trained on."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tests.client.azureml.conftest import Landed, Make

FRAME = pd.DataFrame({"age": [1.0, 2.0], "bmi": [3.0, 5.0]})


@pytest.mark.parametrize(
    "given", [FRAME, FRAME.columns, Ridge().fit(FRAME, [1.0, 2.0])], ids=["frame", "columns", "model"]
)
def test_arrays_land_under_the_names_that_the_model_knows(make: Make, landed: Landed, given: object) -> None:
    make(names=given).collect(np.array([[1.0, 2.0]]))
    assert [(row.names, row.values) for row in landed("inputs")] == [(("age", "bmi"), (1.0, 2.0))]


@pytest.mark.parametrize(
    ("designation", "model"),
    [("inputs", Ridge().fit(FRAME.to_numpy(), [1.0, 2.0])), ("predictions", Ridge().fit(FRAME, [1.0, 2.0]))],
)
def test_without_names_the_data_is_collected_all_the_same(
    make: Make, landed: Landed, caplog: pytest.LogCaptureFixture, designation: str, model: Ridge
) -> None:
    """A model that was fitted with an array, and predictions, which a model has no names for: told once."""
    caplog.set_level(logging.WARNING, "collectord_client")
    collector = make(designation, model, model=f"nameless {designation}")
    collector.collect(np.array([[1.0, 2.0]]))
    assert [(row.names, row.values) for row in landed(designation)] == [(("column_1", "column_2"), (1.0, 2.0))]
    assert collector.stats()["unusable"] == ""
    assert "have no feature names" in caplog.text
