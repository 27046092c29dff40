"""What the environment says about sampling, columns, time and errors holds for scripts that were written for v1."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client.azureml import collector as module
from collectord_client.azureml.__main__ import main
from collectord_client.azureml.clients import Clients
from collectord_client.azureml.v2 import collector as v2
from collectord_client.sampling import Sampler

from tests.client.azureml.conftest import Landed, Make, keys


def test_sampling_with_labels_days_later(make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_SAMPLING", "0.5")
    inputs, predictions, labels = make("inputs"), make("predictions", ["p"]), make("labels", ["l"])
    said = []
    for at in range(60):
        said.append(inputs.collect(np.full((2, 3), float(at)), "user-7" if at % 2 else ""))
        predictions.collect(np.full(2, float(at)))
    for at, correlations in enumerate(said):
        # As JSON would give it back, or the id alone.
        labels.collect([at, at], correlations=dict(correlations) if at % 2 else correlations["$aml_dc_correlation_id"])
    want = {
        one["$aml_dc_correlation_id"] for one in said if Sampler(0.5, None).takes(one["$aml_dc_correlation_id"], 1.0)[0]
    }
    assert 10 < len(want) < 50
    assert {row.correlation for row in landed("labels")} == want
    assert keys(landed("inputs")) == keys(landed("predictions"))
    assert {row.correlation for row in landed("inputs")} == want
    assert {row.sampling for row in landed("inputs") + landed("labels")} == {0.5}
    assert inputs.stats()["sampled_out"] == (60 - len(want)) * 6


def test_columns_also_where_rows_name_their_request(
    make: Make, landed: Landed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTORD_COLUMNS", "ssn=drop,email=mask")
    inputs = make("inputs", ["ssn", "email", "x"])
    frame = pd.DataFrame({"ssn": [1, 2], "email": ["a", None], "x": [0.5, 1.5]})
    said = inputs.collect(frame)
    make("labels").collect(inputs.add_correlations(frame, said))
    for designation in ("inputs", "labels"):
        assert [row.names for row in landed(designation)] == [("email", "x")] * 2
        assert [row.values for row in landed(designation)] == [("***", 0.5), (None, 1.5)]


def test_debug_mode_prints_what_the_rules_leave(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All rows, whatever the sampling."""
    for name, told in {
        "AML_MODEL_DC_DEBUG": "true", "AML_MODEL_DC_STORAGE_ENABLED": "true", "COLLECTORD_SAMPLING": "1e-9",
        "COLLECTORD_COLUMNS": "ssn=drop,email=mask,who=hmac,$aml_dc_correlation_id=hmac,$aml_request_id=drop",
        "COLLECTORD_COLUMNS_KEY": "a key of the tests",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, told)
    inputs = make("inputs", ["ssn", "email", "who", "x"])
    for row in ([110111011, "a@b.c", "seven", 1], np.array([110111011.0, 220222022.0, 330333033.0, 1.0])):
        inputs.collect([row] if isinstance(row, list) else row.reshape(1, -1), "user-7", request_id="request-7")
    printed = capsys.readouterr().out
    assert not any(
        secret in printed for secret in ("110111011", "a@b.c", "seven", "220222022", "330333033", "user-7", "request-7")
    )
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["email"], len(row["who"]), row["x"]) for row in rows] == [("***", 64, "1"), ("***", 64, "1.0")]
    assert {len(row["$aml_dc_correlation_id"]) for row in rows} == {64}
    assert {row["$aml_request_id"] for row in rows} == {"00000000-0000-0000-0000-000000000000"}
    assert inputs.stats()["collected"] == 0
    assert inputs.stats()["sampled_out"] == 2


def test_the_budget_and_another_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is made later goes by what is said then; one client is still enough for inputs and predictions."""
    plain = make("inputs")
    monkeypatch.setenv("COLLECTORD_MAX_US_PER_CALL", "50")
    inputs, predictions = make("inputs"), make("predictions")
    assert plain._client is not inputs._client is predictions._client
    assert plain._client._budget is None
    budget: Any = inputs._client._budget
    assert budget.limit == 50


def test_a_build_fails_where_the_environment_cannot_work(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m collectord_client.azureml` in a Dockerfile."""
    monkeypatch.setattr(module, "_clients", Clients())
    monkeypatch.setattr(v2, "_clients", Clients())
    monkeypatch.setenv("COLLECTORD_ENDPOINT", f"unix:{deployment}/none.sock")
    assert main("best_model") == 0
    monkeypatch.setenv("COLLECTORD_COLUMNS", "ssn=hide")
    assert main("best_model") == 1
    assert "nothing can be collected: COLLECTORD_COLUMNS says 'hide' of 'ssn'" in capsys.readouterr().out
    # As with the v2 SDK's collector; what the configuration of a deployment has yet to say does not count.
    assert main(["--collection", "model_inputs"]) == 1
    assert "collecting: COLLECTORD_COLUMNS says 'hide' of 'ssn'" in capsys.readouterr().out
    monkeypatch.delenv("COLLECTORD_COLUMNS")
    monkeypatch.setenv("AZUREML_MDC_CONFIG_PATH", f"{deployment}/later.json")
    assert main(["--collection", "model_inputs"]) == 0


def test_a_build_fails_where_the_process_is_to_collect_by_itself_and_cannot(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_clients", Clients())
    monkeypatch.setenv("COLLECTORD_ENDPOINT", f"dir:{deployment}/data")
    assert main(["best_model"]) == 0
    assert f"endpoint: dir:{deployment}/data\n" in capsys.readouterr().out
    monkeypatch.setattr("collectord_client.azureml.__main__.PACKAGE", "no_such_package")
    assert main(["best_model"]) == 1
    assert "pip install no_such_package" in capsys.readouterr().out


def test_a_build_fails_where_the_daemon_is_reached_over_tcp_without_grpcio(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_clients", Clients())
    monkeypatch.setenv("COLLECTORD_ENDPOINT", "tls://collectord:9807")
    assert main(["best_model"]) == 0
    assert "endpoint: collectord:9807\n" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "grpc", None)
    assert main(["best_model"]) == 1
    assert "pip install 'collectord-client[grpc]'" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--colection", 2)])
def test_an_option_that_is_none_is_no_models_name(
    option: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_clients", Clients())
    assert main([option]) == status
    assert "--collection NAME" in capsys.readouterr().out
