"""A pytest plugin that lets no run count in which a kernel was not under the sanitizers."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

PACKAGES = ("collectord", "clients/python/collectord_client")
"""Where kernels are."""

MARKS = (b"__asan_report_load", b"__ubsan_handle")
"""What an object file refers to when it was compiled with -fsanitize=address,undefined."""


def missing_marks(library: Path) -> list[str]:
    """The marks that a shared object lacks; none if it is instrumented."""
    content = library.read_bytes()
    return [mark.decode() for mark in MARKS if mark not in content]


def kernels_of(tree: Path) -> dict[str, Path]:
    """The kernels' sources, relative to `tree`, by the names of their modules."""
    found = {}
    for package in map(Path, PACKAGES):
        for path in sorted((tree / package).rglob("_*.pyx")):
            found[".".join(path.relative_to(tree / package.parent).with_suffix("").parts)] = path.relative_to(tree)
    return found


def loaded_from(tree: Path) -> tuple[list[Path], list[str]]:
    """The kernels of `tree` that this process has loaded from there; and what is wrong with the others."""
    kernels = kernels_of(tree)
    libraries, wrong = [], [] if kernels else [f"there is no kernel in {tree}"]
    for kernel in kernels:
        loaded = getattr(sys.modules.get(kernel), "__file__", None)
        if loaded is None:
            wrong.append(f"no test has loaded {kernel}")
        elif not Path(loaded).is_relative_to(tree):
            wrong.append(f"{kernel} was loaded from {loaded}")
        else:
            libraries.append(Path(loaded))
    return libraries, wrong


def objections(tree: Path) -> list[str]:
    """Why the kernels of `tree`, as this process has loaded them, are not under the sanitizers."""
    libraries, found = loaded_from(tree)
    for library in libraries:
        if missing := missing_marks(library):
            found.append(f"{library} does not refer to {', '.join(missing)}")
    if not hasattr(ctypes.CDLL(None), "__asan_init"):
        found.append("the runtime of AddressSanitizer is not in this process")
    return found


def pytest_collection_finish(session: pytest.Session) -> None:
    """The test modules are imported by now, and with them the kernels."""
    found = objections(Path(session.config.rootpath))
    if found:
        why = "the sanitizers would check nothing: " + "; ".join(found)
        # Of a process that runs tests for another, pytest only tells that it has ended.
        print(why, file=sys.stderr)
        pytest.exit(why, returncode=3)
