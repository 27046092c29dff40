"""A script that collects with azureml-ai-monitoring as Microsoft documents it. Prints the correlation ids that it used."""

from __future__ import annotations

import json
import sys

import pandas as pd
from azureml.ai.monitoring import Collector
from azureml.ai.monitoring.context import BasicCorrelationContext
from azureml.ai.monitoring.init import teardown

ROWS = 5


def frame(number: int) -> pd.DataFrame:
    """One request's inputs."""
    return pd.DataFrame(
        {
            "age": [20 + number + at for at in range(ROWS)],
            "income": [1000.5 * number + at / 8 for at in range(ROWS)],
            "name": [f'{number}, "é" 漢 {at}' if at else None for at in range(ROWS)],
            "member": [at % 2 == 0 for at in range(ROWS)],
            "id": [2**63 + number + at for at in range(ROWS)],
            "tags": [[number, at, {"é": None}] for at in range(ROWS)],
            "seen": pd.to_datetime([1_600_000_000_000 + at for at in range(ROWS)], unit="ms"),
        }
    )


def main(first: int, last: int, failing: bool) -> None:
    errors: list[str] = []
    inputs = Collector(name="model_inputs", on_error=lambda error: errors.append(str(error)))
    outputs = Collector(name="model_outputs", on_error=lambda error: errors.append(str(error)))
    ids = []
    for number in range(first, last):
        context = BasicCorrelationContext(id=f"request {number}", headers={"model": "credit", "workspace": "ws"})
        context = inputs.collect(frame(number), context)
        outputs.collect(pd.DataFrame({"score": frame(number)["income"] * 2}), context)
        ids.append(str(context))
    if failing:
        inputs.collect(pd.DataFrame())  # no rows: [] on the wire
    teardown(wait_for_flush=True)
    print(json.dumps({"ids": ids, "errors": errors}))


main(int(sys.argv[1]), int(sys.argv[2]), "failing" in sys.argv[3:])
