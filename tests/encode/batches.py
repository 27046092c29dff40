"""Schemas and record batches for tests, in the layout that the buffers hand to the encoder."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from collectord.model import Column, ColumnType, IdLayout, Schema, Stream

ARROW: dict[ColumnType, pa.DataType] = {
    ColumnType.BOOL: pa.uint8(),
    ColumnType.INT8: pa.int8(),
    ColumnType.INT16: pa.int16(),
    ColumnType.INT32: pa.int32(),
    ColumnType.INT64: pa.int64(),
    ColumnType.UINT8: pa.uint8(),
    ColumnType.UINT16: pa.uint16(),
    ColumnType.UINT32: pa.uint32(),
    ColumnType.UINT64: pa.uint64(),
    ColumnType.FLOAT16: pa.float16(),
    ColumnType.FLOAT32: pa.float32(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.STRING: pa.utf8(),
    ColumnType.TIMESTAMP: pa.timestamp("ns"),
    ColumnType.TIMESTAMP_UTC: pa.timestamp("ns", "UTC"),
}
STREAM = Stream("sub", "rg", "Ws", "svc", "model", "10", "inputs", "")
NOON = 1_546_300_799_123_456_789
"""2018-12-31T23:59:59.123456789."""


def schema(
    *kinds: ColumnType,
    names: Sequence[str] | None = None,
    tensor: bool = False,
    correlation: IdLayout = IdLayout.UUID,
    request: IdLayout = IdLayout.NONE,
    sampled: bool = False,
    stream: Stream = STREAM,
) -> Schema:
    columns = tuple(Column(names[i] if names else f"feat{i + 1}", kind) for i, kind in enumerate(kinds))
    return Schema(bytes(16), b"", stream, columns, tensor, correlation, request, sampled)


def ids(layout: IdLayout, count: int) -> pa.Array[Any]:
    if layout is IdLayout.UUID:
        return pa.array([uuid.uuid5(uuid.NAMESPACE_URL, str(i)).bytes for i in range(count)], pa.binary(16))
    return pa.array([f"request {i}" for i in range(count)], pa.utf8())


def tail(plan: Schema, count: int) -> list[pa.Array[Any]]:
    """The columns behind the user's: ids, times, rows."""
    arrays = [ids(plan.correlation, count), pa.array(NOON + 1000 * np.arange(count), pa.timestamp("ns"))]
    if plan.request is not IdLayout.NONE:
        arrays.append(ids(plan.request, count))
    arrays.append(pa.array(np.arange(count) % 3, pa.uint32()))
    if plan.sampled:
        arrays.append(pa.array(np.full(count, 0.25)))
    return arrays


def batch_of(arrays: Sequence[pa.Array[Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(arrays), names=[f"c{i}" for i in range(len(arrays))])


def columns(plan: Schema, values: Sequence[Sequence[Any] | np.ndarray[Any, Any]]) -> pa.RecordBatch:
    """One sequence of values (None: null) per column of the schema."""
    arrays = [pa.array(column, ARROW[c.type]) for c, column in zip(plan.columns, values, strict=True)]
    return batch_of([*arrays, *tail(plan, len(arrays[0]))])


def tensor(plan: Schema, values: np.ndarray[Any, Any]) -> pa.RecordBatch:
    """Row-major values as one fixed-size list column."""
    width = len(plan.columns)
    assert values.size % width == 0
    flat = pa.array(values.reshape(-1)).cast(ARROW[plan.columns[0].type])
    lists = pa.FixedSizeListArray.from_arrays(flat, width)
    return batch_of([lists, *tail(plan, len(lists))])
