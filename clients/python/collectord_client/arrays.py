"""numpy arrays become blocks. numpy itself is never imported: who hands us an array has done that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import values as plain
from .block import TIMESTAMP, Block, Part
from .errors import CollectError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TYPES = {
    "b1": 1, "i1": 2, "i2": 3, "i4": 4, "i8": 5, "u1": 6, "u2": 7, "u4": 8, "u8": 9, "f2": 10, "f4": 11, "f8": 12,
}  # fmt: skip
"""Kind and item size of a dtype to column type."""

LITTLE = sys.byteorder == "little"


def column_type(dtype: np.dtype[Any]) -> int | None:
    """The column type of a plain numeric or boolean dtype, else None."""
    return TYPES.get(f"{dtype.kind}{dtype.itemsize}")


def is_plain(dtype: Any) -> bool:
    """True for a numpy dtype that has a column type."""
    return type(dtype).__module__.startswith("numpy") and column_type(dtype) is not None


def raw(values: Array) -> bytes:
    """A copy of the values, row-major and little-endian."""
    order = values.dtype.byteorder
    if order == ">" or (order == "=" and not LITTLE):
        values = values.astype(values.dtype.newbyteorder("<"))
    return values.tobytes()


def table(values: Array) -> Block:
    """The block of a 2-D array. Raises CollectError for what has no place in a table of numbers."""
    rows, width = values.shape
    kind = column_type(values.dtype)
    if kind is not None:
        return Block(None, (kind,) * width, rows, raw(values))
    parts = [column(values[:, at]) for at in range(width)]
    return Block(None, tuple(kind for kind, _ in parts), rows, None, tuple(part for _, part in parts))


def column(values: Array) -> tuple[int, Part]:
    """One column of any dtype. Raises CollectError where there is no column type for it."""
    dtype = values.dtype
    kind = column_type(dtype)
    if kind is not None:
        return kind, Part(raw(values))
    if dtype.kind == "M":
        return TIMESTAMP, timestamps(values)
    if dtype.kind == "O" or dtype.kind in "UT":
        return plain.column(values.tolist())
    if dtype.kind in "SV" and dtype.names is None:
        raise CollectError("unsupported_media", "raw bytes are not collected", max(1, len(values)))
    raise CollectError("unsupported_type", f"dtype {dtype} cannot be collected", max(1, len(values)))


def timestamps(values: Array) -> Part:
    """datetime64 of any unit as nanoseconds; NaT is null. Raises CollectError for times outside 1677 to 2262."""
    wide = values.astype("<M8[ns]")
    # A coarser unit reaches further than nanoseconds do; numpy wraps around without a word.
    if values.dtype != wide.dtype and bool((wide.astype(values.dtype) != values)[values == values].any()):
        unit = str(values.dtype)
        if unit not in ("datetime64[ps]", "datetime64[fs]", "datetime64[as]"):
            raise CollectError("unsupported_type", f"a {unit} lies outside what nanoseconds hold", len(values))
    valid = values == values
    mask = None if bool(valid.all()) else valid.tobytes()
    return Part(wide.tobytes(), None, mask)


def masked(values: Array, null: Array) -> tuple[int, Part]:
    """A column of a plain dtype beside a mask that is True where the value is null."""
    kind, part = column(values)
    part.mask = (~null).tobytes() if bool(null.any()) else None
    return kind, part
