"""Services that several rooms test against."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from collectord.errors import CallHuman
from collectord.testing.azurite import Azurite, running
from tests.environment import settings_around

__all__ = ["Azurite", "azurite", "new_container"]

ROOT = Path(__file__).resolve().parent.parent


# How fast the machine is at the moment is nothing that a test may fail for.
settings.register_profile("collectord", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("collectord")


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azurite for the whole session, in memory; tests keep apart by using containers of their own."""
    try:
        service = running(ROOT)
        found = service.__enter__()
    except CallHuman as error:
        pytest.fail(f"{error} (`make test` does it)", pytrace=False)
    try:
        yield found
    finally:
        service.__exit__(None, None, None)


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine."""
    for name in settings_around():
        monkeypatch.delenv(name)


@pytest.fixture
def new_container() -> Callable[[], str]:
    """Names for containers that no other test uses."""
    return lambda: f"c{uuid.uuid4().hex}"
