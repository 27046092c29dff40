"""Collectors as a scoring script makes them, in front of a fake daemon."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from collectord_client import Client
from collectord_client.azureml import ModelDataCollector
from collectord_client.azureml import collector as module
from collectord_client.azureml.identity import CONFIG_MAP_VARIABLE

from tests.client.fakedaemon import FakeDaemon, Row

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "clients" / "azureml"))

Make = Callable[..., ModelDataCollector]
Landed = Callable[[str], list[Row]]


@pytest.fixture(autouse=True)
def deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to run in, with none of the variables that a deployment has."""
    for name in ("AML_MODEL_DC_STORAGE_ENABLED", "AML_MODEL_DC_DEBUG", "AML_MODEL_DC_BOUNDARY", "SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(CONFIG_MAP_VARIABLE, str(tmp_path / "model_config_map.json"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes collectors of the model `best_model` that send to `daemon`."""
    monkeypatch.setattr(module, "Client", partial(Client, endpoint=daemon.endpoint, linger=0.05))
    monkeypatch.setattr(module, "_clients", {})

    def build(designation: str = "inputs", names: Any = None, model: str = "best_model", **options: Any) -> Any:
        return ModelDataCollector(model, designation, names, **options)

    yield build
    for client in module._clients.values():
        client.close(0.2)


@pytest.fixture
def landed(daemon: FakeDaemon) -> Landed:
    """What has arrived of a designation, once everything collected so far has."""

    def rows(designation: str) -> list[Row]:
        for client in module._clients.values():
            assert client.flush(10)
        return [row for row in daemon.rows if row.designation == designation]

    return rows


def keys(rows: list[Row]) -> list[tuple[str, int, int]]:
    """What joins rows: correlation id, row and time."""
    return [(row.correlation, row.row, row.time_ns) for row in rows]
