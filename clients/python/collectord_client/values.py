"""Plain Python values become blocks: numbers, text, booleans, times, None, in lists, rows and dictionaries. What holds others is text
(`nested.py`).

A column of one kind of value keeps it. A column of whole and fractional numbers is float64. Any other mixture is text,
and so is a column with a time that nanoseconds cannot hold: written as the CSV writes each value, so that a row looks the
same whatever stands beside it. Times of day and time spans are text in any case.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import struct
import sys
import uuid
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from . import nested
from .block import (
    BOOL,
    FLOAT64,
    INT64,
    STRING,
    TIMESTAMP,
    TIMESTAMP_UTC,
    UINT64,
    Block,
    Part,
    Unread,
    all_read,
    unread,
)
from .errors import CollectError, unsupported_type
from .loaded import loaded

EXACT = 1 << 53
"""Whole numbers up to here are float64 without loss."""

EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)
LOW, HIGH = -(1 << 63) + 1, (1 << 63) - 1
"""The first and the last time that int64 nanoseconds hold; one less is the missing time of numpy and pandas."""

NUMBER, WHOLE, TRUTH, TEXT, NAIVE, AWARE = "number", "whole", "truth", "text", "naive", "aware"

_KINDS: dict[type, str | None] = {
    float: NUMBER, int: WHOLE, bool: TRUTH, str: TEXT, type(None): None,
}  # fmt: skip
_PLAIN = frozenset(_KINDS)

MAX_REMEMBERED = 64
UNREAD = 0
"""Stands for a value that is not looked at: of a kind that turns no table of numbers into one of texts."""


class Memory:
    """Which types the columns of a collector's lists had, by names or number of columns.

    Threads may share it: an entry is read once per call, and replaced as a whole.
    """

    __slots__ = ("_types",)

    def __init__(self) -> None:
        self._types: dict[object, tuple[int, ...]] = {}

    def types(self, key: tuple[str, ...] | int) -> tuple[int, ...]:
        """One per column, 0 where none is known."""
        return self._types.get(key) or (0,) * (key if isinstance(key, int) else len(key))

    def keep(self, key: tuple[str, ...] | int, types: tuple[int, ...]) -> None:
        if len(self._types) >= MAX_REMEMBERED and key not in self._types:
            self._types.clear()
        self._types[key] = types


class Nanoseconds(int):
    """A time without a zone, finer than a datetime."""


def plain(value: Any) -> Any:
    """`value` as one of None, bool, int, float, str, datetime; one that holds others as JSON text. Raises CollectError for
    anything else."""
    if value is None or type(value) in _PLAIN:
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
    if isinstance(value, datetime.timedelta):
        whole = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return span(whole * 1000 + int(getattr(value, "nanoseconds", 0)))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if nested.holds_others(value):
        return nested.as_json(value, _inner)
    module = type(value).__module__
    if module == "numpy":
        return _numpy_scalar(value)
    if module.startswith("pandas.") and type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "__array__") and getattr(value, "ndim", 1) == 0 and loaded("numpy") is not None:
        return _tensor_scalar(value)
    raise unsupported_type(value)


def _inner(value: Any) -> Any:
    """A scalar inside of another value: what JSON has no form for is text, as it is in a column."""
    found = plain(value)
    return found if type(found) in _PLAIN else text(found)


def _tensor_scalar(value: Any) -> Any:
    """A tensor without dimensions. A masked value is null: what lies beneath it is nobody's."""
    from . import arrays

    if arrays.is_masked(value) and bool(value.mask):
        return None
    try:
        made = sys.modules["numpy"].asarray(value)
    except (RuntimeError, TypeError, ValueError):
        # It requires gradients, is on a GPU, or of a dtype that numpy lacks.
        raise unsupported_type(value) from None
    if made.ndim or made.dtype.kind == "O":
        raise unsupported_type(value)
    return _numpy_scalar(made)


