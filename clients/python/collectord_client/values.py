"""Plain Python values become blocks: numbers, text, booleans, times, None, in lists, rows and dictionaries.

A column of one kind of value keeps it. A column of whole and fractional numbers is float64. Any other mixture is text,
written as the CSV would write each value: `true`, `2`, `0.5`, the string itself.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import struct
import uuid
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .block import BOOL, FLOAT64, INT64, STRING, TIMESTAMP, TIMESTAMP_UTC, UINT64, Block, Part
from .errors import CollectError, unsupported_type

EXACT = 1 << 53
"""Whole numbers up to here are float64 without loss."""

EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)

NUMBER, WHOLE, TRUTH, TEXT, NAIVE, AWARE = "number", "whole", "truth", "text", "naive", "aware"

_KINDS: dict[type, str | None] = {
    float: NUMBER, int: WHOLE, bool: TRUTH, str: TEXT, type(None): None,
}  # fmt: skip


def plain(value: Any) -> Any:
    """`value` as one of None, bool, int, float, str, datetime. Raises CollectError for anything that is no scalar."""
    if value is None or type(value) in _KINDS:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise CollectError("unsupported_media", "raw bytes are not collected")
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (bool, int, float, str)):
        for base in (bool, int, float, str):
            if isinstance(value, base):
                return base(value)
    if isinstance(value, datetime.datetime):
        # pandas' missing time is an instance of datetime, and is not equal to itself.
        return value if value == value else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    module = type(value).__module__
    if module == "numpy":
        return _numpy_scalar(value)
    if module.startswith("pandas.") and type(value).__name__ in ("NAType", "NaTType"):
        return None
    raise unsupported_type(value)


def _numpy_scalar(value: Any) -> Any:
    if getattr(value, "shape", None) != ():
        raise unsupported_type(value)
    kind = value.dtype.kind
    if kind in "SV":
        raise CollectError("unsupported_media", "raw bytes are not collected")
    if kind == "M":
        return None if value != value else Nanoseconds(int(value.astype("M8[ns]").astype("i8")))
    if kind not in "biufU" or (value.dtype.itemsize > 8 and kind != "U"):
        raise unsupported_type(value)
    if kind == "f" and value.dtype.itemsize < 8:
        # Through its own shortest text, so that 0.1 stays 0.1 and does not become 0.10000000149011612.
        return float(str(value))
    return value.item()


class Nanoseconds(int):
    """A time without a zone, finer than a datetime."""


def kind_of(value: Any) -> str | None:
    """Which kind of column the plain value `value` wants; None where it is null."""
    known = _KINDS.get(type(value), "")
    if known != "":
        return known
    if isinstance(value, Nanoseconds):
        return NAIVE
    if isinstance(value, datetime.datetime):
        return NAIVE if value.tzinfo is None else AWARE
    raise unsupported_type(value)


def text(value: Any) -> str:
    """A plain value as the CSV has it."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, Nanoseconds):
        return (EPOCH + datetime.timedelta(microseconds=value // 1000)).isoformat()
    if isinstance(value, float):
        return repr(value) if value - value == 0 else "NaN" if value != value else "Inf" if value > 0 else "-Inf"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return str(value)


def nanoseconds(value: datetime.datetime | Nanoseconds) -> int:
    """A time as int64 nanoseconds."""
    if isinstance(value, Nanoseconds):
        return int(value)
    since = (value - EPOCH_UTC) if value.tzinfo is not None else (value - EPOCH)
    return since // MICROSECOND * 1000 + int(getattr(value, "nanosecond", 0))


def column(values: Sequence[Any], prefer: int | None = None) -> tuple[int, Part]:
    """A column of scalars of any kind.

    `prefer` is the type this column had before: whole numbers stay in a float64 column and nulls take any type, so that
    rows that came out of JSON do not change their schema from call to call.
    """
    if any(type(value) not in _KINDS for value in values):
        values = [plain(value) for value in values]
    kinds = {kind_of(value) for value in values}
    nulls = None in kinds
    kinds.discard(None)
    mask = bytes(value is not None for value in values) if nulls else None
    if not kinds:
        if prefer is None or prefer == STRING:
            return STRING, Part(b"", array("i", bytes(4 * len(values))), mask)
        return prefer, Part(bytes((1 if prefer == BOOL else 8) * len(values)), None, mask)
    rows = len(values)
    if kinds == {NUMBER} or (kinds == {NUMBER, WHOLE} and _exact(values)):
        return FLOAT64, Part(struct.pack(f"<{rows}d", *(0.0 if v is None else v for v in values)), None, mask)
    if kinds == {WHOLE}:
        low = min(v for v in values if v is not None)
        high = max(v for v in values if v is not None)
        if prefer == FLOAT64 and low >= -EXACT and high <= EXACT:
            return FLOAT64, Part(struct.pack(f"<{rows}d", *(v or 0 for v in values)), None, mask)
        if low >= -(1 << 63) and high < 1 << 63:
            return INT64, Part(struct.pack(f"<{rows}q", *(v or 0 for v in values)), None, mask)
        if low >= 0 and high < 1 << 64:
            return UINT64, Part(struct.pack(f"<{rows}Q", *(v or 0 for v in values)), None, mask)
    if kinds == {TRUTH}:
        return BOOL, Part(bytes(bool(v) for v in values), None, mask)
    if kinds == {NAIVE} or kinds == {AWARE}:
        times = [0 if v is None else nanoseconds(v) for v in values]
        if all(-(1 << 63) <= time < 1 << 63 for time in times):
            return TIMESTAMP if kinds == {NAIVE} else TIMESTAMP_UTC, Part(struct.pack(f"<{rows}q", *times), None, mask)
    return STRING, strings(["" if v is None else v if type(v) is str else text(v) for v in values], mask)


def strings(values: Sequence[str], mask: bytes | None) -> Part:
    """A text column. Raises CollectError `invalid_utf8` for lone surrogates, which no UTF-8 file can hold."""
    try:
        joined = "".join(values)
        if joined.isascii():
            return Part(joined.encode("ascii"), array("i", map(len, values)), mask)
        encoded = [value.encode() for value in values]
    except UnicodeEncodeError:
        raise CollectError("invalid_utf8", "a text holds half a surrogate pair", len(values)) from None
    return Part(b"".join(encoded), array("i", map(len, encoded)), mask)


def _exact(values: Iterable[Any]) -> bool:
    return all(-EXACT <= v <= EXACT for v in values if type(v) is int)


def rows_of(table: Sequence[Sequence[Any]], memory: list[int]) -> Block:
    """Rows of scalars. `memory` holds the types the columns had in earlier calls, and is brought up to date.

    Raises CollectError `ragged` where the rows differ in length.
    """
    count = len(table)
    width = len(table[0])
    if any(len(row) != width for row in table):
        raise CollectError("ragged", "the rows differ in length", count)
    if width == 0:
        raise CollectError("no_columns", "the rows are empty", count)
    kinds = {type(value) for row in table for value in row}
    if kinds == {float} or (kinds == {float, int} and all(_exact(row) for row in table)):
        flat = [value for row in table for value in row]
        return Block(None, (FLOAT64,) * width, count, struct.pack(f"<{len(flat)}d", *flat))
    if kinds == {int}:
        flat = [value for row in table for value in row]
        if min(flat) >= -(1 << 63) and max(flat) < 1 << 63:
            return Block(None, (INT64,) * width, count, struct.pack(f"<{len(flat)}q", *flat))
    if len(memory) != width:
        memory[:] = [0] * width
    try:
        found = [column([row[at] for row in table], memory[at] or None) for at in range(width)]
    except CollectError as error:
        error.rows = count
        raise
    for at, (kind, part) in enumerate(found):
        if part.mask is None or any(part.mask):
            memory[at] = kind
    return Block(None, tuple(kind for kind, _ in found), count, None, tuple(part for _, part in found))


def named(table: Mapping[Any, Any], memory: list[int]) -> Block:
    """A dictionary of scalars is one row, one of lists is columns."""
    names = tuple(str(name) for name in table)
    if not names:
        raise CollectError("no_columns", "the dictionary is empty")
    columns = [value.tolist() if hasattr(value, "tolist") else value for value in table.values()]
    if not any(isinstance(value, (list, tuple)) for value in columns):
        block = rows_of([columns], memory)
    else:
        if not all(isinstance(value, (list, tuple)) for value in columns):
            raise CollectError("ragged", "a dictionary holds either scalars or columns")
        count = len(columns[0])
        if any(len(value) != count for value in columns):
            raise CollectError("ragged", "the columns differ in length", count)
        if count == 0:
            raise CollectError("no_rows", "there are no rows")
        found = [column(value) for value in columns]
        block = Block(None, tuple(kind for kind, _ in found), count, None, tuple(part for _, part in found))
    block.names = names
    return block
