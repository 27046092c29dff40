"""A scoring job on Spark collects its DataFrames as they are, and reads them back with Spark, joined."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collectord_client.azureml import ModelDataCollector
from collectord_client.azureml import collector as module
from collectord_client.azureml.clients import Clients
from collectord_client.azureml.correlations import HEADERS

from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon

WORKSPACE = "sub/group/workspace"
KEYS = ["$aml_dc_correlation_id", "$aml_dc_row"]
SCHEMA = "amount double, terms long, purpose string, asked timestamp, secured boolean"
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
BATCHES: list[list[tuple[Any, ...]]] = [
    [(0.1, 1, 'a "car",\nred', WHEN, True), (1e-300, 2**53 + 1, None, WHEN, False), (-2.5, 3, "Überseehandel", WHEN, True)],
    [(1 / 3, 7, "boat", WHEN, False), (0.5, None, "car", WHEN, None)],
]  # fmt: skip
Make = Callable[[str], ModelDataCollector]


@pytest.fixture
def daemon(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    started = make_daemon(codec="none", flush_interval=0.3).start()
    monkeypatch.setenv("COLLECTORD_ENDPOINT", started.endpoint)
    return started


@pytest.fixture
def make(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(module, "_clients", Clients())
    yield lambda designation: ModelDataCollector("loans", designation, workspace=WORKSPACE, webservice_name="jobs")
    for client in module._clients.values():
        client.close(0.2)


def risk(frame: Any) -> Any:
    """The model: a DataFrame with a row for each of `frame`."""
    return frame.selectExpr("amount / terms AS risk", "length(purpose) AS letters")


def frames(spark: Any) -> list[Any]:
    made = [spark.createDataFrame(batch, SCHEMA) for batch in BATCHES]
    assert all(type(frame).__module__.startswith("pyspark.sql") for frame in made)
    return made


def landed(spark: Any, daemon: Daemon, designation: str) -> Any:
    """All rows of a designation, as Spark reads them."""
    for client in module._clients.values():
        assert client.flush(10), client.stats()
        assert client.stats()["dropped"] == {}
    daemon.flush()
    days = Path(daemon.folder, "store", WORKSPACE, "jobs", "loans", "default", designation)
    found = spark.read.csv(
        f"file://{days}/*/*/*/data.csv", header=True, multiLine=True, escape='"', inferSchema=True
    )  # fmt: skip
    return found.drop(*[name for name in HEADERS if name not in KEYS]) if designation == "predictions" else found


def check(spark: Any, daemon: Daemon) -> None:
    """Inputs joined to predictions are the rows that were scored, each with what the model says of it."""
    inputs, predictions = landed(spark, daemon, "inputs"), landed(spark, daemon, "predictions")
    joined = inputs.join(predictions, KEYS)
    columns = ["amount", "terms", "purpose", "asked", "secured", "risk", "letters"]
    found = [tuple(row) for row in joined.orderBy("terms").select(columns).collect()]
    expected = [
        (*row, row[0] / row[1] if row[1] else None, len(row[2]) if row[2] else None)
        for row in sorted((row for batch in BATCHES for row in batch), key=lambda row: row[1] or 0)
    ]
    assert found == expected
    rows = [
        sorted(row["rows"])
        for row in inputs.groupBy(KEYS[0]).agg({KEYS[1]: "collect_list"}).toDF("id", "rows").collect()
    ]
    assert sorted(rows) == [[0, 1], [0, 1, 2]]


def test_inputs_and_predictions(spark: Any, daemon: Daemon, make: Make) -> None:
    """Two lines, as in the documentation: types, nulls and line breaks survive, in names that the frames have."""
    inputs, predictions = make("inputs"), make("predictions")
    for frame in frames(spark):
        inputs.collect(frame)
        predictions.collect(risk(frame))
    check(spark, daemon)


def test_correlations_that_were_added(spark: Any, daemon: Daemon, make: Make) -> None:
    """Predictions of another thread, out of order: they become pandas frames with eight more columns."""
    inputs, predictions = make("inputs"), make("predictions")
    made = frames(spark)
    given = [inputs.collect(frame) for frame in made]

    def say() -> None:
        for frame, correlations in reversed(list(zip(made, given, strict=True))):
            added = predictions.add_correlations(risk(frame), correlations)
            assert list(added.columns) == ["risk", "letters", *HEADERS]
            predictions.collect(added)

    thread = threading.Thread(target=say)
    thread.start()
    thread.join()
    check(spark, daemon)
    assert sum(client.stats()["notes"].get("uncorrelated", 0) for client in module._clients.values()) == 0
