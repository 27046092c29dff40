"""Lines of JSON from Arrow record batches of telemetry events, one event to a line: docs/formats/telemetry-jsonl.md.

A `TelemetryPlan` is compiled once per schema: what is the same in every line is escaped once; what differs is written by the
kernel beside this file, without the GIL.

Promises: the same rows give the same bytes, however they are cut into batches. Every line is JSON, whatever the rows hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from collectord.encode._telemetry import LineWriter
from collectord.encode.fields import TIME, UUID
from collectord.encode.frame import ITEM
from collectord.kinds import DIMENSIONS, EVENTS
from collectord.model import ColumnType, FrameTag, Schema


class TelemetryPlan:
    """How events of one schema become lines. Immutable; threads share it. The batches are those of `CsvPlan`."""

    header = b""
    """There is none: each line names its fields."""

    def __init__(self, schema: Schema) -> None:
        """Compiles the plan of a schema that `schema.parse_schema` takes for one of events. Raises KeyError for rows."""
        ops = [int(column.type) for column in schema.columns]
        id_at = len(ops)
        ops += [UUID, TIME]
        ops.append(int(ColumnType.UINT32))
        cells = [
            (b"," + _json(column.name) + b":", at, column.name == DIMENSIONS and column.type is ColumnType.STRING)
            for at, column in enumerate(schema.columns)
        ]
        if schema.sampled:
            cells.insert(0, (b',"samplingRate":', len(ops), False))
            ops.append(int(ColumnType.FLOAT64))
        self._writer = LineWriter(ops, list(_pieces(schema)), id_at, id_at + 1, cells)

    def encode(self, batch: pa.RecordBatch, tag: FrameTag, most: int | None = None) -> bytes:
        """The rows of `batch` as lines, whatever their frame's `tag`; with `most`, not all of them if they need more bytes:
        then the text has more too, and must not be used.

        Arrow's own checks (buffer lengths) run first and everything that could lead out of a buffer is checked in the
        kernel; text is taken as the UTF-8 it claims to be. Raises ValueError if the batch does not have the plan's
        fields or is malformed (`pyarrow.ArrowInvalid` is one), MemoryError where there is not enough.
        """
        batch.validate()
        return self._writer.encode(batch, most)


def _json(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _pieces(schema: Schema) -> Iterator[bytes]:
    """What stands in a line before the id, before the time and behind it."""
    stream = schema.stream
    yield ITEM
    yield b'","itemType":%b,"timestamp":"' % _json(EVENTS[stream.kind].item_type)
    named = (
        ("cloud_RoleName", stream.webservice), ("workspace", stream.workspace), ("model", stream.model),
        ("modelVersion", stream.version),
    )  # fmt: skip
    yield b'Z"' + b"".join(b',"%b":%b' % (name.encode(), _json(text or "default")) for name, text in named)
