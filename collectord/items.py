"""Events of a few batches as items, one by one: for whoever shows what waits. What lands is written by `encode/`, whole batches at a time."""

from __future__ import annotations

import json
import struct
import uuid
from array import array
from collections.abc import Iterator
from typing import Any

from collectord._pb import collector_pb2 as pb
from collectord.batch import WIDTHS
from collectord.kinds import DIMENSIONS, EVENTS
from collectord.logline import iso
from collectord.model import Buffer, ColumnType, IdLayout, Schema

_FORMATS = {
    ColumnType.BOOL: "?", ColumnType.INT8: "b", ColumnType.INT16: "h", ColumnType.INT32: "i", ColumnType.INT64: "q",
    ColumnType.UINT8: "B", ColumnType.UINT16: "H", ColumnType.UINT32: "I", ColumnType.UINT64: "Q", ColumnType.FLOAT16: "e",
    ColumnType.FLOAT32: "f", ColumnType.FLOAT64: "d", ColumnType.TIMESTAMP: "q", ColumnType.TIMESTAMP_UTC: "q",
}  # fmt: skip


def items(schema: Schema, payload: Buffer) -> Iterator[dict[str, Any]]:
    """The events of a serialized `Batch` that passed `batch.check`, each as a line under `_collectord/telemetry/` has it."""
    batch = pb.Batch.FromString(bytes(payload))
    stream = schema.stream
    fixed = {
        "itemType": EVENTS[stream.kind].item_type,
        "cloud_RoleName": stream.webservice or "default",
        "workspace": stream.workspace or "default",
        "model": stream.model or "default",
        "modelVersion": stream.version or "default",
    }
    columns = [
        _values(data, column.type, batch.rows) for column, data in zip(schema.columns, batch.columns, strict=True)
    ]
    names = [column.name for column in schema.columns]
    for row, (id_, time_ns) in enumerate(_requests(schema, batch)):
        item: dict[str, Any] = {"itemId": id_, "timestamp": iso(time_ns), **fixed}
        for name, column in zip(names, columns, strict=True):
            if (value := column[row]) is not None:
                item[name] = _nested(value) if name == DIMENSIONS else value
        yield item


def _requests(schema: Schema, batch: pb.Batch) -> Iterator[tuple[str, int]]:
    """Id and time of each row. A schema of events has a uuid per request, and a request one row."""
    requests = batch.requests
    times = array("q", requests.times)
    counts = array("I", requests.row_counts) if requests.row_counts else array("I", [1]) * len(times)
    for at, (time_ns, rows) in enumerate(zip(times, counts, strict=True)):
        id_ = ""
        if schema.correlation is IdLayout.UUID:
            id_ = str(uuid.UUID(bytes=requests.correlation_ids[16 * at : 16 * at + 16]))
        for _ in range(rows):
            yield id_, time_ns


def _values(data: pb.ColumnData, kind: ColumnType, rows: int) -> list[Any]:
    if WIDTHS[kind]:
        values = list(struct.unpack(f"<{rows}{_FORMATS[kind]}", data.data))
        if kind in (ColumnType.TIMESTAMP, ColumnType.TIMESTAMP_UTC):
            values = [iso(value) for value in values]
    else:
        ends = array("i", data.offsets)
        values = [data.data[ends[row] : ends[row + 1]].decode(errors="replace") for row in range(rows)]
    if data.validity:
        present = int.from_bytes(data.validity, "little")
        values = [value if present >> row & 1 else None for row, value in enumerate(values)]
    # What JSON has no number for is left out.
    return [None if isinstance(value, float) and value - value != 0 else value for value in values]


def _nested(text: Any) -> Any:
    """The object that a text is; the text, if it is none."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return text
