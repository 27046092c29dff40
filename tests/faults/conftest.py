"""Daemons that run behind the shim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import folder, make_daemon
from tests.faults.shim import Shim

__all__ = ["folder", "make_daemon", "shim"]


@pytest.fixture
def shim(folder: Path) -> Iterator[Shim]:
    """No fault is armed."""
    made = Shim(folder / "shim")
    yield made
    made.close()
