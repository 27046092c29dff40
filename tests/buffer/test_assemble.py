"""Rows of the log become one record batch: equal to what a plain reading of the same values gives."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.batch import WIDTHS
from collectord.buffer.assemble import assemble
from collectord.model import ColumnType, IdLayout, Schema
from tests.reference_batch import NOW, Request, Values, build, make_schema
from tests.strategies import schemas, values

Row = dict[str, Any]


def expected(schema: Schema, kept: Values) -> list[Row]:
    """One dictionary per row: `columns` (raw bytes or None) and what its request says."""
    rows: list[Row] = []
    for request in kept.requests:
        for at in range(request.rows):
            row: Row = {
                "columns": [column[len(rows)] for column in kept.columns],
                "correlation_id": as_id(schema.correlation, request.correlation),
                "time": request.time,
                "row": request.first + at,
            }
            if schema.request is not IdLayout.NONE:
                row["request_id"] = as_id(schema.request, request.request)
            if schema.sampled:
                row["sampling"] = request.sampling
            rows.append(row)
    return rows


def as_id(layout: IdLayout, value: bytes) -> bytes | str:
    return value.decode() if layout is IdLayout.TEXT else value


def read(schema: Schema, batch: pa.RecordBatch) -> list[Row]:
    """The record batch in the form of `expected`."""
    columns = [values_of(batch, at, column.type, schema) for at, column in enumerate(schema.columns)]
    rows = [{"columns": [column[at] for column in columns]} for at in range(batch.num_rows)]
    for name in ("correlation_id", "request_id", "time", "row", "sampling"):
        if name in batch.schema.names:
            array = batch.column(name)
            array = array.cast(pa.int64()) if name == "time" else array
            for row, value in zip(rows, array.to_pylist(), strict=True):
                row[name] = value
    return rows


def values_of(batch: pa.RecordBatch, at: int, kind: ColumnType, schema: Schema) -> list[bytes | None]:
    width = WIDTHS[kind]
    if schema.tensor:
        data = batch.column("tensor").flatten().buffers()[1].to_pybytes()
        step = len(schema.columns)
        return [data[(row * step + at) * width :][:width] for row in range(batch.num_rows)]
    array = batch.column(f"c{at}")
    if kind is ColumnType.STRING:
        return [None if text is None else text.encode() for text in array.to_pylist()]
    data = array.buffers()[1].to_pybytes()
    valid = array.is_valid().to_pylist()
    return [data[row * width :][:width] if valid[row] else None for row in range(batch.num_rows)]


@given(st.data())
def test_any_slices_of_any_batches_equal_the_plain_reading(data: st.DataObject) -> None:
    """All types, nulls, texts and runs; slices that begin and end inside runs; several pieces; Arrow finds no fault."""
    schema = data.draw(schemas())
    pieces, rows = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        kept = data.draw(values(schema))
        payload = build(schema, kept, runs=data.draw(st.sampled_from([None, True]))).SerializeToString()
        start = data.draw(st.integers(0, kept.rows - 1))
        stop = data.draw(st.integers(start + 1, kept.rows))
        pieces.append((payload, start, stop))
        rows += expected(schema, kept)[start:stop]
    batch = assemble(schema, pieces)
    batch.validate(full=True)
    assert batch.num_rows == len(rows)
    assert read(schema, batch) == rows


@pytest.mark.parametrize("start", range(8))
def test_every_slice_of_runs_of_different_lengths(start: int) -> None:
    schema = make_schema(
        ColumnType.STRING, ColumnType.INT16, correlation=IdLayout.TEXT, request=IdLayout.UUID, sampled=True
    )
    requests = [
        Request(
            rows,
            first=10 * rows,
            time=NOW + rows,
            correlation=f"c{rows}".encode(),
            request=bytes([rows]) * 16,
            sampling=rows / 8,
        )
        for rows in (1, 4, 3)
    ]
    texts: list[bytes | None] = [b"", None, "ä".encode(), b"four", None, b'"', b"\n", b"x" * 300]
    numbers: list[bytes | None] = [bytes([row, 0]) for row in range(8)]
    kept = Values([texts, numbers], requests)
    payload = build(schema, kept).SerializeToString()
    for stop in range(start + 1, 9):
        batch = assemble(schema, [(payload, start, stop)])
        batch.validate(full=True)
        assert read(schema, batch) == expected(schema, kept)[start:stop]


def test_the_payload_may_be_reused_afterwards() -> None:
    """The rows were copied."""
    schema = make_schema(ColumnType.STRING)
    payload = bytearray(build(schema, Values([[b"kept"]], [Request()])).SerializeToString())
    batch = assemble(schema, [(payload, 0, 1)])
    payload[:] = bytes(len(payload))
    assert batch.column("c0").to_pylist() == ["kept"]


def test_names_and_types_are_those_that_the_encoder_expects() -> None:
    schema = make_schema(*ColumnType, request=IdLayout.TEXT, sampled=True)
    columns: list[list[bytes | None]] = [[bytes(WIDTHS[kind])] for kind in ColumnType]
    batch = assemble(schema, [(build(schema, Values(columns, [Request(request=b"r")])).SerializeToString(), 0, 1)])
    assert batch.schema.names == [f"c{at}" for at in range(15)] + [
        "correlation_id",
        "time",
        "request_id",
        "row",
        "sampling",
    ]
    assert [str(field.type) for field in batch.schema] == [
        "uint8", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "halffloat", "float", "double",
        "string", "timestamp[ns]", "timestamp[ns, tz=UTC]", "fixed_size_binary[16]", "timestamp[ns]", "string", "uint32",
        "double",
    ]  # fmt: skip


def test_a_null_in_one_batch_leaves_the_rows_of_another_valid() -> None:
    schema = make_schema(ColumnType.INT8)
    first = build(schema, Values([[b"\1", None]], [Request(2)])).SerializeToString()
    second = build(schema, Values([[b"\2", b"\3"]], [Request(2)])).SerializeToString()
    assert assemble(schema, [(second, 0, 2), (first, 0, 2), (second, 1, 2)]).column("c0").to_pylist() == [
        2,
        3,
        1,
        None,
        3,
    ]
    assert assemble(schema, [(second, 0, 2)]).column("c0").buffers()[0] is None


def test_10000_columns_are_assembled() -> None:
    for tensor in (False, True):
        schema = make_schema(*[ColumnType.FLOAT32] * 10_000, tensor=tensor)
        column: list[bytes | None] = [b"\0\0\x80\x3f", b"\0\0\0\x40"]
        payload = build(schema, Values([column] * 10_000, [Request(2)])).SerializeToString()
        batch = assemble(schema, [(payload, 0, 2), (payload, 1, 2)])
        batch.validate(full=True)
        assert batch.num_rows == 3
        last = batch.column(0).to_pylist() if not tensor else [row[-1] for row in batch.column("tensor").to_pylist()]
        assert last == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 1), (2, 1), (0, 3), (-1, 1)])
def test_rows_that_a_batch_does_not_have_are_an_error(start: int, stop: int) -> None:
    schema = make_schema(ColumnType.INT8)
    payload = build(schema, Values([[b"\1", b"\2"]], [Request(2)])).SerializeToString()
    with pytest.raises(ValueError, match="of a batch of 2"):
        assemble(schema, [(payload, start, stop)])


def test_no_pieces_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        assemble(make_schema(ColumnType.STRING), [])
