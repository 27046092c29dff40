"""A pytest plugin that lets no run count in which a kernel was not one for arm64, or few tests were found."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tests.sanitize.proof import loaded_from

MACHINE = "aarch64"
ELF_MACHINE = 183
"""As an object file for it calls it: EM_AARCH64."""
LEAST = 900
"""Tests; a run with fewer has lost some of them."""


def elf_machine(library: Path) -> int | None:
    """For which machine an object file is; none if it is not one."""
    with library.open("rb") as file:
        head = file.read(20)
    return int.from_bytes(head[18:20], "little") if head.startswith(b"\x7fELF") else None


def objections(tree: Path) -> list[str]:
    """Why what this process has loaded of `tree` are not kernels for arm64."""
    libraries, found = loaded_from(tree)
    found += [f"{library} is for another machine" for library in libraries if elf_machine(library) != ELF_MACHINE]
    if platform.machine() != MACHINE:
        found.append(f"this is {platform.machine()}")
    core = getattr(sys.modules.get("collectord_client"), "CORE", "not loaded")
    if core != "compiled":
        found.append(f"the client's core is {core}")
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    """The test modules are imported by now, and with them the kernels."""
    found = objections(Path(session.config.rootpath))
    if len(session.items) < LEAST:
        found.append(f"there are {len(session.items)} tests, not {LEAST}")
    if found:
        pytest.exit("arm64 would not be checked: " + "; ".join(found), returncode=3)
