"""What the environment variables and the configuration file of the v2 SDK say to a collector."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...notices import once
from ..settings import set_aside

RESERVED = ("request", "response")
"""Collections that Azure ML fills itself, with the payloads of HTTP: they do not switch a script's collectors on."""
V1_SWITCH = "AML_MODEL_DC_STORAGE_ENABLED"
DAEMON = "the daemon"
NOT_ENABLED = "custom logging is not enabled, drop the data"

OF_THE_SIDECAR = {
    "AZUREML_MDC_HOST": "the daemon is found as COLLECTORD_ENDPOINT says",
    "AZUREML_MDC_PORT": "the daemon is found as COLLECTORD_ENDPOINT says",
    "AZUREML_MDC_FORMAT_COMPACT": "columns travel with their types",
}
"""Variables that somebody set on purpose, and that mean nothing here."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Read when a collector is made."""

    switch: str
    """What decides whether anything is collected: a variable, a file, or the daemon."""
    refusal: str
    """Why no collection is collected, in the v2 SDK's words; empty where they may be."""
    collections: Mapping[str, tuple[str, float]] | None
    """Of a configuration file, those that are enabled: the name in lower case, as it stands there, and its fraction."""
    fraction: float
    """Of the rows to keep, where no configuration file says so for each collection."""
    local: bool
    """Local mode: rows are printed, and nothing is sent."""
    debug: bool
    """What `collect` returns tells what became of the rows."""

    @property
    def wanted(self) -> bool | None:
        """True where the environment switches collecting on, None where it leaves that to the daemon."""
        return None if self.switch == DAEMON else True

    def of(self, name: str) -> Collection:
        """What they say of the collection `name`, however it is written."""
        if self.refusal:
            return Collection(name, 1.0, self.refusal)
        if self.collections is None:
            return Collection(name, self.fraction, "")
        found = self.collections.get(name.lower())
        if found is None:
            return Collection(name, 1.0, f"collection {name} is not enabled, drop the data")
        return Collection(*found, "")


@dataclass(frozen=True, slots=True)
class Collection:
    """What the settings say of one collection."""

    name: str
    """As the configuration writes it: rows are filed under it."""
    fraction: float
    """Of the rows to keep."""
    refusal: str
    """Why nothing is collected, in the v2 SDK's words; empty where it is."""


def read() -> Settings:
    """The settings in the environment. Never raises: what cannot be read is told, and collects nothing.

    A configuration file (AZUREML_MDC_CONFIG_PATH) says which collections there are. Without one, AZUREML_MDC_ENABLED
    switches all of them on (`true`) or off (anything else); where it is not set, the v1 SDK's variable does, and
    where that is not set either, the daemon decides.
    """
    set_aside(OF_THE_SIDECAR)
    debug, local = _flag("AZUREML_MDC_DEBUG"), _flag("AZUREML_MDC_LOCAL_CAPTURE")
    path = os.environ.get("AZUREML_MDC_CONFIG_PATH")
    if path:
        return _of_file(path, local, debug)
    for name in ("AZUREML_MDC_ENABLED", V1_SWITCH):
        given = os.environ.get(name, "").strip()
        if given:
            refusal = "" if given.lower() == "true" else NOT_ENABLED
            return Settings(f"{name}={given}", refusal, None, _sample_rate(), local, debug)
    return Settings(DAEMON, "", None, _sample_rate(), local, debug)


def _of_file(path: str, local: bool, debug: bool) -> Settings:
    switch = f"AZUREML_MDC_CONFIG_PATH={path}"
    try:
        found = json.loads(Path(path).read_bytes())
        if not isinstance(found, dict) or not isinstance(found.get("collections", {}), dict):
            raise ValueError("it is no object with collections")
    except (OSError, ValueError, RecursionError) as error:
        # It would have said what must not be collected.
        return Settings(switch, f"{path} cannot be read: {type(error).__name__}", None, 1.0, local, debug)
    collections = {}
    for name, what in found.get("collections", {}).items():
        if isinstance(what, dict) and _is_true(what.get("enabled", False)):
            fraction = _fraction(f"sampleRatePercentage of {name}", what.get("sampleRatePercentage", 100))
            collections[name.lower()] = (name, fraction)
    custom = collections.keys() - set(RESERVED)
    if len(custom) < len(collections):
        once(
            logging.WARNING, "reserved", "request and response in %s: the payloads of HTTP are not collected here", path
        )
    run_mode = str(found.get("runMode", "cloud")).lower()
    refusal = "" if custom else NOT_ENABLED
    return Settings(switch, refusal, collections, 1.0, local or run_mode == "local", debug)


def _sample_rate() -> float:
    name = "AZUREML_MDC_SAMPLE_RATE"
    return _fraction(name, os.environ.get(name, "").strip() or 100)


def _fraction(name: str, percentage: Any) -> float:
    """The part to keep of a percentage; all of it where that is no number from 0 to 100."""
    try:
        found = float(percentage) / 100
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found <= 1 or isinstance(percentage, bool):
        once(logging.WARNING, name, "%s is left aside: it is not a number from 0 to 100", name)
        return 1.0
    return found


def _flag(name: str) -> bool:
    return _is_true(os.environ.get(name, ""))


def _is_true(given: object) -> bool:
    """True for `true`, also as a text: deployments write both."""
    return given is True or (isinstance(given, str) and given.strip().lower() == "true")
