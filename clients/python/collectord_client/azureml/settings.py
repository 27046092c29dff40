"""What the environment variables of the v1 SDK say to a collector."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .. import budget, columns, failures, sampling
from ..notices import once

OUTBOX_BYTES = 32 << 20
LEAST_OUTBOX_BYTES = 64 << 10

OF_THE_CLIENT = (
    sampling.VARIABLE, columns.VARIABLE, columns.KEY_VARIABLE, columns.KEY_FILE_VARIABLE, budget.VARIABLE, failures.VARIABLE,
)  # fmt: skip
OF_THE_DAEMON = {
    "AML_MODEL_DC_STORAGE": "the daemon writes the blobs: give it the connection string",
    "AML_MODEL_DC_FILE_PATH_PREFIX": "the daemon writes the files: give it the directory as its store",
    "AML_MODEL_DC_EVENT_HUB_ENABLED": "there is no Event Hubs backend",
}
"""Variables that somebody set on purpose, and that mean nothing to a client."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Read when a collector is made."""

    collecting: bool | None
    """False: nothing is sent, whatever the daemon says. True: what is not switched off for the service is. None: as the
    daemon says."""
    printing: bool
    """Debug mode: rows are printed as CSV."""
    boundary: int
    """Minutes in a folder of blobs, as the correlations tell it."""
    outbox_bytes: int
    handling: tuple[str, ...]
    """What is said of sampling, columns, the latency budget and errors, as it stands there: a client reads it."""


def read() -> Settings:
    """The settings in the environment.

    AML_MODEL_DC_STORAGE_ENABLED switches collecting on (`true`; a switch of the service, if there is one, counts for more) or
    off (anything else). Where it is not set, the daemon decides; in debug mode nothing is collected then, only printed.
    """
    switch = os.environ.get("AML_MODEL_DC_STORAGE_ENABLED", "").strip().lower()
    printing = os.environ.get("AML_MODEL_DC_DEBUG", "").strip().lower() == "true"
    set_aside(OF_THE_DAEMON)
    return Settings(
        collecting=switch == "true" if switch else False if printing else None,
        printing=printing,
        boundary=60 if os.environ.get("AML_MODEL_DC_BOUNDARY", "").strip().lower() == "hour" else 1440,
        outbox_bytes=_bytes("AML_MODEL_DC_STORAGE_MAX_SINGLE_BUFFER_SIZE"),
        handling=tuple([os.environ.get(name, "") for name in OF_THE_CLIENT]),
    )


def set_aside(meaningless: Mapping[str, str]) -> None:
    """Tells of variables that are set and mean nothing here, and why."""
    for name, what in meaningless.items():
        if os.environ.get(name):
            once(logging.WARNING, name, "%s means nothing to collectord's client: %s", name, what)


def _bytes(name: str) -> int:
    given = os.environ.get(name, "").strip()
    if not given:
        return OUTBOX_BYTES
    if not given.isdecimal() or int(given) < LEAST_OUTBOX_BYTES:
        once(
            logging.WARNING, name, "%s is left aside: it is not a number of bytes from %d on", name, LEAST_OUTBOX_BYTES
        )
        return OUTBOX_BYTES
    return int(given)
