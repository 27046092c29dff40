"""Two trees are compared in what both measure, in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compare

OLD, NEW = Path("old"), Path("new")


def test_what_both_measure_is_compared_and_the_order_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Path] = []

    def run(place: Path, suite: str, options: list[str]) -> compare.Samples:
        runs.append(place)
        speed = 2.0 if place == OLD else 1.0
        return {"both": speed * (1 + len(runs)), "rows": 100.0, f"only {place}": 1.0}

    monkeypatch.setattr(compare, "run", run)
    found = compare.compare(OLD, NEW, "encode", [], 6)
    assert runs == [OLD, NEW, NEW, OLD] * 3
    assert list(found) == ["both"], "what never changes is no figure"
    assert [old / new > 1 for old, new in zip(*found["both"], strict=True)] == [True] * 6
    assert compare.table(found).splitlines()[1].endswith("less")


def test_a_folder_with_another_tree_behind_it_is_not_measured(tmp_path: Path) -> None:
    """The packages that a run imports are those of its own tree."""
    with pytest.raises(AssertionError, match="runs"):
        compare.check(tmp_path)
