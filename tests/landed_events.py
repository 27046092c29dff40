"""Events as they lie in the store: lines of JSON, made by hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collectord.logline import iso


def item(message: str, time_ns: int, *, id_: str = "", kind: str = "trace", **columns: Any) -> dict[str, Any]:
    """An event as a line of the store."""
    return {
        "itemId": id_ or str(uuid.uuid4()), "itemType": kind, "timestamp": iso(time_ns), "cloud_RoleName": "svc",
        "message": message, **columns,
    }  # fmt: skip


def folder(time_ns: int, table: str = "traces", webservice: str = "svc", model: str = "m") -> str:
    """Where the events of an hour lie, with a slash behind."""
    hour = iso(time_ns)[:13].replace("-", "/").replace("T", "/")
    return f"_collectord/telemetry/{table}/default/default/default/{webservice}/{model}/1/{hour}/"


def land(store: Path, name: str, items: Sequence[Mapping[str, Any] | bytes]) -> None:
    """Adds lines to a blob of a directory store."""
    blob = store / name
    blob.parent.mkdir(parents=True, exist_ok=True)
    with blob.open("ab") as file:
        for one in items:
            file.write(one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() + b"\n")
