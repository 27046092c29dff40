"""An environment as the images of web services have it: our wheels, web frameworks and model libraries from the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import folder, make_daemon

__all__ = ["folder", "make_daemon"]

PYTHON = Path(__file__).resolve().parents[2] / "build" / "hosts" / "bin" / "python"


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of that environment."""
    assert PYTHON.exists(), "`make test-hosts` makes the environment"
    return PYTHON
