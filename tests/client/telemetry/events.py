"""What a fake daemon has received of events."""

from __future__ import annotations

import json
from typing import Any

from collectord_client import Client

from tests.client.fakedaemon import FakeDaemon


def told(client: Client, daemon: FakeDaemon, table: str) -> list[dict[str, Any]]:
    """What has arrived of a table once the client has sent everything."""
    assert client.flush(20)
    return received(daemon, table)


def received(daemon: FakeDaemon, table: str) -> list[dict[str, Any]]:
    """The events of a table in the order of their ids, without what is null; the dimensions as the object that they are."""
    found = []
    for row in sorted((row for row in daemon.rows if row.designation == table), key=lambda row: row.correlation):
        event = {name: value for name, value in zip(row.names, row.values, strict=True) if value is not None}
        event["customDimensions"] = json.loads(event["customDimensions"], parse_constant=_refuse)
        event |= {"itemId": row.correlation, "time_ns": row.time_ns}
        found.append(event)
    return found


def own(event: dict[str, Any]) -> dict[str, Any]:
    """The dimensions that are not those of every event."""
    constants = ("Container Id", "Workspace Name", "Service Name")
    return {key: value for key, value in event["customDimensions"].items() if key not in constants}


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
