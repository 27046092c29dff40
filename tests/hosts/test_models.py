"""Feature names come from real models of MLflow, XGBoost and LightGBM, as a scoring script loads them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.client import hosts

CODE = """
import json, sys, warnings
import numpy as np, pandas as pd
from collectord_client.features import NoNames, names_of
from sklearn.linear_model import Ridge

warnings.simplefilter("ignore")
frame = pd.DataFrame(np.random.default_rng(0).random((50, 2)), columns=["age", "bmi"])
target = frame["age"] * 2
{code}
found = []
for model in models:
    for designation in ("inputs", "predictions"):
        try:
            found.append(names_of(model, designation))
        except NoNames as error:
            found.append(str(error))
json.dump(found, open("found.json", "w"))
"""
MLFLOW = """
import mlflow
from mlflow.models import infer_signature
signature = infer_signature(frame, pd.DataFrame({"risk": target}))
ridge = Ridge().fit(frame, target)
for name, known in (("named", signature), ("unnamed", infer_signature(frame.to_numpy(), target.to_numpy())), ("none", None)):
    mlflow.sklearn.save_model(ridge, name, signature=known, serialization_format="cloudpickle")
models = [
    signature, signature.inputs, mlflow.models.Model.load("named"), mlflow.pyfunc.load_model("named"),
    mlflow.pyfunc.load_model("unnamed"), mlflow.pyfunc.load_model("none"), mlflow.models.Model.load("none"),
    mlflow.sklearn.load_model("none"),
]
"""
BOOSTERS = """
from lightgbm import LGBMRegressor
from xgboost import XGBRegressor
models = []
for data in (frame, frame.to_numpy()):
    model = XGBRegressor(n_estimators=2).fit(data, target)
    models += [model, model.get_booster()]
model = LGBMRegressor(n_estimators=2, verbose=-1).fit(frame, target)
models += [model, model.booster_, XGBRegressor(), LGBMRegressor()]
"""


def names(python: Path, folder: Path, code: str) -> list[tuple[Any, Any]]:
    """Of each model, what inputs and predictions are called."""
    done = subprocess.run(
        [python, "-c", CODE.replace("{code}", code)], cwd=folder, env=hosts.environment(False) | {"HOME": str(folder)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text())
    return list(zip(found[::2], found[1::2], strict=True))


INPUTS = ["age", "bmi"]


def test_mlflow(python: Path, tmp_path: Path) -> None:
    """Signatures, models that were logged, and models that were loaded; those without names say so."""
    found = names(python, tmp_path, MLFLOW)
    assert found[:4] == [(INPUTS, ["risk"]), (INPUTS, INPUTS), (INPUTS, ["risk"]), (INPUTS, ["risk"])]
    for answers, says in zip(
        found[4:7], ("no names for the", "PyFuncModel does not know", "Model does not know"), strict=True
    ):
        assert all(says in answer for answer in answers), answers
    assert found[7][0] == INPUTS
    assert "names of its inputs" in found[7][1]


def test_boosters(python: Path, tmp_path: Path) -> None:
    found = names(python, tmp_path, BOOSTERS)
    named = [*found[:2], *found[4:6]]
    assert [inputs for inputs, _ in named] == [INPUTS] * 4
    assert all("names of its inputs" in predictions for _, predictions in named)
    assert all("does not know" in answer for answers in (*found[2:4], *found[6:]) for answer in answers)
