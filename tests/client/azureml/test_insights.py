"""One line of a script, or none at all, and what it prints, logs and answers is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from collectord_client.azureml import enable_app_insights, insights
from collectord_client.azureml.clients import Clients
from collectord_client.azureml.run import START, environment, run

from tests.client.fakedaemon import FakeDaemon

SCRIPT = """
import logging, os, sys
print("model initialized", os.environ["THEIRS"], sum(path.endswith("azureml/start") for path in sys.path))
logging.getLogger("score").warning("odd")
"""
ROOT = Path(__file__).resolve().parents[3] / "clients" / "python"


def ran(daemon: FakeDaemon, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    said = {
        "COLLECTORD_ENDPOINT": daemon.endpoint, "SERVICE_NAME": "svc", "COLLECTORD_MODEL": "m", "PYTHONPATH": str(ROOT),
        "AML_APP_INSIGHTS_ENABLED": "true",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "collectord_client.azureml", "run", "--", *command], env={**os.environ, **said, **variables},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def traces(daemon: FakeDaemon) -> list[str]:
    """The messages and dimensions."""
    return [str(row.values) for row in daemon.rows if row.designation == "traces"]


def test_a_script_without_a_line_of_its_own(daemon: FakeDaemon, tmp_path: Path) -> None:
    """A `sitecustomize` that was there before has its turn, and Python's path is as it was."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['THEIRS'] = 'here'")
    script = tmp_path / "score.py"
    script.write_text(SCRIPT)
    done = ran(daemon, sys.executable, script, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert (done.returncode, done.stdout) == (0, "model initialized here 0\n"), done.stderr
    first, second = traces(daemon)
    assert '"Service Name":"svc"' in first
    assert '"Contents":"model initialized here 0"' in first
    assert '"Logger":"score"' in second
    assert {row.stream for row in daemon.rows} == {"default/default/default/svc/m/default"}


def test_switched_off_it_tells_nothing(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = ran(daemon, sys.executable, "-c", "print('x')", AML_APP_INSIGHTS_ENABLED="false")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")
    assert daemon.rows == []


@pytest.mark.parametrize("variables", [{"COLLECTORD_SAMPLING": "often"}, {"SERVICE_NAME": "x" * 300}])
def test_settings_that_are_unusable_cost_no_program(daemon: FakeDaemon, variables: dict[str, str]) -> None:
    done = ran(daemon, sys.executable, "-c", "print('x')", **variables)
    assert (done.returncode, done.stdout) == (0, "x\n")
    assert daemon.rows == []


def test_a_package_that_is_not_whole_costs_no_program(daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "collectord_client").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "print('x')"], env={**os.environ, "PYTHONPATH": os.pathsep.join([str(START), str(tmp_path)])},
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "x\n")


@pytest.mark.parametrize(("command", "status"), [([], 2), (["--"], 2), (["--", "/nowhere/at-all"], 127)])
def test_commands_that_are_none(command: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command) == status
    assert capsys.readouterr().err


def test_the_folder_comes_first_and_once() -> None:
    once = environment({"PYTHONPATH": f"/a{os.pathsep}/b", "OTHER": "x"})
    assert once == {"PYTHONPATH": os.pathsep.join([str(START), "/a", "/b"]), "OTHER": "x"}
    assert environment(once) == once
    assert environment({})["PYTHONPATH"] == str(START)


def test_one_line_in_a_script(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insights, "_clients", Clients())
    monkeypatch.setenv("COLLECTORD_ENDPOINT", daemon.endpoint)
    monkeypatch.setenv("AML_APP_INSIGHTS_ENABLED", "true")
    client = enable_app_insights()
    assert enable_app_insights() is client
    print("hello")
    client.close(10)
    assert ['"Contents":"hello"' in one for one in traces(daemon)] == [True]