def _numpy_scalar(value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "SV":
        raise CollectError("unsupported_media", "raw bytes are not collected")
    if kind in "Mm":
        if value != value:
            return None
        return _numpy_time(value)
    if kind not in "biufU" or (value.dtype.itemsize > 8 and kind != "U"):
        raise unsupported_type(value)
    if kind == "f" and value.dtype.itemsize < 8:
        # Through its own shortest text, so that 0.1 stays 0.1 and does not become 0.10000000149011612.
        return float(str(value))
    return value.item()


def _numpy_time(value: Any) -> Any:
    from . import arrays

    kind, part = arrays.column(value.reshape(1))
    if kind == STRING:
        return part.data.decode()
    return Nanoseconds(struct.unpack("<q", part.data)[0])


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
        return moment(value)
    if isinstance(value, float):
        return repr(value) if value - value == 0 else "NaN" if value != value else "Inf" if value > 0 else "-Inf"
    if isinstance(value, datetime.datetime):
        fine = int(getattr(value, "nanosecond", 0))
        whole = _naive(value)
        if whole is None:
            return value.isoformat()
        digits = f"{fine:03d}" if fine else ""
        return whole.isoformat(timespec="microseconds") + digits + ("Z" if value.tzinfo is not None else "")
    return str(value)


def clock(ns: int) -> str:
    """A time of day: `23:59:59`, with six digits behind the point if it has a fraction, nine if a finer one."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    shown = f"{hour:02d}:{minute:02d}:{second:02d}"
    if not fraction:
        return shown
    return f"{shown}.{fraction:09d}" if fraction % 1000 else f"{shown}.{fraction // 1000:06d}"


def span(ns: int) -> str:
    """A time span as pandas writes it: `1 days 02:03:04`, `-1 days +23:59:59.500000`."""
    days, rest = divmod(ns, 86_400_000_000_000)
    return f"{days} days {'+' if days < 0 else ''}{clock(rest)}"


def moment(ns: int) -> str:
    """A time since 1970: `2018-12-31T23:59:59.123456`, with nine digits if it has a finer part."""
    whole, fine = divmod(ns, 1000)
    shown = (EPOCH + datetime.timedelta(microseconds=whole)).isoformat(timespec="microseconds")
    return f"{shown}{fine:03d}" if fine else shown


def _naive(value: datetime.datetime) -> datetime.datetime | None:
    """The time in UTC, to the microsecond, as a plain datetime without a zone. None outside of the years 1 to 9999."""
    offset = value.utcoffset()
    whole = datetime.datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
    )
    if not offset:
        return whole
    try:
        return whole - offset
    except OverflowError:
        return None


def nanoseconds(value: datetime.datetime | Nanoseconds) -> int:
    """A time as nanoseconds since 1970, which int64 need not hold."""
    if isinstance(value, Nanoseconds):
        return int(value)
    whole = _naive(value)
    if whole is None:
        return HIGH + 1
    return (whole - EPOCH) // MICROSECOND * 1000 + int(getattr(value, "nanosecond", 0))


def column(values: Sequence[Any], prefer: int = 0) -> tuple[int, Part]:
    """A column of scalars of any kind.

    `prefer` is the type this column had before: whole numbers stay in a float64 column and nulls take any type, so that
    rows that came out of JSON do not change their schema from call to call.
    """
    types = set(map(type, values))
    if types == {str}:
        return STRING, strings(values, None)
    if types <= _PLAIN:
        kinds = {_KINDS[kind] for kind in types}
    else:
        values = [plain(value) for value in values]
        kinds = {kind_of(value) for value in values}
    mask = None
    if None in kinds:
        kinds.discard(None)
        mask = bytes([value is not None for value in values])
        if not kinds:
            if prefer in (0, STRING):
                return STRING, Part(b"", array("i", bytes(4 * len(values))), mask)
            return prefer, Part(bytes((1 if prefer == BOOL else 8) * len(values)), None, mask)
    if kinds == {NUMBER} or (kinds == {NUMBER, WHOLE} and _exact(values)):
        return FLOAT64, Part(_packed("d", values, mask), None, mask)
    if kinds == {WHOLE}:
        present = values if mask is None else [value for value in values if value is not None]
        low, high = min(present), max(present)
        if prefer == FLOAT64 and low >= -EXACT and high <= EXACT:
            return FLOAT64, Part(_packed("d", values, mask), None, mask)
        if low >= -(1 << 63) and high < 1 << 63:
            return INT64, Part(_packed("q", values, mask), None, mask)
        if low >= 0 and high < 1 << 64:
            return UINT64, Part(_packed("Q", values, mask), None, mask)
    if kinds == {TRUTH}:
        return BOOL, Part(bytes([bool(value) for value in values]), None, mask)
    if kinds == {NAIVE} or kinds == {AWARE}:
        times = [0 if value is None else nanoseconds(value) for value in values]
        if min(times) >= LOW and max(times) <= HIGH:
            return TIMESTAMP if kinds == {NAIVE} else TIMESTAMP_UTC, Part(_packed("q", times, None), None, mask)
    return STRING, strings(["" if v is None else v if type(v) is str else text(v) for v in values], mask)


def _packed(form: str, values: Sequence[Any], mask: bytes | None) -> bytes:
    return struct.pack(f"<{len(values)}{form}", *(values if mask is None else [value or 0 for value in values]))


def texts(values: Sequence[str | None]) -> tuple[int, Part]:
    """A text column of what is text already, None where it is null."""
    if None not in values:
        return STRING, strings(values, None)  # type: ignore[arg-type]
    return STRING, strings([value or "" for value in values], bytes([value is not None for value in values]))


def times(values: Sequence[int | None], utc: bool) -> tuple[int, Part]:
    """A column of nanoseconds since 1970, None where it is null."""
    present = [value for value in values if value is not None]
    mask = bytes([value is not None for value in values]) if len(present) < len(values) else None
    if not present or (min(present) >= LOW and max(present) <= HIGH):
        return TIMESTAMP_UTC if utc else TIMESTAMP, Part(_packed("q", values, mask), None, mask)
    return texts([None if value is None else moment(value) + ("Z" if utc else "") for value in values])


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


class Typed:
    """A column that has its type already."""

    __slots__ = ("column", "rows")

    def __init__(self, column: tuple[int, Part], rows: int) -> None:
        self.column = column
        self.rows = rows

    def __len__(self) -> int:
        return self.rows


def rows_of(table: Sequence[Sequence[Any]], memory: Memory, names: tuple[str, ...] | None = None) -> Block:
    """Rows of scalars. `memory` knows the types the columns had in earlier calls, and is brought up to date.

    Raises CollectError `ragged` where the rows differ in length.
    """
    count = len(table)
    width = len(table[0])
    if count > 1 and len(set(map(len, table))) > 1:
        raise CollectError("ragged", "the rows differ in length", count)
    if width == 0:
        raise CollectError("no_columns", "the rows are empty", count)
    key = width if names is None else names
    known = memory.types(key)
    flat = table[0] if count == 1 else list(chain.from_iterable(table))
    kinds = set(map(type, flat))
    if kinds <= {int, float}:
        kind = 0
        if float in kinds:
            if int not in kinds or _exact(flat):
                kind = FLOAT64
        elif min(flat) >= -EXACT and max(flat) <= EXACT and known == (FLOAT64,) * width:
            kind = FLOAT64
        elif min(flat) >= -(1 << 63) and max(flat) < 1 << 63 and FLOAT64 not in known:
            kind = INT64
        if kind:
            types = (kind,) * width
            if types != known:
                memory.keep(key, types)
            packed = struct.pack(f"<{len(flat)}{'d' if kind == FLOAT64 else 'q'}", *flat)
            return Block(names, types, count, packed, changed=_differ(known, types))
    return _columns([flat] if width == 1 else list(zip(*table, strict=True)), count, memory, key, names)


def _columns(
    table: Sequence[Sequence[Any] | Typed],
    count: int,
    memory: Memory,
    key: tuple[str, ...] | int,
    names: tuple[str, ...] | None,
) -> Block:
    known = memory.types(key)
    try:
        found = [
            values.column if isinstance(values, Typed) else column(values, prefer)
            for values, prefer in zip(table, known, strict=True)
        ]
    except CollectError as error:
        error.rows = count
        raise
    types = tuple([kind for kind, _ in found])
    # A column of nothing but nulls tells nothing, and one that comes with its type nothing of lists.
    seen = tuple(
        [
            before if isinstance(values, Typed) or (part.mask is not None and not any(part.mask)) else kind
            for values, (kind, part), before in zip(table, found, known, strict=True)
        ]
    )
    if seen != known:
        memory.keep(key, seen)
    return Block(names, types, count, None, tuple([part for _, part in found]), changed=_differ(known, seen))


def _differ(known: tuple[int, ...], types: tuple[int, ...]) -> bool:
    return known != types and any(before not in (0, kind) for before, kind in zip(known, types, strict=True))


def named(table: Mapping[Any, Any], memory: Memory, drops: Unread = all_read) -> Block:
    """A dictionary of scalars is one row, one of lists is columns; but for what it `drops`."""
    names = tuple([str(name) for name in table])
    if not names:
        raise CollectError("no_columns", "the dictionary is empty")
    positional = are_positions(table)
    dropped = drops(names, positional)
    columns: list[Any] = list(table.values())
    for at in dropped:
        columns[at] = UNREAD
    columns = kept = [_listed(value) for value in columns]
    if dropped:
        kept = [value for at, value in enumerate(columns) if at not in dropped]
    lists = [isinstance(value, (list, tuple, Typed)) for value in kept]
    if not any(lists):
        block = rows_of([columns], memory, names)
    else:
        if not all(lists):
            raise CollectError("ragged", "a dictionary holds either scalars or columns")
        count = len(kept[0])
        if any(len(value) != count for value in kept):
            raise CollectError("ragged", "the columns differ in length", count)
        if count == 0:
            raise CollectError("no_rows", "there are no rows")
        for at in dropped:
            columns[at] = Typed(unread(count), count)
        block = _columns(columns, count, memory, names, names)
    block.positional = positional
    return block


def _listed(value: Any) -> Any:
    """An array or a series in a dictionary as a list; typed, where a list would be other values: of times in nanoseconds it has
    whole numbers, and of a float32 digits that nobody wrote. Anything else as it is, numpy's scalars too."""
    if not hasattr(value, "tolist") or getattr(value, "shape", None) == ():
        return value
    numpy, pandas = loaded("numpy"), loaded("pandas")
    dtype: Any = getattr(value, "dtype", None)
    if getattr(value, "ndim", 0) > 3:
        # What is refused in a cell, for one row after the other. Images look like this: their numbers are not listed first.
        raise CollectError("unsupported_media", f"an array of {value.ndim} dimensions is no column", len(value))
    # The types of a tensor need not be numpy's: which one it is, its array tells.
    unknown = not hasattr(dtype, "kind") and hasattr(value, "__array__")
    if numpy is None or getattr(value, "ndim", 0) != 1 or not (unknown or _needs_type(dtype)):
        return nested.as_list(value)
    from . import arrays, frames

    if pandas is not None and isinstance(value, (pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)):
        return Typed(frames.pandas_column(pandas.Series(value)), len(value))
    if arrays.is_masked(value):
        return Typed(arrays.masked_column(value), len(value))
    try:
        made = numpy.asarray(value)
    except (RuntimeError, TypeError, ValueError):
        # It requires gradients, or is of a dtype that numpy lacks, and may have a list all the same.
        return nested.as_list(value)
    return Typed(arrays.column(made), len(made)) if _needs_type(made.dtype) else made.tolist()


def _needs_type(dtype: Any) -> bool:
    """True for a dtype whose values a list does not hold as they are."""
    kind = getattr(dtype, "kind", "")
    return kind in ("M", "m") or (kind == "f" and dtype.itemsize < 8)


def are_positions(labels: Iterable[Any]) -> bool:
    """True for whole numbers: they say where a column stands, not what it is called."""
    return all(type(label) is int for label in labels)
