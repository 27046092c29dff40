"""Collectors as a scoring script makes them, in front of a fake daemon."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from collectord_client import Client
from collectord_client.azureml import Collector, ModelDataCollector
from collectord_client.azureml import collector as module
from collectord_client.azureml.clients import Clients
from collectord_client.azureml.identity import CONFIG_MAP_VARIABLE
from collectord_client.azureml.v2 import collector as v2

from tests.client.fakedaemon import FakeDaemon, Row

for distribution in ("azureml", "azureml-ai"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "clients" / distribution))

Make = Callable[..., ModelDataCollector]
MakeV2 = Callable[..., Collector]
Landed = Callable[[str], list[Row]]


@pytest.fixture(autouse=True)
def deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to run in, with none of the variables that a deployment has."""
    for name in os.environ:
        if name.startswith(("AML_MODEL_DC_", "AZUREML_", "COLLECTORD_", "SERVICE_NAME")):
            monkeypatch.delenv(name)
    monkeypatch.setenv(CONFIG_MAP_VARIABLE, str(tmp_path / "model_config_map.json"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes collectors of the model `best_model` that send to `daemon`."""
    monkeypatch.setattr(module, "_clients", Clients(partial(Client, endpoint=daemon.endpoint, linger=0.05)))

    def build(designation: str = "inputs", names: Any = None, model: str = "best_model", **options: Any) -> Any:
        return ModelDataCollector(model, designation, names, **options)

    yield build
    for client in module._clients.values():
        client.close(0.2)


@pytest.fixture
def make_v2(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeV2]:
    """Makes collectors of the v2 SDK that send to `daemon`."""
    monkeypatch.setattr(v2, "_clients", Clients(partial(v2.Telling, endpoint=daemon.endpoint, linger=0.05)))
    yield lambda name="model_inputs", **options: Collector(name=name, **options)
    for client in v2._clients.values():
        client.close(0.2)


@pytest.fixture
def configure(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes a configuration file of the v2 SDK: collections, each True, False or its percentage."""

    def write(run_mode: str = "cloud", **collections: Any) -> None:
        said = {
            name: {"enabled": what is not False} | ({} if isinstance(what, bool) else {"sampleRatePercentage": what})
            for name, what in collections.items()
        }
        (deployment / "mdc.json").write_text(json.dumps({"runMode": run_mode, "collections": said}))
        monkeypatch.setenv("AZUREML_MDC_CONFIG_PATH", str(deployment / "mdc.json"))

    return write


@pytest.fixture
def landed(daemon: FakeDaemon) -> Landed:
    """What has arrived of a designation, once everything collected so far has."""

    def rows(designation: str) -> list[Row]:
        for client in (*module._clients.values(), *v2._clients.values()):
            assert client.flush(10)
        return [row for row in daemon.rows if row.designation == designation]

    return rows


def keys(rows: list[Row]) -> list[tuple[str, int, int]]:
    """What joins rows: correlation id, row and time."""
    return [(row.correlation, row.row, row.time_ns) for row in rows]
