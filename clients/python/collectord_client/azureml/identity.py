"""Which service, model and workspace a script runs for: from its arguments, the environment, and the files that a
deployment of Azure ML lays down."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..notices import say

CONFIG_MAP = "/var/azureml-app/model_config_map.json"
CONFIG_MAP_VARIABLE = "COLLECTORD_MODEL_CONFIG_MAP"
"""Names another file in its place."""
WORKSPACE_CONFIGS = (".azureml/config.json", "config.json", "aml_config/config.json")
"""Where Azure ML's own SDK looks for a workspace: in the current folder, then in those above it."""
MODELS = "azureml-models"
"""Azure ML lays a deployment's model down in this folder: AZUREML_MODEL_DIR is `…/azureml-models/NAME/VERSION`."""
DEFAULT = "default"
NOWHERE = "default/default/default"


@dataclass(frozen=True, slots=True)
class Identity:
    """The levels of a blob's path, above the designation. `default` where nothing is known."""

    workspace: str
    """`subscription/resource_group/workspace`"""
    webservice: str
    model: str
    version: str

    def levels(self) -> tuple[str, str, str, str]:
        """The first arguments of a `Client`, for which a level that is not known is empty."""
        workspace = "/".join(map(_level, self.workspace.split("/")))
        return _level(self.model), _level(self.version), _level(self.webservice), workspace


def find(
    model: str,
    workspace: str = NOWHERE,
    webservice: str = DEFAULT,
    version: str = DEFAULT,
    config_map: str | None = None,
) -> Identity:
    """What was given, else the environment, else the deployment's model_config_map.json, else the workspace's config.json.

    Of several versions in the map, the highest. A file that cannot be read or says something else is told once and left
    aside.
    """
    deployed = _read(_config_map(config_map))
    if webservice == DEFAULT:
        webservice = os.environ.get("SERVICE_NAME") or DEFAULT
    if version == DEFAULT:
        versions = [str(known) for known in _part(_part(deployed, "modelsInfo"), model)]
        version = max(versions, key=_rank, default=DEFAULT)
    if workspace == NOWHERE:
        account = _part(deployed, "accountContext")
        workspace = _joined(account, "subscriptionId", "resourceGroupName", "accountName") or _of_config() or NOWHERE
    levels = [level or DEFAULT for level in workspace.split("/")]
    if len(levels) <= 3:
        # As the rows will have it.
        workspace = "/".join([*NOWHERE.split("/")[len(levels) :], *levels])
    return Identity(workspace, webservice, model, version)


def find_deployed() -> Identity:
    """The same for a script that names no model, as those of the v2 SDK.

    The model is that of COLLECTORD_MODEL, else of AZUREML_MODEL_DIR, else the only one in the deployment's
    model_config_map.json. Its version that of COLLECTORD_MODEL_VERSION, else of the same place as the model's name.
    """
    name, version = _of_model_dir()
    model = os.environ.get("COLLECTORD_MODEL") or name
    if not model:
        known = list(_part(_read(_config_map()), "modelsInfo"))
        model = known[0] if len(known) == 1 else DEFAULT
    named = os.environ.get("COLLECTORD_MODEL_VERSION") or (version if model == name else "")
    return find(model, version=named or DEFAULT)


def _level(level: str) -> str:
    return "" if level == DEFAULT else level


def _of_model_dir() -> tuple[str, str]:
    """The name and version of the deployment's model; empty where the folder does not tell, as with several models."""
    parts = Path(os.environ.get("AZUREML_MODEL_DIR", "")).parts
    if MODELS not in parts:
        return "", ""
    levels = parts[parts.index(MODELS) + 1 :]
    return (levels[0], levels[1]) if len(levels) >= 2 else ("", "")


def _config_map(given: str | None = None) -> Path:
    return Path(given or os.environ.get(CONFIG_MAP_VARIABLE) or CONFIG_MAP)


def _rank(version: str) -> tuple[bool, int, str]:
    return (True, int(version), "") if version.isdecimal() else (False, 0, version)


def _of_config() -> str | None:
    try:
        here = Path.cwd()
    except OSError:
        # Somebody has removed it.
        return None
    for folder in (here, *here.parents):
        for name in WORKSPACE_CONFIGS:
            found = _joined(_read(folder / name), "subscription_id", "resource_group", "workspace_name")
            if found is not None:
                return found
    return None


def _joined(table: Mapping[str, Any], *names: str) -> str | None:
    """`a/b/c`; None where one is missing. A slash in one of them would make it two."""
    levels = [table.get(name) for name in names]
    if not all(isinstance(level, str) and level and "/" not in level for level in levels):
        return None
    return "/".join(map(str, levels))


def _part(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, dict) else {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        say(logging.WARNING, f"read {path}", "%s is left aside: %s", path, type(error).__name__)
        return {}
    return found if isinstance(found, dict) else {}
