"""Two days of inputs and predictions as they land in a directory, made by the real encode room."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectord.buffer.assemble import Rows
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import FrameEncoder
from collectord.encode.telemetry import TelemetryPlan
from collectord.model import Column, ColumnType, FrameIds, FrameTag, IdLayout, Partition, Schema, Stream, StreamKind
from collectord.upload.naming import Layout
from tests.sent_events import batch_of, schema_of

STORE = Path("collectord-data/store")
MODEL = STORE / "sub/group/workspace/aks-w-collv9/best_model/10"
MARCH = 1_519_862_400_000_000_000
"""2018-03-01T00:00:00Z in nanoseconds."""
OPERATION = "12345678901234567890123456789012"
"""Looks like a number, and is none."""
DAY = 86_400_000_000_000
TEXTS = ["plain", "", None, 'a "quoted" word', "comma, comma", "two\nlines", 'three\n\nlines, "quoted"\n', "é漢😀"]
REQUESTS = 24
ROWS_PER_REQUEST = 2
INDEXES = (FrameIds(IdLayout.TEXT, 1, 0, b"\x5a" * 16_384), FrameIds(IdLayout.UUID, 0, 1, b""))
"""The largest and the smallest; no reader of CSV looks into them."""


@dataclass(frozen=True)
class Row:
    """What was collected for one row."""

    id: str
    row: int
    feat1: float
    feat2: int
    comment: str | None
    prediction: float


def day_rows(day: int) -> list[Row]:
    """The rows of one day, unlike those of every other."""
    rows = []
    for number in range(REQUESTS):
        id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{day}/{number}"))
        for row in range(ROWS_PER_REQUEST):
            at = number * ROWS_PER_REQUEST + row + day
            rows.append(Row(id, row, at / 7, at * 1000, TEXTS[at % len(TEXTS)], at / 3))
    return rows


def expected() -> list[Row]:
    """All rows of the month."""
    return [*day_rows(0), *day_rows(1)]


def write(folder: Path, codec: str) -> None:
    """Writes March 1st and 2nd under `folder`: a header frame and several data frames in each blob."""
    encoder, out = FrameEncoder(codec), TextBuffer()
    layout = Layout("documented", suffix=encoder.suffix)
    _write_telemetry(folder)
    floating, whole, text = ColumnType.FLOAT64, ColumnType.INT64, ColumnType.STRING
    kinds: dict[str, list[tuple[str, ColumnType]]] = {
        "inputs": [("feat1", floating), ("feat2", whole), ("comment", text)],
        "predictions": [("prediction", floating)],
    }
    for designation, columns in kinds.items():
        schema = Schema(
            bytes(16),
            b"",
            Stream("sub", "group", "workspace", "aks-w-collv9", "best_model", "10", designation),
            tuple(Column(*column) for column in columns),
            False,
            IdLayout.UUID,
            IdLayout.NONE,
            False,
        )
        plan = CsvPlan(schema, 1440)
        for day in range(2):
            start = MARCH + day * DAY
            path = folder / STORE / layout.base(schema.stream, Partition.of(schema.id, start, 1440))
            path.parent.mkdir(parents=True)
            rows = day_rows(day)
            batch = _batch([[getattr(row, name) for row in rows] for name, _ in columns], rows, start)
            frames = [encoder.header_frame(plan.header)]
            for at in range(0, len(rows), 10):
                stop = min(at + 10, len(rows))
                text, tag = plan.encode(batch, out, at, stop), FrameTag(bytes(16), at, stop - at)
                frames.append(encoder.data_frame(text, tag, INDEXES[at // 10 % 2]))
            path.write_bytes(b"".join(frames))


def _write_telemetry(folder: Path) -> None:
    """Traces and requests of one hour."""
    dimensions = [
        '{"Contents": {"input": [1]}, "Request Id": "r1"}',
        "an input, no object",
        '{"other": {"x": "1"}}',
        None,
    ]
    wanted: dict[StreamKind, list[dict[str, Any]]] = {
        StreamKind.TRACE: [{"message": "STDOUT", "customDimensions": one} for one in dimensions],
        StreamKind.REQUEST: [
            {"operation_Id": OPERATION, "name": "POST /score", "duration": 10 * at + 0.5, "resultCode": "200"}
            for at in range(5)
        ],
    }
    for kind, events in wanted.items():
        schema = schema_of(kind, workspace="workspace", model="best")
        times = [MARCH + 1000 * at for at in range(len(events))]
        ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind}/{at}")) for at in range(len(events))]
        sent = batch_of(schema, events, ids=ids, times=times).SerializeToString()
        batch = Rows(schema, [(memoryview(sent), 0, len(events))]).batch()
        path = (
            folder / STORE / Layout(suffix="", writer="0" * 32).base(schema.stream, Partition.of(schema.id, MARCH, 60))
        )
        path.parent.mkdir(parents=True)
        path.write_bytes(TelemetryPlan(schema).encode(batch, FrameTag(bytes(16), 1, len(events))))


def _batch(columns: list[list[Any]], rows: list[Row], start: int) -> pa.RecordBatch:
    arrays = [
        *(pa.array(column) for column in columns),
        pa.array([uuid.UUID(row.id).bytes for row in rows], pa.binary(16)),
        pa.array([start + 1_000_000 * number for number in range(len(rows))], pa.timestamp("ns")),
        pa.array([row.row for row in rows], pa.uint32()),
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{number}" for number in range(len(arrays))])
