"""numpy arrays become blocks. numpy itself is never imported: who hands us an array has done that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import values as plain
from .block import BOOL, FLOAT64, TIMESTAMP, TIMESTAMP_UTC, Block, Part
from .errors import CollectError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
TYPES = dict(zip(_DTYPES, range(BOOL, FLOAT64 + 1), strict=True))
"""Kind and item size of a dtype to column type."""

NANOSECONDS = {
    "W": 604_800_000_000_000, "D": 86_400_000_000_000, "h": 3_600_000_000_000, "m": 60_000_000_000,
    "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1,
}  # fmt: skip
FINER = {"ps": 1000, "fs": 1_000_000, "as": 1_000_000_000}
"""Units of which so many are a nanosecond."""

MISSING = -(1 << 63)
"""What stands for NaT."""

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
    return Block(None, tuple([kind for kind, _ in parts]), rows, None, tuple([part for _, part in parts]))


def column(values: Array) -> tuple[int, Part]:
    """One column of any dtype. Raises CollectError where there is no column type for it."""
    dtype = values.dtype
    kind = column_type(dtype)
    if kind is not None:
        return kind, Part(raw(values))
    if dtype.kind == "M":
        return times(values, False)
    if dtype.kind == "m":
        return spans(values)
    if dtype.kind == "O" or dtype.kind in "UT":
        return plain.column(values.tolist())
    if dtype.kind in "SV" and dtype.names is None:
        raise CollectError("unsupported_media", "raw bytes are not collected", len(values))
    raise CollectError("unsupported_type", f"dtype {dtype} cannot be collected", len(values))


def times(values: Array, utc: bool) -> tuple[int, Part]:
    """datetime64 of any unit, NaT being null: nanoseconds, or text if one of them lies outside of what these hold."""
    numpy: Any = sys.modules["numpy"]
    unit, count = numpy.datetime_data(values.dtype)
    if unit in ("Y", "M"):
        values, unit, count = values.astype("<M8[D]"), "D", 1
    kind = TIMESTAMP_UTC if utc else TIMESTAMP
    numbers = values.astype("<M8[ns]" if unit == "generic" else values.dtype.newbyteorder("<")).view("<i8")
    valid = None
    present = numbers
    if len(numbers) and int(numbers.min()) == MISSING:
        valid = numbers != MISSING
        present = numbers[valid]
    mask = None if valid is None else valid.tobytes()
    size = NANOSECONDS.get(unit, 1) * count
    if unit in FINER:
        size = FINER[unit]
        if bool((present * count % size).any()):
            raise CollectError("unsupported_type", f"a {values.dtype} is finer than nanoseconds", len(values))
        numbers = numbers * count // size
    elif len(present) and not (int(present.min()) * size >= plain.LOW and int(present.max()) * size <= plain.HIGH):
        # A coarser unit reaches further than nanoseconds do.
        shown = numpy.datetime_as_string(values, unit="us").tolist()
        zone = "Z" if utc else ""
        there = [True] * len(shown) if valid is None else valid.tolist()
        return plain.texts([text + zone if is_there else None for text, is_there in zip(shown, there, strict=True)])
    elif size > 1:
        numbers = numbers * size
    return kind, Part(numbers.tobytes(), None, mask)


def spans(values: Array) -> tuple[int, Part]:
    """timedelta64 as text, NaT being null. Raises CollectError for months and years, which have no length."""
    numpy: Any = sys.modules["numpy"]
    unit, count = numpy.datetime_data(values.dtype)
    numbers, missing = values.astype("i8").tolist(), numpy.isnat(values).tolist()
    if unit in NANOSECONDS:
        size = NANOSECONDS[unit] * count
        whole = [number * size for number in numbers]
    elif unit in FINER and not any(
        n * count % FINER[unit] for n, gone in zip(numbers, missing, strict=True) if not gone
    ):
        whole = [number * count // FINER[unit] for number in numbers]
    elif all(missing):
        whole = numbers
    else:
        raise CollectError("unsupported_type", f"dtype {values.dtype} cannot be collected", len(values))
    return plain.texts([None if gone else plain.span(ns) for ns, gone in zip(whole, missing, strict=True)])


def is_masked(values: Any) -> bool:
    """True for a masked array. numpy 2.4 loads them when they are first asked for: until then there are none, and a call of
    `collect` is no place to load them."""
    return isinstance(values, getattr(sys.modules.get("numpy.ma"), "MaskedArray", ()))


def masked_table(values: Any) -> Block | None:
    """The block of a 2-D masked array, null where it is masked; None for what is neither numbers nor times."""
    if values.dtype.kind not in "Mm" and column_type(values.dtype) is None:
        return None
    rows, width = values.shape
    parts = [masked_column(values[:, at]) for at in range(width)]
    return Block(None, tuple([kind for kind, _ in parts]), rows, None, tuple([part for _, part in parts]))


def masked_column(values: Any) -> tuple[int, Part]:
    """A masked array of numbers or times, null where it is masked."""
    numpy: Any = sys.modules["numpy"]
    plain_values, null = numpy.asarray(values), numpy.ma.getmaskarray(values)
    if values.dtype.kind in "Mm":
        plain_values = plain_values.copy()
        plain_values[null] = "NaT"
        return column(plain_values)
    return masked(plain_values, null)


def masked(values: Array, null: Array) -> tuple[int, Part]:
    """A column of a plain dtype beside a mask that is True where the value is null."""
    kind, part = column(values)
    part.mask = (~null).tobytes() if bool(null.any()) else None
    return kind, part
