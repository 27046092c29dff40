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
    deployed = _read(Path(config_map or os.environ.get(CONFIG_MAP_VARIABLE) or CONFIG_MAP))
    if webservice == DEFAULT:
        webservice = os.environ.get("SERVICE_NAME") or DEFAULT
    if version == DEFAULT:
        versions = [str(known) for known in _part(_part(deployed, "modelsInfo"), model)]
        version = max(versions, key=_rank, default=DEFAULT)
    if workspace == NOWHERE:
        account = _part(deployed, "accountContext")
        workspace = _joined(account, "subscriptionId", "resourceGroupName", "accountName") or _of_config() or NOWHERE
    return Identity(workspace, webservice, model, version)


def _rank(version: str) -> tuple[bool, int, str]:
    return (True, int(version), "") if version.isdecimal() else (False, 0, version)


def _of_config() -> str | None:
    here = Path.cwd()
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
