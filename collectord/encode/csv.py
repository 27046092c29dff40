"""CSV text from Arrow record batches. The dialect is written down in docs/formats/blob.md.

A `CsvPlan` is compiled once per schema and boundary: what is the same in every row (separators, stream names, the
boundary) is escaped once and merged into literals; what differs is a cell, written by the kernel beside this file. The
kernel holds no GIL, so one worker thread per core encodes as fast as there are cores; each has a `TextBuffer` of its own.

Promise: the same rows give the same bytes, however they are cut into batches and wherever the kernel runs.
"""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa

from collectord.encode._csv import RowWriter, TextBuffer
from collectord.encode.fields import TIME, id_field, tensor_type
from collectord.model import ColumnType, IdLayout, Schema, Stream

__all__ = ["CsvPlan", "TextBuffer", "header_of"]

NIL_UUID = str(UUID(int=0))


def quoted(text: str) -> str:
    """A constant as a field: in quotes only if it is empty or holds a comma, a quote, CR or LF."""
    if text and not any(character in text for character in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


def header_of(schema: Schema) -> bytes:
    """The header row of a schema: UTF-8, ends with LF."""
    names = [column.name for column in schema.columns]
    names += ["$aml_dc_correlation_id", "$aml_dc_scoring_timestamp", "$aml_dc_boundary", "$aml_workspace"]
    names += ["$aml_service_name", "$aml_model_name", "$aml_model_version", "$aml_request_id", "$aml_dc_row"]
    if schema.sampled:
        names.append("$aml_dc_sampling")
    return (",".join(map(quoted, names)) + "\n").encode()


def _workspace(stream: Stream, lowercase: bool) -> str:
    text = "/".join(part or "default" for part in (stream.subscription, stream.resource_group, stream.workspace))
    return text.lower() if lowercase else text


class CsvPlan:
    """How rows of one schema become text. Immutable; threads share it.

    A batch has these fields, in this order and whatever their names: for a tensor schema one `FixedSizeList<T>[k]`
    without nulls, else one field per column; then the correlation id (16 bytes or text), the scoring time
    (`timestamp[ns]`), the request id (16 bytes or text; absent if the schema has none, the nil uuid is written then),
    the row's index in its request (`uint32`) and, if the schema is sampled, the sampling rate (`float64`).
    """

    header: bytes
    """The header row, UTF-8, ends with LF."""

    def __init__(self, schema: Schema, boundary_minutes: int, *, lowercase_workspace: bool = False) -> None:
        """Compiles the plan. `lowercase_workspace` writes `$aml_workspace` in lower case, as the v1 SDK did.

        Raises ValueError for a tensor schema whose columns are not all of one fixed-width type.
        """
        self.header = header_of(schema)
        stream = schema.stream
        constants = ",".join(
            quoted(text)
            for text in (
                str(boundary_minutes),
                _workspace(stream, lowercase_workspace),
                stream.webservice or "default",
                stream.model or "default",
                stream.version or "default",
            )
        )
        cells = _value_cells(schema)
        cells.append((b",", *id_field(schema.correlation)))
        cells.append((b",", TIME, 0))
        before_row = f",{constants},"
        if schema.request is IdLayout.NONE:
            before_row += f"{NIL_UUID},"
        else:
            cells.append((before_row.encode(), *id_field(schema.request)))
            before_row = ","
        cells.append((before_row.encode(), int(ColumnType.UINT32), 0))
        if schema.sampled:
            cells.append((b",", int(ColumnType.FLOAT64), 0))
        if not schema.columns:
            cells[0] = (b"", *cells[0][1:])
        self._writer = RowWriter(cells, b"\n")

    def encode(
        self, batch: pa.RecordBatch, out: TextBuffer, start: int = 0, stop: int | None = None, matches: bool = False
    ) -> memoryview:
        """CSV text of the rows [start, stop) of `batch`, without the header: a view into `out`, valid until `out` is used again.

        Arrow's own checks (buffer lengths) run first and everything that could lead out of a buffer is checked in the
        kernel; text is taken as the UTF-8 it claims to be. With `matches`, `out.matches` then has what the rows repeat of those
        before them, for `FrameEncoder.data_frame`. Raises ValueError if the batch does not have the plan's
        fields or is malformed (`pyarrow.ArrowInvalid` is one), RuntimeError if another thread uses `out`; nothing
        is kept of a call that raised.
        """
        batch.validate()
        return self._writer.encode(batch, out, start, batch.num_rows if stop is None else stop, matches)


_Cell = tuple[bytes, int, int]


def _value_cells(schema: Schema) -> list[_Cell]:
    if not schema.tensor:
        return [(b"," if i else b"", int(column.type), 0) for i, column in enumerate(schema.columns)]
    return [(b"", int(tensor_type(schema.columns)), len(schema.columns))]
