"""Every run-time dependency has a lower bound, and the one that `make test-bounds` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bounds.lowest import PROJECTS, ROOT, pins


@pytest.mark.parametrize("project", PROJECTS)
def test_each_dependency_has_a_lower_bound(project: str) -> None:
    found = list(pins(ROOT / project))
    assert any(pin.startswith("grpcio==") for pin in found)


def test_one_without_a_bound_is_refused(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["grpcio"]\n')
    with pytest.raises(ValueError, match="grpcio"):
        list(pins(project))
