"""docs/reliability.md names commands that run something: files, tests and targets that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def names_in(path: Path) -> str:
    """The names of the tests in a file or folder."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    return "\n".join("\n".join(re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))) for file in files)


def wrong(page: str) -> Iterator[str]:
    commands = re.findall(r"`(pytest [^`]+|make [^`]+)`", page)
    assert len(commands) > 60, commands
    for command in commands:
        tool, *words = shlex.split(command)
        if tool == "make":
            if not re.search(rf"^{words[0]}:", MAKEFILE, re.MULTILINE):
                yield command
            continue
        chosen = words.pop(words.index("-k") + 1) if "-k" in words else ""
        paths = [word for word in words if word != "-k"]
        if missing := [path for path in paths if not (ROOT / path).exists()]:
            yield f"{command}: {missing[0]}"
            continue
        names = "\n".join(names_in(ROOT / path) for path in paths)
        assert names, command
        yield from (f"{command}: {word}" for word in chosen.split(" or ") if word not in names)


def test_every_command_of_the_page_runs_something() -> None:
    assert list(wrong(PAGE)) == []


@pytest.mark.parametrize(
    ("right", "other", "said"),
    [
        ("`make soak`", "`make soaking`", "make soaking"),
        ("tests/e2e/test_kills.py", "tests/e2e/test_killed.py", "tests/e2e/test_killed.py"),
        ("-k noisy", "-k nosy", "tests/e2e/test_abuse.py -k nosy: nosy"),
    ],
)
def test_a_command_that_runs_nothing_would_be_noticed(right: str, other: str, said: str) -> None:
    assert right in PAGE
    assert any(said in one for one in wrong(PAGE.replace(right, other)))
