"""What is imported is asked for: where only the daemon and its dependencies are installed, nothing is missing."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "collectord" / "demo"
"""Asks for the libraries of the user whom it plays, and says so."""
OURS = {"collectord", "collectord_client"}


def imported(tree: ast.Module) -> Iterator[str]:
    """The packages that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


def distribution(wish: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", wish, maxsplit=1)[0]).lower()


def installed_with(wishes: list[str]) -> set[str]:
    """What is there when these are installed without extras, themselves included."""
    there: set[str] = set()
    while wishes:
        name = distribution(wishes.pop())
        if name not in there:
            there.add(name)
            try:
                wishes += [wish for wish in requires(name) or () if "extra ==" not in wish]
            except PackageNotFoundError:
                # For another Python, or for another system.
                continue
    return there


def test_what_the_daemon_imports_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [wish for wishes in project["optional-dependencies"].values() for wish in wishes]
    there, known = installed_with([*project["dependencies"], *extras]), packages_distributions()
    assert "numpy" not in there, "choose another example of what is on every developer's machine"
    missing, seen = {}, set()
    for path in sorted((ROOT / "collectord").rglob("*.py")):
        if DEMO in path.parents or "_pb" in path.parts:
            continue
        for name in set(imported(ast.parse(path.read_text()))) - OURS - sys.stdlib_module_names:
            seen.add(name)
            if not there & set(map(distribution, known.get(name, [name]))):
                missing[name] = str(path.relative_to(ROOT))
    assert not missing
    assert {"grpc", "pyarrow", "click"} <= seen
