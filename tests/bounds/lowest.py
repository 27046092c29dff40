"""Prints the lower bound of each run-time dependency of a project as a pin: `python -m tests.bounds.lowest pyproject.toml`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")
BOUND = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?>=(?P<version>[0-9][0-9A-Za-z.]*)(?P<marker>\s*;.*)?")


def dependencies(project: Path) -> list[str]:
    """What a project needs to run, its extras included, as it says so."""
    described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = [each for extra in described.get("optional-dependencies", {}).values() for each in extra]
    return [*described["dependencies"], *optional]


def dependency_groups(project: Path) -> dict[str, list[str]]:
    """What it needs besides, by group."""
    groups: dict[str, list[str]] = tomllib.loads(project.read_text(encoding="utf-8")).get("dependency-groups", {})
    return groups


def pins(project: Path) -> Iterator[str]:
    """Raises ValueError for a dependency without a lower bound."""
    for dependency in dependencies(project):
        found = BOUND.fullmatch(dependency)
        if found is None:
            raise ValueError(f"{project}: {dependency!r} has no lower bound that could be tested")
        yield f"{found['name']}=={found['version']}{found['marker'] or ''}"


if __name__ == "__main__":
    print("\n".join(sorted(pins(ROOT / sys.argv[1]))))
