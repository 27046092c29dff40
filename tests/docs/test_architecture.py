"""docs/architecture.md names files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILE = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.py)`")
NAMED = re.compile(r"((?:`[A-Za-z_.]+`(?:, | and )?)+) \(`([a-z_/]+\.py)`\)")


def source(name: str) -> Path:
    return ROOT / name if name.startswith("clients/") else ROOT / "collectord" / name


def definitions(path: Path) -> set[str]:
    """Classes, functions and methods, such as `Session.receive`."""
    found: set[str] = set()

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + child.name)
                if isinstance(child, ast.ClassDef):
                    visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def missing(page: str) -> list[str]:
    """What the page names and the source does not have. Raises AssertionError if the page names hardly anything."""
    files, named = set(FILE.findall(page)), NAMED.findall(page)
    assert len(files) > 20, files
    assert len(named) > 20, named
    gone = [name for name in sorted(files) if not source(name).is_file()]
    for names, file in named:
        known = definitions(source(file)) if source(file).is_file() else set()
        gone += [f"{name} in {file}" for name in re.findall(r"`([A-Za-z_.]+)`", names) if name not in known]
    return gone


def test_every_file_and_function_that_the_page_names_exists() -> None:
    assert missing(PAGE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("`LogWriter.commit`", "`LogWriter.persist`", "LogWriter.persist in wal/writer.py"),
        ("`upload/rollover.py`", "`upload/rolling.py`", "upload/rolling.py"),
    ],
)
def test_a_name_that_is_gone_would_be_noticed(right: str, wrong: str, said: str) -> None:
    assert right in PAGE
    assert said in missing(PAGE.replace(right, wrong))


def test_every_room_of_the_journey_is_told_of() -> None:
    rooms = {path.name for path in (ROOT / "collectord").iterdir() if (path / "__init__.py").is_file()}
    journey = {"ingest", "wal", "buffer", "encode", "upload", "telemetry"}
    assert journey <= rooms
    assert journey == set(re.findall(r"^\*\*([a-z]+)\*\*: ", PAGE, re.MULTILINE))
