"""The correlation ids of a frame's rows, read from its text: to see that its index tells the truth about them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from collectord.buffer.assemble import ids_of_texts, ids_of_uuids
from collectord.encode.frame_index import FrameIndex
from collectord.model import FrameIds, IdLayout

COLUMN = "$aml_dc_correlation_id"

_UUID = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z"


def cells(record: bytes) -> list[str]:
    """The cells of a CSV record, whatever their length."""
    limit = csv.field_size_limit(1 << 30)
    try:
        return next(csv.reader(io.StringIO(record.decode(), newline="")), [])
    finally:
        csv.field_size_limit(limit)


def place_of(names: list[str]) -> int | None:
    """Which column has the correlation ids: the last of that name, as users may have one too. None: there is none."""
    return len(names) - 1 - names[::-1].index(COLUMN) if COLUMN in names else None


def untrue(index: FrameIndex, header: bytes, text: bytes) -> str:
    """What is wrong with what an index says about the ids in `text`, whole rows under this header; empty if nothing is."""
    names = cells(header)
    place = place_of(names)
    if place is None:
        return "it has an index, and its blob no correlation ids"
    try:
        ids = _distinct(text, len(names), place)
    except pa.ArrowInvalid as error:
        return f"its index cannot be checked, since its rows cannot be read: {error}"
    if index.ids != _present(ids, index.ids):
        return "its index does not fit the correlation ids of its rows"
    return ""


def ids_of(said: FrameIds, header: bytes, text: bytes) -> FrameIds:
    """What an index says of these rows, if it is of the layout and size of another one. Raises ValueError if they are not
    like the rows of that one."""
    names = cells(header)
    place = place_of(names)
    try:
        ids = None if place is None else _present(_distinct(text, len(names), place), said)
    except pa.ArrowInvalid:
        # Without its words and not chained: they quote the row.
        raise ValueError("its rows cannot be read as CSV") from None
    if ids is None:
        raise ValueError("its rows have not the ids that its index says")
    return ids


def _distinct(text: bytes, columns: int, place: int) -> pa.Array[Any]:
    wanted = str(place)
    table = pyarrow.csv.read_csv(
        io.BytesIO(text),
        pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(text) + 1, column_names=[str(number) for number in range(columns)]
        ),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(include_columns=[wanted], column_types={wanted: pa.binary()}),
    )
    return table.column(0).unique()  # type: ignore[return-value]  # its stub says that it is chunked still


def _present(ids: pa.Array[Any], said: FrameIds) -> FrameIds | None:
    """What an index of these ids says, if it is of the same layout and size; None if they are no uuids and should be."""
    if said.layout is IdLayout.TEXT:
        return ids_of_texts(ids, len(said.filter))
    if not pyarrow.compute.all(pyarrow.compute.match_substring_regex(ids, _UUID)).as_py():
        return None
    texts = b"".join(text for text in ids.to_pylist() if text is not None)
    return ids_of_uuids(bytes.fromhex(texts.decode().replace("-", "")), len(said.filter))
