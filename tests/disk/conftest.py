"""File systems of their own, small enough to be filled. Needs root; `make test-disk` says so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import folder, make_daemon

__all__ = ["folder", "make_daemon", "small_disk"]


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Callable[[str, int], Path]]:
    """Mounts a tmpfs of so many MiB at a name in the test's folder."""
    mounted: list[Path] = []

    def mount(name: str, mib: int) -> Path:
        path = folder / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", str(path)], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)
