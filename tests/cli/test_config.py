"""`collectord config check` says before the start what `serve` would say, and what it would warn of; `service` names services."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collectord.cli.main import main


@pytest.fixture(autouse=True)
def in_a_short_folder(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_check_warns_of_variables_that_are_no_settings_and_of_what_is_hardly_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `serve` does: none of it stops the start."""
    assert run("config", "check").stderr == ""
    monkeypatch.setenv("COLLECTORD_FLUSH_INTERVALL", "3")
    monkeypatch.setenv("COLLECTORD_MAX_CLIENTS", "100000")
    done = run("config", "check")
    assert done.exit_code == 0, done.output
    first, second = done.stderr.splitlines()
    assert first == "warning: COLLECTORD_FLUSH_INTERVALL looks like a setting and is none"
    assert second.startswith("warning: max_clients: 100000 clients may need")
    assert "ok: 1 settings" in done.stdout


@pytest.mark.parametrize("command", ["check", "print"])
def test_check_finds_that_otlp_is_not_installed(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setenv("COLLECTORD_OTLP_ENDPOINT", "http://otel:4318")
    assert run("config", command).exit_code == 0
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "collectord.telemetry.otlp"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    done = run("config", command)
    assert done.exit_code == 2
    assert "pip install collectord[otlp]" in done.output


@pytest.mark.parametrize(
    "command",
    [
        ("set", "", "--collect-model-data=false"),
        ("set", " ", "--collect-model-data=false"),
        ("show", ""),
        ("capture", "", "--failed"),
    ],
)
def test_an_empty_name_is_no_service(tmp_path: Path, command: tuple[str, ...]) -> None:
    """It is a shell's variable that was not set; what was meant for one service must not switch the one without a name."""
    done = run("service", *command, "--spool", str(tmp_path), "--store", str(tmp_path / "store"))
    assert done.exit_code == 2
    assert "those of `default`" in done.output
    assert not list(tmp_path.iterdir())
    named = run(
        "service",
        "set",
        "default",
        "--collect-model-data=false",
        "--spool",
        str(tmp_path),
        "--store",
        str(tmp_path / "s"),
    )
    assert named.exit_code == 0, named.output


@pytest.mark.parametrize("command", [("set", "--collect-model-data=false"), ("capture", "--requests", "5")])
def test_a_pattern_is_the_name_of_one_service(tmp_path: Path, command: tuple[str, ...]) -> None:
    """`collect_only` takes patterns, this does not: whoever wants `fraud*` off must not believe that it is."""
    first, *options = command
    (tmp_path / "store").mkdir()
    for name, told in (("fraud*", True), ("ws/fraud", True), ("fraud", False)):
        words = (
            "service",
            first,
            name,
            *options,
            "--store",
            str(tmp_path / "store"),
            "--spool",
            str(tmp_path / "spool"),
        )
        answer = run(*words)
        assert answer.exit_code == 0, answer.output
        assert (f"{name!r} is taken as the name of one service" in answer.stderr) is told
