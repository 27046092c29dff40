"""Rows of the log become one Arrow record batch.

The batch has the field `tensor` (FixedSizeList of the columns' one type), or `c0`, `c1`, … for the user's columns; then
`correlation_id` (fixed_size_binary(16) or utf8), `time` (timestamp[ns]), `request_id` (likewise, absent if the schema has
none), `row` (uint32) and, where rows were sampled, `sampling` (float64). Everything that the client sent per request is
repeated per row here. A bool stays the byte that it was on the wire: the encoder knows the schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from collectord.batch import WIDTHS, find
from collectord.buffer import _assemble
from collectord.model import MAX_FILTER, Buffer, ColumnType, FrameIds, IdLayout, Schema

_ARROW: dict[ColumnType, pa.DataType] = {
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

# Words of the batch kernel's table.
_TIMES, _CORRELATION, _REQUEST, _SAMPLING, _TENSOR, _FIRST_COLUMN, _COLUMN_WORDS, _DATA = 4, 7, 10, 13, 14, 17, 6, 4


class Rows:
    """Rows of batches of one schema, found and not yet copied.

    Args:
        schema: what all the pieces have.
        pieces: `(payload, start, stop)`: rows [start, stop) of a serialized `Batch` that passed `batch.check`.

    Raises:
        ValueError: there are no rows, or a piece names rows that its batch does not have.
    """

    def __init__(self, schema: Schema, pieces: Iterable[tuple[Buffer, int, int]]) -> None:
        self._schema = schema
        self._gather = _assemble.Gather()
        for payload, start, stop in pieces:
            self._gather.add(payload, find(payload).table, start, stop)
        if not self._gather.rows:
            raise ValueError("no rows to assemble")

    def batch(self) -> pa.RecordBatch:
        """The rows as one record batch, copied once. The payloads may be reused afterwards."""
        return _batch(self._schema, self._gather)

    def ids(self) -> FrameIds:
        """Which correlation ids they have."""
        found = bytearray(MAX_FILTER)
        layout = self._schema.correlation
        first, last, size = self._gather.present(_CORRELATION, layout is IdLayout.TEXT, found)
        return FrameIds(layout, first, last, bytes(found[:size]))


def ids_of_uuids(raw: bytes, filter_size: int) -> FrameIds:
    """What `Rows.ids` says of rows with these uuids, 16 bytes each, if it makes a filter of this size."""
    found = bytearray(MAX_FILTER)
    first, last, size = _assemble.present(raw, None, len(raw) // 16, filter_size, found)
    return FrameIds(IdLayout.UUID, first, last, bytes(found[:size]))


def ids_of_texts(texts: pa.Array[Any], filter_size: int) -> FrameIds:
    """The same for texts, an array of type binary that begins at its buffers' beginning."""
    found = bytearray(MAX_FILTER)
    offsets, data = (memoryview(buffer or b"").cast("B") for buffer in texts.buffers()[1:])
    first, last, size = _assemble.present(data, offsets, len(texts), filter_size, found)
    return FrameIds(IdLayout.TEXT, first, last, bytes(found[:size]))


def assemble(schema: Schema, pieces: Iterable[tuple[Buffer, int, int]]) -> pa.RecordBatch:
    """`Rows.batch` of these pieces, in one go."""
    return Rows(schema, pieces).batch()


def _batch(schema: Schema, gather: _assemble.Gather) -> pa.RecordBatch:
    rows = gather.rows
    fields: list[tuple[str, pa.Array[Any]]] = []
    if schema.tensor:
        values, values_bytes = _new(rows * len(schema.columns) * WIDTHS[schema.columns[0].type])
        gather.fixed(_TENSOR, len(schema.columns) * WIDTHS[schema.columns[0].type], values_bytes)
        flat = pa.Array.from_buffers(_ARROW[schema.columns[0].type], rows * len(schema.columns), [None, values])
        fields.append(("tensor", pa.FixedSizeListArray.from_arrays(flat, len(schema.columns))))
    else:
        for position, column in enumerate(schema.columns):
            fields.append((f"c{position}", _column(gather, position, column.type)))
    fields.append(("correlation_id", _ids(gather, _CORRELATION, schema.correlation)))
    times, times_bytes = _new(rows * 8)
    gather.per_request(_TIMES, 8, times_bytes)
    fields.append(("time", pa.Array.from_buffers(pa.timestamp("ns"), rows, [None, times])))
    if schema.request is not IdLayout.NONE:
        fields.append(("request_id", _ids(gather, _REQUEST, schema.request)))
    numbers, numbers_bytes = _new(rows * 4)
    gather.row_numbers(numbers_bytes)
    fields.append(("row", pa.Array.from_buffers(pa.uint32(), rows, [None, numbers])))
    if schema.sampled:
        fractions, fractions_bytes = _new(rows * 8)
        gather.per_request(_SAMPLING, 8, fractions_bytes)
        fields.append(("sampling", pa.Array.from_buffers(pa.float64(), rows, [None, fractions])))
    return pa.RecordBatch.from_arrays([array for _, array in fields], names=[name for name, _ in fields])


def _new(size: int) -> tuple[pa.Buffer, memoryview]:
    """A writable Arrow buffer and the view of it that the kernel takes."""
    buffer = pa.allocate_buffer(size)
    return buffer, memoryview(buffer).cast("B")


def _column(gather: _assemble.Gather, position: int, kind: ColumnType) -> pa.Array[Any]:
    rows = gather.rows
    validity = None
    if gather.has_nulls(position):
        validity, validity_bytes = _new((rows + 7) // 8)
        gather.validity(position, validity_bytes)
    if kind is ColumnType.STRING:
        offsets, offsets_bytes = _new(4 * (rows + 1))
        data, data_bytes = _new(gather.text_bytes(position))
        gather.texts(position, offsets_bytes, data_bytes)
        return pa.Array.from_buffers(pa.utf8(), rows, [validity, offsets, data])
    values, values_bytes = _new(rows * WIDTHS[kind])
    gather.fixed(_FIRST_COLUMN + position * _COLUMN_WORDS + _DATA, WIDTHS[kind], values_bytes)
    return pa.Array.from_buffers(_ARROW[kind], rows, [validity, values])


def _ids(gather: _assemble.Gather, word: int, layout: IdLayout) -> pa.Array[Any]:
    rows = gather.rows
    if layout is IdLayout.UUID:
        values, values_bytes = _new(rows * 16)
        gather.per_request(word, 16, values_bytes)
        return pa.Array.from_buffers(pa.binary(16), rows, [None, values])
    offsets, offsets_bytes = _new(4 * (rows + 1))
    data, data_bytes = _new(gather.id_bytes(word))
    gather.ids(word, offsets_bytes, data_bytes)
    return pa.Array.from_buffers(pa.utf8(), rows, [None, offsets, data])
