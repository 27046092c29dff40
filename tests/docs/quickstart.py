"""docs/quickstart.md as something to run: its blocks by section, and whether they print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MAKES_ENVIRONMENT = re.compile(r"^.*(?:-m venv|pip install).*$", re.MULTILINE)


def section(title: str, page: str = PAGE) -> str:
    """What stands below a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def blocks(text: str, *kinds: str) -> list[str]:
    """The code of each block of these kinds, in order."""
    found = [code for kind, code in FENCE.findall(text) if kind in kinds]
    assert found, kinds
    return found


SCRIPT = blocks(section("Wheels and a script"), "python")[0]
SECTIONS = ("A laptop", "A VM", "AKS", "Azure Container Instances")


def first_part(title: str) -> str:
    """A section up to where it needs a storage account."""
    return section(title).partition("**A real storage account.**")[0]


def save_script(folder: str = ".") -> str:
    """What the page says in words."""
    return f"cat >{folder}/score.py <<'END'\n{SCRIPT}END\n"


def on_a_laptop(environment: Mapping[str, str], has_environment: bool = False) -> str:
    """What that section's commands print, in an empty folder whose name is short: sockets lie in it.

    `has_environment`: `environment` has the packages, and none is made.
    """
    first, *rest = blocks(first_part("A laptop"), "sh")
    if has_environment:
        first = MAKES_ENVIRONMENT.sub("", first)
    ends = "trap 'kill $(jobs -p) || cat collectord.log' EXIT\n"
    with tempfile.TemporaryDirectory(prefix="cd-") as folder:
        return run(ends + first + save_script() + "".join(rest), Path(folder), environment)


def run(script: str, folder: Path, environment: Mapping[str, str], timeout: float = 600) -> str:
    """What it prints, on both streams. It ends at the first command that fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=script, cwd=folder, env=dict(environment), text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n---- says\n{done.stdout}"
    return done.stdout


def compare(said: str, shown: Sequence[str]) -> None:
    """Each line that the page shows was printed, in this order; `…` stands for anything."""
    lines = iter(said.splitlines())
    for wanted in (line for block in shown for line in block.splitlines()):
        form = re.compile(r"\s*" + ".*".join(map(re.escape, wanted.split("…"))).replace(r"\ ", r"\s+") + r".*")
        assert any(form.fullmatch(line) for line in lines), f"{wanted!r} is not in\n{said}"


def recorded(script: str, folder: Path, names: Sequence[str]) -> list[list[str]]:
    """The words of each call of these programs, which are none but say so: the shell itself takes the page apart."""
    calls = folder / "calls"
    stubs = folder / "stubs"
    stubs.mkdir()
    for name in names:
        stub = stubs / name
        stub.write_text(f"#!/bin/sh\nprintf '%s\\037' {name} \"$@\" >>{calls}\necho >>{calls}\necho answer-of-{name}\n")
        stub.chmod(0o755)
    run(script, folder, {"PATH": f"{stubs}:{os.environ['PATH']}", "WHEELS": "/wheels"}, 60)
    return [call.split("\037")[:-1] for call in calls.read_text(encoding="utf-8").split("\n")[:-1]]
