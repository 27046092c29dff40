"""A deployment as Azure ML makes one: score.py as its documentation has it, a fitted model, the files and variables that
are laid down beside it; and what must have landed when it has scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

from tests.e2e.process import Daemon

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SCORE = HERE / "score.py"
PRINTING = HERE / "printing_score.py"
MODEL = "sklearn_regression_model.pkl"
SHIMS = HERE / "shims"
FEATURES = [f"feat{at}" for at in range(1, 7)]
PREDICTIONS = ["prediction1", "prediction2"]
FOLDER = "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14/myresourcegrp/myWorkspace/aks-w-collv9/best_model/10"


def lay_model(folder: Path) -> None:
    """Lays down the model."""
    generator = np.random.default_rng(7)
    data = generator.normal(size=(200, 6))
    model = Ridge().fit(data, data @ generator.normal(size=(6, 2)) + generator.normal(size=(200, 2)))
    joblib.dump(model, folder / MODEL)


def deploy(folder: Path, daemon: Daemon) -> dict[str, str]:
    """Lays down the model and the map of the deployment; returns the variables that its processes have."""
    lay_model(folder)
    config_map = folder / "model_config_map.json"
    config_map.write_text(
        json.dumps(
            {
                "accountContext": {
                    "subscriptionId": "1a2b3c4d-5e6f-7g8h-9i10-j11k12l13m14",
                    "resourceGroupName": "myresourcegrp",
                    "accountName": "myWorkspace",
                    "workspaceId": "0",
                },
                "modelsInfo": {"best_model": {"9": {"internalId": "a"}, "10": {"internalId": "b"}}},
            }
        )
    )
    return {
        "AML_MODEL_DC_STORAGE_ENABLED": "true",
        "SERVICE_NAME": "aks-w-collv9",
        "AZUREML_MODEL_DIR": str(folder),
        "COLLECTORD_MODEL_CONFIG_MAP": str(config_map),
        "COLLECTORD_ENDPOINT": daemon.endpoint,
    }


def requests(count: int) -> list[Any]:
    """Bodies of one to five rows."""
    generator = np.random.default_rng(11)
    return [generator.normal(size=(1 + at % 5, 6)).tolist() for at in range(count)]


def table(store: Path, designation: str) -> pd.DataFrame:
    """What landed of a designation under the documented path, as pandas reads it."""
    names = sorted(store.glob(f"{FOLDER}/{designation}/[0-9]*/[0-9]*/[0-9]*/data*.csv"))
    assert names, [str(path) for path in store.rglob("*") if path.is_file()]
    # pandas' own parser is off by a bit now and then.
    exact = dict.fromkeys([*FEATURES, *PREDICTIONS], float)
    return pd.concat([pd.read_csv(name, converters=exact) for name in names], ignore_index=True)


def check(store: Path, asked: list[Any], answers: list[Any]) -> pd.DataFrame:
    """Inputs and predictions, joined on id and row, are what the service was asked and what it answered, exactly."""
    inputs, predictions = table(store, "inputs"), table(store, "predictions")
    rows = sum(map(len, asked))
    assert len(inputs) == len(predictions) == rows
    keys = ["$aml_dc_correlation_id", "$aml_dc_row"]
    joined = inputs.merge(predictions, on=keys, validate="one_to_one", suffixes=("", " of the prediction"))
    assert len(joined) == rows
    for name in ("$aml_dc_scoring_timestamp", "$aml_request_id", "$aml_model_version", "$aml_workspace"):
        assert (joined[name] == joined[f"{name} of the prediction"]).all()
    got = {tuple(row[FEATURES]): tuple(row[PREDICTIONS]) for _, row in joined.iterrows()}
    expected = {
        tuple(features): tuple(said)
        for body, answer in zip(asked, answers, strict=True)
        for features, said in zip(body, answer, strict=True)
    }
    assert got == expected
    by_request = joined.groupby("$aml_dc_correlation_id")["$aml_dc_row"].agg(sorted)
    assert sorted(map(tuple, by_request)) == sorted(tuple(range(len(body))) for body in asked)
    return joined
