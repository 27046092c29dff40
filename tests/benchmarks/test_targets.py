"""The run that measures the targets fails where it checks nothing; a missed target is told."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.pairs import Interval
from benchmarks.targets import __main__ as run
from benchmarks.targets.figure import Bound, Figure, Measured, at_least, load


def measuring(monkeypatch: pytest.MonkeyPatch, *bounds: Bound | None) -> None:
    """Every target's measuring finds 2, give or take 1, for each of these bounds."""
    found = Measured([Figure("what", "×", Interval(2.0, 1.0, 3.0, 15), bound) for bound in bounds])
    monkeypatch.setattr(run.importlib, "import_module", lambda name: SimpleNamespace(measure=lambda pairs: found))


def test_a_target_that_checks_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measuring(monkeypatch, None)
    with pytest.raises(AssertionError, match="1 checks nothing"):
        run.child("1", 15, tmp_path / "1.json")
    run.child("sdks", 15, tmp_path / "sdks.json")
    measuring(monkeypatch)
    with pytest.raises(AssertionError, match="measured nothing"):
        run.child("sdks", 15, tmp_path / "none.json")
    assert [path.name for path in tmp_path.iterdir()] == ["sdks.json"]


def test_what_a_target_found_is_kept_with_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measuring(monkeypatch, at_least(1.0), at_least(4.0))
    run.child("1", 15, tmp_path / "1.json")
    text = (tmp_path / "1.json").read_text()
    assert [one.verdict for one in load(text).figures] == ["met", "missed"]
    assert '"machine"' in text and '"versions"' in text and '"date"' in text


@pytest.mark.parametrize(("asked", "said"), [(["9"], "no target 9"), (["--pairs", "5", "1"], "at least 6")])
def test_what_cannot_be_measured_is_refused(
    asked: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["targets", *asked])
    with pytest.raises(SystemExit) as ended:
        run.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missed_target_ends_the_run_well_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["targets", "1", "2"])
    measuring(monkeypatch, at_least(1.0), at_least(2.0), at_least(4.0), None)
    found = run.importlib.import_module("any").measure(15)
    monkeypatch.setattr(run, "measured", lambda target, pairs: found)
    run.main()
    assert capsys.readouterr().out.splitlines()[-1] == "2 met, 4 missed"


@pytest.mark.parametrize("target", run.TARGETS)
def test_each_target_has_somebody_who_measures_it(target: str) -> None:
    """What the suites hand to it is there, under the names that it uses."""
    module = importlib.import_module(f"benchmarks.targets.{run.TARGETS[target][1]}")
    assert callable(module.measure)
