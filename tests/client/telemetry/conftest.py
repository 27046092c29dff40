"""A client whose host wants telemetry, and a process that is as it was."""

from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from collectord_client import Client, request
from collectord_client.telemetry import audience


@pytest.fixture
def client(make: Any) -> Client:
    """Strict: what it refuses is raised."""
    return make(  # type: ignore[no-any-return]
        webservice="svc", workspace="s/r/w", telemetry=True, strict=True
    )


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody listens when a test begins, and nothing is hooked when its clients are closed."""
    monkeypatch.setattr(request, "_listener", None)
    monkeypatch.delenv("AML_APP_INSIGHTS_ENABLED", raising=False)
    monkeypatch.setenv("HOSTNAME", "pod-1")
    before = builtins.print, logging.Logger.callHandlers, list(sys.meta_path)
    yield
    for every in (audience.prints, audience.logs, audience.requests):
        for one in every.clients:
            one.close(0)  # type: ignore[attr-defined]
        assert every.clients == ()
    assert (builtins.print, logging.Logger.callHandlers) == before[:2]
    sys.meta_path[:] = before[2]
