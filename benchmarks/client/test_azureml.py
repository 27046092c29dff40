"""What `ModelDataCollector` costs a scoring call, beside the collector below it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.client.test_collect import client, measure

__all__ = ["client"]

NAMES = [f"feat{n}" for n in range(1, 11)]
ROWS = (1, 100, 1000)


@pytest.fixture
def make(client: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes collectors that use the measured client."""
    from collectord_client.azureml import ModelDataCollector, collector

    monkeypatch.setattr(collector, "_client", lambda *_: client)
    return partial(ModelDataCollector, "m")


@pytest.mark.parametrize("rows", ROWS)
def test_collector(benchmark: Any, client: Any, rows: int) -> None:
    inputs, predictions = client.collector("inputs", NAMES).collect, client.collector("predictions", ["p"]).collect
    _measure(benchmark, client, inputs, predictions, rows)


@pytest.mark.parametrize("rows", ROWS)
def test_model_data_collector(benchmark: Any, client: Any, make: Any, rows: int) -> None:
    inputs, predictions = make("inputs", NAMES).collect, make("predictions", ["p"]).collect
    _measure(benchmark, client, inputs, predictions, rows)


@pytest.mark.parametrize("rows", ROWS)
def test_model_data_collector_in_a_request(benchmark: Any, client: Any, make: Any, rows: int) -> None:
    """As under Azure ML's inference server: Flask is asked, and the request has an id."""
    import flask

    inputs, predictions = make("inputs", NAMES).collect, make("predictions", ["p"]).collect
    headers = {"x-request-id": "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1"}
    with flask.Flask("scoring").test_request_context(headers=headers):
        _measure(benchmark, client, inputs, predictions, rows)


def _measure(benchmark: Any, client: Any, inputs: Any, predictions: Any, rows: int) -> None:
    data, said = np.random.default_rng(3).random((rows, 10)), np.random.default_rng(4).random(rows)

    def score() -> None:
        inputs(data)
        predictions(said)

    benchmark.group = f"inputs {rows} x 10 and predictions"
    measure(benchmark, client, score, 100)
    assert client.stats()["notes"] == {}
