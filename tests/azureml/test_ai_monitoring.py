"""azureml-ai-monitoring 1.0.0, as it comes from the registry, sends to a daemon: no change but two variables."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.client import hosts
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, free_port

PYTHON = Path(__file__).resolve().parents[2] / "build" / "azureml-v2" / "bin" / "python"
SCRIPT = Path(__file__).with_name("collect_v2.py")
ROWS = 5
"""Of each request of the script."""


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    assert PYTHON.exists(), "`make test-azureml` makes the environment"
    return make_daemon(mdc=f"127.0.0.1:{free_port()}", flush_interval=3600, codec="none").start()


def collect(daemon: Daemon, first: int, last: int, *words: str, **variables: str) -> tuple[dict[str, Any], str]:
    """Runs the script for these requests; what it printed, and the SDK's own log."""
    host, port = str(daemon.settings["mdc"]).split(":")
    mdc = {"AZUREML_MDC_ENABLED": "true", "AZUREML_MDC_HOST": host, "AZUREML_MDC_PORT": port, **variables}
    found = subprocess.run(
        [PYTHON, SCRIPT, str(first), str(last), *words], capture_output=True, text=True, timeout=120,
        env=hosts.environment(False) | mdc | {"HOME": str(daemon.folder)}, cwd=daemon.folder,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    printed = json.loads(found.stdout.splitlines()[-1])
    assert isinstance(printed, dict)
    return printed, found.stdout + found.stderr


def rows(daemon: Daemon, collection: str) -> landed.Table:
    return landed.rows(landed.directory(daemon.folder / "store"), f"/{collection}/")


def wanted(number: int) -> list[list[str]]:
    """What the frame of a request has to be in the CSV; times are what JSON has of them."""
    return [
        [
            str(20 + number + at),
            repr(1000.5 * number + at / 8),
            f'{number}, "é" 漢 {at}' if at else "",
            "true" if at % 2 == 0 else "false",
            str(2**63 + number + at),
            f'[{number},{at},{{"é":null}}]',
            str(1_600_000_000_000 + at),
        ]
        for at in range(ROWS)
    ]


def test_what_the_unmodified_sdk_collects_lands_typed_and_joins(daemon: Daemon) -> None:
    before = datetime.now(timezone.utc)
    printed, _ = collect(daemon, 0, 40)
    assert printed["errors"] == []
    daemon.flush()
    inputs, outputs = rows(daemon, "model_inputs"), rows(daemon, "model_outputs")
    assert len(inputs) == len(outputs) == 40 * ROWS
    joined = {(row["$aml_dc_correlation_id"], row["$aml_dc_row"]): row for row in outputs}
    assert len(joined) == len(outputs)
    by_request: dict[str, list[dict[str, str]]] = {}
    for row in inputs:
        by_request.setdefault(row["$aml_dc_correlation_id"], []).append(row)
        score = joined[row["$aml_dc_correlation_id"], row["$aml_dc_row"]]["score"]
        assert float(score) == 2 * float(row["income"])
    assert list(by_request) == printed["ids"]
    for number, id_ in enumerate(printed["ids"]):
        assert [list(row.values())[:7] for row in by_request[id_]] == wanted(number)
    first = inputs[0]
    assert (first["$aml_model_name"], first["$aml_workspace"]) == ("credit", "default/default/ws")
    assert abs(datetime.fromisoformat(first["$aml_dc_scoring_timestamp"] + "+00:00") - before).total_seconds() < 120
    for books in daemon.books().values():
        assert books.received == books.landed == 40 * ROWS
    assert len(daemon.books()) == 2


def test_what_the_sdk_was_told_is_accepted_survives_kill_9(daemon: Daemon) -> None:
    """The script has ended and keeps nothing; the daemon is killed before anything has landed."""
    printed, _ = collect(daemon, 0, 20)
    daemon.kill9()
    assert not landed.directory(daemon.folder / "store")
    daemon.start()
    more, _ = collect(daemon, 20, 25)
    daemon.flush()
    found = Counter(row["$aml_dc_correlation_id"] for row in rows(daemon, "model_inputs"))
    assert found == dict.fromkeys([*printed["ids"], *more["ids"]], ROWS)


def test_several_processes_at_once_are_all_heard(daemon: Daemon) -> None:
    said: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda first=first: said.append(collect(daemon, first, first + 20)[0]["ids"]))  # type: ignore[misc]
        for first in range(0, 60, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    daemon.flush()
    found = Counter(row["$aml_dc_correlation_id"] for row in rows(daemon, "model_outputs"))
    assert found == Counter({f"request {number}": ROWS for number in range(60)})
    assert len(said) == 3


def test_what_is_refused_is_in_the_sdks_log(daemon: Daemon) -> None:
    """The compact format, and a frame without rows. Neither stops what comes after."""
    _, log = collect(daemon, 0, 1, AZUREML_MDC_FORMAT_COMPACT="true")
    assert "unset AZUREML_MDC_FORMAT_COMPACT" in log
    _, log = collect(daemon, 1, 2, "failing")
    assert "there are no rows" in log
    daemon.flush()
    assert {row["$aml_dc_correlation_id"] for row in rows(daemon, "model_inputs")} == {"request 1"}
    found = daemon.metrics()
    assert found['collectord_mdc_answers_total{code="415"}'] == 2
    assert found['collectord_mdc_answers_total{code="400"}'] == 1
