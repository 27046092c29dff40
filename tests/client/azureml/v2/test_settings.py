"""What the variables and the configuration file of the v2 SDK say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from collectord_client.azureml.v2 import settings
from collectord_client.azureml.v2.settings import NOT_ENABLED, Collection


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told once is told again."""
    monkeypatch.setattr("collectord_client.notices._last", {})


@pytest.mark.parametrize(
    ("v2", "v1", "refusal", "switch"),
    [
        (None, None, "", "the daemon"),
        ("true", None, "", "AZUREML_MDC_ENABLED=true"),
        ("True", "false", "", "AZUREML_MDC_ENABLED=True"),
        ("false", "true", NOT_ENABLED, "AZUREML_MDC_ENABLED=false"),
        ("1", None, NOT_ENABLED, "AZUREML_MDC_ENABLED=1"),
        ("", "true", "", "AML_MODEL_DC_STORAGE_ENABLED=true"),
        (None, "no", NOT_ENABLED, "AML_MODEL_DC_STORAGE_ENABLED=no"),
    ],
)
def test_who_switches_collecting_on(
    monkeypatch: pytest.MonkeyPatch, v2: str | None, v1: str | None, refusal: str, switch: str
) -> None:
    for name, value in (("AZUREML_MDC_ENABLED", v2), ("AML_MODEL_DC_STORAGE_ENABLED", v1)):
        if value is not None:
            monkeypatch.setenv(name, value)
    found = settings.read()
    assert (found.refusal, found.switch) == (refusal, switch)
    assert found.of("any") == Collection("any", 1.0, refusal)


@pytest.mark.parametrize(
    ("given", "fraction", "warns"),
    [("25", 0.25, False), ("0.5", 0.005, False), ("0", 0.0, False), ("", 1.0, False), ("100", 1.0, False)]
    + [(bad, 1.0, True) for bad in ("many", "-1", "101", "nan", "inf")],
)
def test_sample_rates(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: str, fraction: float, warns: bool
) -> None:
    monkeypatch.setenv("AZUREML_MDC_SAMPLE_RATE", given)
    assert settings.read().of("any").fraction == pytest.approx(fraction)
    assert ("AZUREML_MDC_SAMPLE_RATE is left aside" in caplog.text) == warns


def test_a_file_says_which_collections_there_are(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables for all of them count no more, but the one that asks for local mode."""
    monkeypatch.setenv("AZUREML_MDC_ENABLED", "false")
    monkeypatch.setenv("AZUREML_MDC_SAMPLE_RATE", "1")
    monkeypatch.setenv("AZUREML_MDC_CONFIG_PATH", "mdc.json")
    said = {
        "Model_Inputs": {"enabled": True, "sampleRatePercentage": 10},
        "model_outputs": {"enabled": "True", "sampleRatePercentage": "50"},
        "off": {"enabled": False}, "texts": {"enabled": "False"}, "silent": {}, "odd": None,
        "strange": {"enabled": True, "sampleRatePercentage": None},
    }  # fmt: skip
    (deployment / "mdc.json").write_text(json.dumps({"collections": said}))
    found = settings.read()
    assert found.of("model_INPUTS") == Collection("Model_Inputs", 0.1, "")
    assert found.of("model_outputs") == Collection("model_outputs", 0.5, "")
    assert found.of("strange") == Collection("strange", 1.0, "")
    for name in ("off", "texts", "silent", "odd", "unknown"):
        assert found.of(name) == Collection(name, 1.0, f"collection {name} is not enabled, drop the data")
    assert (found.local, found.debug, found.switch) == (False, False, "AZUREML_MDC_CONFIG_PATH=mdc.json")


def test_reserved_names_do_not_switch_collecting_on(configure: Any, caplog: pytest.LogCaptureFixture) -> None:
    configure(request=True, Response=True)
    assert settings.read().of("request").refusal == NOT_ENABLED
    assert "the payloads of HTTP are not collected here" in caplog.text
    configure(request=True, more=True)
    assert settings.read().of("request") == Collection("request", 1.0, "")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "null", "[" * 100_000, '{"collections": []}', b"\xff"])
def test_a_file_that_cannot_be_read_collects_nothing(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes | None
) -> None:
    """It would have said what must not be collected."""
    monkeypatch.setenv("AZUREML_MDC_CONFIG_PATH", "mdc.json")
    if content is not None:
        (deployment / "mdc.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert settings.read().of("model_inputs").refusal.startswith("mdc.json cannot be read: ")


@pytest.mark.parametrize(
    ("variable", "mode", "local"), [("true", "cloud", True), ("", "Local", True), ("", "cloud", False)]
)
def test_local_mode(configure: Any, monkeypatch: pytest.MonkeyPatch, variable: str, mode: str, local: bool) -> None:
    monkeypatch.setenv("AZUREML_MDC_LOCAL_CAPTURE", variable)
    configure(mode, model_inputs=True)
    assert settings.read().local is local


def test_variables_of_the_sidecar_are_pointed_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AZUREML_MDC_PORT", "50011")
    settings.read()
    assert "AZUREML_MDC_PORT means nothing to collectord's client" in caplog.text
