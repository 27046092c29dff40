"""The migration guide knows every setting that the old SDKs read, and every one that their successors read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
CODE = ROOT / "clients" / "python" / "collectord_client" / "azureml"

V1 = [
    "AML_MODEL_DC_DEBUG",
    "AML_MODEL_DC_BOUNDARY",
    "SERVICE_NAME",
    "SERVICE_ID",
    "COMPUTE_NAME",
    "COMPUTE_TYPE",
    "COMPUTE_LOCATION",
    "AML_MODEL_DC_STORAGE",
    "AML_MODEL_DC_STORAGE_ENABLED",
    "AML_MODEL_DC_EVENT_HUB",
    "AML_MODEL_DC_EVENT_HUB_ENABLED",
    "AML_MODEL_DC_FILE_PATH_PREFIX",
    "AML_MODEL_DC_FLUSH_INTERVAL_SECONDS",
    "AML_MODEL_DC_EVENT_MAX_QUEUE_SIZE",
    "AML_MODEL_DC_EVENT_RETRY_TIME",
    "AML_MODEL_DC_STORAGE_DATA_WINDOW_LENGTH",
    "AML_MODEL_DC_STORAGE_FLUSH_WINDOW_LENGTH",
    "AML_MODEL_DC_STORAGE_COMMIT_WINDOW_LENGTH",
    "AML_MODEL_DC_STORAGE_MAX_SINGLE_BUFFER_SIZE",
    "AML_MODEL_DC_STORAGE_LEASE_DURATION",
    "AML_MODEL_DC_STORAGE_MAX_RETRIES",
    "AML_MODEL_DC_STORAGE_RETRY_INTERVAL",
    "AML_MODEL_DC_TELEMETRY_BOUNDARY",
    "AML_MODEL_DC_TELEM_SOCKET",
    "AML_MODEL_DEBUG_ENABLED",
    "AML_MODEL_DEBUG_KEY",
    "AML_APP_INSIGHTS_ENABLED",
    "AML_APP_INSIGHTS_KEY",
    "APP_INSIGHTS_LOG_RESPONSE_ENABLED",
]
V2 = [
    "AZUREML_MDC_ENABLED",
    "AZUREML_MDC_HOST",
    "AZUREML_MDC_PORT",
    "AZUREML_MDC_SAMPLE_RATE",
    "AZUREML_MDC_QUEUE_CAPACITY",
    "AZUREML_MDC_WORKER_DISABLED",
    "AZUREML_MDC_WORKER_COUNT",
    "AZUREML_MDC_FORMAT_COMPACT",
    "AZUREML_MDC_LOCAL_CAPTURE",
    "AZUREML_MDC_DEBUG",
    "AZUREML_MDC_CONFIG_PATH",
    "runMode",
    "collections.NAME.enabled",
    "collections.NAME.sampleRatePercentage",
]


def named(page: str) -> set[str]:
    """What stands in the first column of a table, in code."""
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    return {name.partition("=")[0] for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("name", V1 + V2)
def test_every_old_setting_has_a_row(name: str) -> None:
    assert name in named(PAGE)


def test_every_setting_that_is_read_is_told() -> None:
    """Whatever the code calls by name in the environment."""
    read = {
        name
        for path in CODE.rglob("*.py")
        for name in re.findall(r'"((?:AML|AZUREML|COLLECTORD)_[A-Z_0-9]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(read) > 15
    assert read - set(re.findall(r"\w+", PAGE)) == set()


@pytest.mark.parametrize("number", range(1, 12))
def test_every_defect_of_v2_has_a_row(number: int) -> None:
    assert re.search(rf"^\| E{number} \| .+ \| .+ \|$", PAGE, re.MULTILINE)
