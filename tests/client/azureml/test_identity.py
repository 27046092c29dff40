"""Which stream a script collects for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from collectord_client.azureml.identity import Identity, find, find_deployed

ACCOUNT = {"subscriptionId": "Sub", "resourceGroupName": "Group", "accountName": "Space"}
CONFIG = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}


def lay(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_where_nothing_is_known() -> None:
    assert find("m") == Identity("default/default/default", "default", "m", "default")


def test_arguments_come_before_everything_else(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_NAME", "of the environment")
    lay(deployment / "model_config_map.json", {"accountContext": ACCOUNT, "modelsInfo": {"m": {"2": {}}}})
    lay(deployment / "config.json", CONFIG)
    assert find("m", "a/b/c", "svc", "1") == Identity("a/b/c", "svc", "m", "1")
    assert find("m") == Identity("Sub/Group/Space", "of the environment", "m", "2")
    (deployment / "model_config_map.json").unlink()
    assert find("m") == Identity("s/g/w", "of the environment", "m", "default")


@pytest.mark.parametrize(
    ("given", "levels"),
    [("ws", "default/default/ws"), ("g/ws", "default/g/ws"), ("s//ws", "s/default/ws"), ("a/b/c/d", "a/b/c/d")],
)
def test_a_workspace_is_told_as_its_rows_have_it(deployment: Path, given: str, levels: str) -> None:
    """One of four parts is refused, as it was given."""
    assert find("m", given).workspace == levels


def test_a_current_folder_that_is_gone_has_no_config(deployment: Path) -> None:
    (deployment / "gone").mkdir()
    os.chdir(deployment / "gone")
    (deployment / "gone").rmdir()
    assert find("m").workspace == "default/default/default"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [(["1", "2", "10"], "10"), (["b", "a"], "b"), (["9", "beta"], "9"), ([], "default")],
)
def test_the_highest_version_counts_as_a_number(deployment: Path, versions: list[str], expected: str) -> None:
    lay(deployment / "model_config_map.json", {"modelsInfo": {"m": {version: {} for version in versions}}})
    assert find("m").version == expected


@pytest.mark.parametrize("place", [".azureml/config.json", "config.json", "aml_config/config.json", "../config.json"])
def test_the_workspaces_config_is_where_azure_ml_looks(
    deployment: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = deployment / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    lay(below / place, CONFIG)
    assert find("m").workspace == "s/g/w"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "[" * 100_000, {"subscription_id": "s"}, {**CONFIG, "workspace_name": "a/b"}, {**CONFIG, "resource_group": 5}]
)  # fmt: skip
def test_files_that_say_something_else_are_left_aside(deployment: Path, content: Any) -> None:
    lay(deployment / "config.json", content)
    lay(deployment / "model_config_map.json", content)
    assert find("m").workspace == "default/default/default"


def test_another_map_can_be_named(deployment: Path) -> None:
    lay(deployment / "other.json", {"modelsInfo": {"m": {"4": {}}}})
    assert find("m", config_map=str(deployment / "other.json")).version == "4"


def test_a_folder_in_place_of_a_file_is_left_aside(deployment: Path) -> None:
    (deployment / "config.json").mkdir()
    assert find("m").workspace == "default/default/default"


# ------------------------------------------------------------------ scripts that name no model


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/var/azureml-app/azureml-models/best_model/7", ("best_model", "7")),
        ("/var/azureml-app/azureml-models/best_model/7/model", ("best_model", "7")),
        ("./azureml-models/best_model/7/", ("best_model", "7")),
        # Of several models, all of them lie below it.
        ("/var/azureml-app/azureml-models", ("default", "default")),
        ("/var/azureml-app/azureml-models/best_model", ("default", "default")),
        ("/home/me/models/best_model/7", ("default", "default")),
        ("", ("default", "default")),
    ],
)
def test_a_deployments_folder_names_its_model(
    monkeypatch: pytest.MonkeyPatch, folder: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", folder)
    found = find_deployed()
    assert (found.model, found.version) == expected


def test_what_is_said_comes_before_what_is_found(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version belongs to the model it was found with."""
    lay(deployment / "model_config_map.json", {"accountContext": ACCOUNT, "modelsInfo": {"mine": {"2": {}}, "a": {}}})
    monkeypatch.setenv("SERVICE_NAME", "svc")
    assert find_deployed() == Identity("Sub/Group/Space", "svc", "default", "default")
    monkeypatch.setenv("AZUREML_MODEL_DIR", "/azureml-models/theirs/7")
    assert find_deployed() == Identity("Sub/Group/Space", "svc", "theirs", "7")
    monkeypatch.setenv("COLLECTORD_MODEL", "mine")
    assert find_deployed() == Identity("Sub/Group/Space", "svc", "mine", "2")
    monkeypatch.setenv("COLLECTORD_MODEL_VERSION", "3")
    assert find_deployed() == Identity("Sub/Group/Space", "svc", "mine", "3")


def test_the_only_model_of_a_map_is_it(deployment: Path) -> None:
    lay(deployment / "model_config_map.json", {"modelsInfo": {"mine": {"2": {}, "10": {}}}})
    assert find_deployed() == Identity("default/default/default", "default", "mine", "10")
