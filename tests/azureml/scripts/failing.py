"""A scoring script that collects its inputs and then fails, in the way its request asks for."""

import json
from typing import Any

from azureml.monitoring import ModelDataCollector


def init() -> None:
    global inputs, predictions
    inputs = ModelDataCollector("best_model", designation="inputs", feature_names=["a", "b"])
    predictions = ModelDataCollector("best_model", designation="predictions", feature_names=["p"])


def run(raw_data: str) -> Any:
    data = json.loads(raw_data)["data"]
    inputs.collect(data)
    if data[0][0] < 0:
        raise ArithmeticError("a root of what is below zero")
    result = [row[0] ** 0.5 for row in data]
    predictions.collect(result)
    return result
