"""What is switched on for which service, for whoever operates them: the command line, and Azure ML's `Webservice`.

A daemon on this machine is asked, and follows at once; where none answers, the document in the store is read and written.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from collectord.control.client import ControlClient, listens
from collectord.destination import demand, open_store
from collectord.errors import CallHuman
from collectord.settings import Settings
from collectord.switchboard import change, read
from collectord.switches import Patch
from collectord.upload.documents import DocumentStore


def show(settings: Settings) -> dict[str, Any]:
    """What is said of all services, as JSON values; docs/switches.md describes the fields.

    Raises:
        CallHuman: the document makes no sense, nobody has named a store, it is not there, or it refuses.
        TryAgain: nobody answered.
    """
    if listens(settings.admin_socket):
        with ControlClient(settings.admin_socket) as control:
            return control.switches()
    with closing(_store(settings)) as store:
        demand(store)
        switches = read(store)
    return {"version": switches.version, "services": dict(switches.raw.get("services", {}))}


def update(settings: Settings, webservice: str, patch: Patch, *, here: bool = False) -> dict[str, Any]:
    """Changes what is said of one service, for all nodes or only `here`. Returns what `show` does. Raises likewise."""
    if listens(settings.admin_socket):
        with ControlClient(settings.admin_socket) as control:
            return control.switch(webservice, patch, here)
    if here:
        raise CallHuman(f"only a daemon can be told so, and none answers at {settings.admin_socket}; name its spool")
    with closing(_store(settings)) as store:
        switches, _ = change(store, webservice, patch)
    return {"version": switches.version, "services": dict(switches.raw["services"])}


def _store(settings: Settings) -> DocumentStore:
    # By default it is a directory below the present one: to make one there would be a switch that nobody follows.
    if "store" not in settings.model_fields_set and not Path(settings.store).is_dir():
        raise CallHuman(
            f"no daemon answers at {settings.admin_socket}, and no store is named; set COLLECTORD_STORE, or COLLECTORD_SPOOL "
            "where a daemon runs"
        )
    return open_store(settings)
