"""Events as clients send them, and as they lie in the store, made by hand."""

from __future__ import annotations

import json
import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collectord._pb import collector_pb2 as pb
from collectord.kinds import EVENTS
from collectord.logline import iso
from collectord.model import ColumnType, StreamKind
from collectord.schema import schema_id

HOUR_NS = 3_600_000_000_000
_FORMATS = {ColumnType.FLOAT64: "d", ColumnType.INT64: "q", ColumnType.BOOL: "?"}


def schema(kind: StreamKind = StreamKind.TRACE, webservice: str = "svc", model: str = "m") -> bytes:
    """The serialized schema of a service's events of a kind."""
    of = EVENTS[kind]
    return pb.Schema(
        stream=pb.Stream(kind=int(kind), webservice=webservice, model=model, version="1", designation=of.table),
        columns=[pb.Column(name=column.name, type=int(column.type)) for column in of.columns],
        layout=pb.LAYOUT_COLUMNS,
        correlation=pb.ID_LAYOUT_UUID,
    ).SerializeToString()


def batch(
    sequence: int, events: Sequence[Mapping[str, Any]], kind: StreamKind = StreamKind.TRACE, *, webservice: str = "svc",
    model: str = "m", time_ns: int = 0,
) -> pb.Batch:  # fmt: skip
    """Events of a kind, by column; a key `id` is the event's own, `time` its nanoseconds."""
    rows = len(events)
    at = time_ns or time.time_ns()
    columns = []
    for column in EVENTS[kind].columns:
        values = [event.get(column.name) for event in events]
        present = sum(1 << row for row, value in enumerate(values) if value is not None)
        validity = b"" if present == (1 << rows) - 1 else present.to_bytes((rows + 7) // 8, "little")
        if column.type is ColumnType.STRING:
            texts = [str(value).encode() if value is not None else b"" for value in values]
            ends = [sum(map(len, texts[:row])) for row in range(rows + 1)]
            columns.append(
                pb.ColumnData(validity=validity, offsets=struct.pack(f"<{rows + 1}i", *ends), data=b"".join(texts))
            )
        else:
            filled = [0 if value is None else value for value in values]
            columns.append(
                pb.ColumnData(validity=validity, data=struct.pack(f"<{rows}{_FORMATS[column.type]}", *filled))
            )
    return pb.Batch(
        sequence=sequence,
        schema_id=schema_id(schema(kind, webservice, model)),
        rows=rows,
        requests=pb.Requests(
            times=struct.pack(f"<{rows}q", *(event.get("time", at + row * 1000) for row, event in enumerate(events))),
            correlation_ids=b"".join(uuid.UUID(event["id"]).bytes if "id" in event else uuid.uuid4().bytes for event in events),
        ),
        columns=columns,
    )  # fmt: skip


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
