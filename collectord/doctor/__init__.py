"""`collectord doctor`: walks the chain from a client to the store and says of each link whether it holds, and what to do.

It needs no running daemon. It changes little: a file that comes and goes in the spool, a line in a control blob of its
own under `_collectord/doctor/`, and a container of Azure that is absent is made, as the daemon would. No secret is printed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectord import config, memory
from collectord.destination import open_store, recall_disk
from collectord.doctor import far, near, places
from collectord.doctor.link import Link
from collectord.errors import ConfigError
from collectord.memory import Memory

__all__ = ["Link", "Surroundings", "examine"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the doctor asks the machine, so that a test can answer in its stead."""

    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    now: Callable[[], float] = time.time
    measure: Callable[[], Memory] = memory.look
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    client_sockets: tuple[str, ...] = near.CLIENT_SOCKETS


def examine(
    config_file: Path | None, given: Mapping[str, object], around: Surroundings | None = None, outside: bool = False
) -> Iterator[Link]:
    """The links in their order, each as soon as it is known. Raises nothing that a link could say instead.

    `outside`: only what holds where a client stands, which sees neither the daemon's spool nor its certificate.
    """
    around = around or Surroundings()
    try:
        settings = config.load(config_file, given)
    except ConfigError as error:
        yield Link("settings", False, str(error), "mend it; `collectord config` checks without starting")
        yield near.client(around.environment, around.client_sockets, None)
        return
    strange = config.unknown_environment()
    note = f"; no settings, though they look so: {', '.join(strange)}" if strange else ""
    yield Link("settings", True, f"store {settings.store}, spool {settings.spool}{note}")
    status: dict[str, Any] | None = None
    if not outside:
        link, status = places.daemon(settings)
        yield link
        for address in settings.listen:
            yield places.listener(address, settings, alone=status is None)
        yield from places.guards(settings)
        if settings.mdc is not None:
            yield places.mdc(settings.mdc, settings.tls_cert is not None)
        if settings.admin is not None:
            yield places.admin(settings.admin, settings.admin_tls, alive=status is not None)
        yield places.spool(settings)
        yield places.disk(settings, around.free, status)
        yield places.memory(settings, around.measure(), status)
        yield places.log_and_ledger(settings, alive=status is not None)
    try:
        store = open_store(settings)
    except ConfigError as error:
        yield Link("store", False, str(error), "mend the setting")
        yield Link("switches", None, "they are in the store")
    else:
        if not outside:
            recall_disk(store, settings)
        with contextlib.closing(store):
            yield far.clock(settings, store, around.now)
            yield from far.store_links(settings, store, str(status["writer"]) if status else "")
            yield far.switches(settings, store)
    if not outside:
        yield places.troubles(status)
    yield from far.events(settings, status)
    yield near.client(around.environment, around.client_sockets, settings)
