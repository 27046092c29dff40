"""An environment as an image for Azure ML has it: the newest inference server, our wheels, nothing of the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import folder, make_daemon

__all__ = ["folder", "make_daemon"]

PYTHON = Path(__file__).resolve().parents[2] / "build" / "azureml" / "bin" / "python"


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of that environment."""
    assert PYTHON.exists(), "`make test-azureml` makes the environment"
    return PYTHON
