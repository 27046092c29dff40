"""JSON records become typed columns in the wire's layout. Pure.

Records are what `DataFrame.to_json(orient="records")` writes: an array of flat objects. Whatever is done for each row or
value is done by C code that Python only sets going (`map`, `array`, `bytes`, `join`); what runs in Python itself runs once
per column. The exceptions are columns of mixed types, a body that is read a second time because the fast reader may
not have told a number or a key exactly, and one with the largest double.

Types: bools are bool, integers int64 (uint64 where all fit only that), floats float64, texts string; a column of integers
and floats is float64 if that loses nothing. Everything else becomes text as it would stand in the CSV, nested values as
JSON. A missing key is a null.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress, repeat
from operator import eq, is_not
from typing import Any, Final

import orjson

from collectord.ingest.payload import BadPayload
from collectord.model import ColumnType

MAX_CELLS: Final = 4 << 20
"""Rows times columns of a payload; a record of three bytes could otherwise stand for any number of nulls."""

OBJECT_WEIGHT: Final = 200
"""Bytes of memory, for one of JSON: nothing weighs more."""

ROUNDED: Final = b"1.797693135e+308"
"""What pandas writes for the largest double, which is what `numpy.nan_to_num` makes of infinity: rounded to ten digits it is
beyond all doubles, and no reader takes it."""
LARGEST: Final = b"1.7976931348623157e+308"

_TOKENS: Final = re.compile(rb'\\.|"|' + re.escape(ROUNDED), re.DOTALL)
_BITS: Final = bytes((0x30, 0x31)) + bytes(254)
_NONE: Final = type(None)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """A column in Arrow's layout, as `ColumnData` of the proto file. An empty `validity`: no nulls."""

    name: str
    type: ColumnType
    validity: bytes
    offsets: bytes
    data: bytes


Cover = Callable[[str], str]
"""What becomes of a value, given as the text it would have in the CSV."""


class Inexact(Exception):
    """There may be an integer beyond 64 bits, which the fast reader has made a float."""


def read(body: bytes | bytearray, covers: Mapping[str, Cover | None]) -> tuple[int, list[Packed]]:
    """The number of rows of a body, and its columns in the order in which they first occur.

    Args:
        covers: by column what becomes of its values; None: the column is left out.

    Raises:
        BadPayload: it is not a JSON array of objects, it is empty, an object names a column twice, there are no columns,
            or too many values.
    """
    if ROUNDED in body:
        body = _with_largest(body)
    records = parse(body)
    count = len(records)
    try:
        return count, pack(records, covers)
    except Inexact:
        pass
    # Not above, where the exception's frames hold the records, and the same would be there a second time.
    del records
    return count, pack(_read_exactly(body), covers, exact=True)


def weight(body: bytes | bytearray) -> int:
    """The bytes of memory that the records of a body take, about and at most; what is in texts counts as if it were JSON."""
    return len(body) + OBJECT_WEIGHT * body.count(b"{") + 64 * body.count(b"[") + 40 * body.count(b",")


def _with_largest(body: bytes | bytearray) -> bytes:
    """The body with the largest double where pandas has rounded it up; texts stay as they are."""
    pieces, at, in_text = [], 0, False
    for token in _TOKENS.finditer(body):
        if token[0] == b'"':
            in_text = not in_text
        elif token[0] == ROUNDED and not in_text:
            pieces += [body[at : token.start()], LARGEST]
            at = token.end()
    return b"".join([*pieces, body[at:]])


def parse(body: bytes | bytearray) -> list[Record]:
    """The records of a body. Raises BadPayload."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadPayload(f"the body is not JSON: {error}") from None
    if type(found) is not list:
        raise BadPayload(
            f"the body is {_kind(found)}; an array of objects is wanted, as to_json(orient='records') writes"
        )
    if not found:
        raise BadPayload("the body is an empty array: there are no rows")
    if set(map(type, found)) != {dict}:
        at = next(at for at, record in enumerate(found) if type(record) is not dict)
        raise BadPayload(f"record {at} is {_kind(found[at])}; each has to be an object")
    # There is one array, and a colon for each key and no more: no key occurs twice, and nothing is nested.
    if body.count(b"[") == 1 and body.count(b":") == sum(map(len, found)):
        return found
    try:
        compact = orjson.dumps(found)
    except TypeError:
        raise BadPayload("the body is nested too deeply") from None
    colons = compact.count(b":")
    del compact
    # A key that occurs twice is lost to the reader, and its colon with it. A colon that is written as an escape would
    # stand for one too many.
    if b"\\u003" in body or body.count(b":") != colons:
        del found
        return _read_exactly(body)
    return found


def pack(records: Sequence[Record], covers: Mapping[str, Cover | None], *, exact: bool = False) -> list[Packed]:
    """The columns of the records. `exact`: all integers are as they were sent. Raises BadPayload, and Inexact."""
    rows = len(records)
    keys, first = list(chain.from_iterable(records)), list(records[0])
    alike = len(keys) == len(first) * rows and keys == first * rows
    names = dict.fromkeys(first if alike else keys)
    del keys
    if rows * len(names) > MAX_CELLS:
        raise BadPayload(
            f"{rows} rows of {len(names)} columns are too many: {MAX_CELLS} values are allowed", status=413
        )
    kept = [name for name in names if covers.get(name, _keep) is not None]
    if not kept:
        raise BadPayload("the records have no columns" + (" but those that the column rules drop" if names else ""))
    if alike and covers.keys().isdisjoint(names):
        floats = _floats(records, first)
        if floats:
            return floats
    columns = ((name, list(map(dict.get, records, repeat(name)))) for name in kept)
    return [_column(name, values, covers.get(name, _keep), exact) for name, values in columns]


def _floats(records: Sequence[Record], names: Sequence[str]) -> list[Packed]:
    """The columns of records that have all of these keys, in this order, if there is nothing but floats in them, as there mostly
    is in features: then one pass over all values does for all columns."""
    values = list(chain.from_iterable(map(dict.values, records)))
    if set(map(type, values)) != {float} or max(map(abs, values)) >= 1 << 63:
        return []
    table, step = array("d", values), len(names)
    return [Packed(name, ColumnType.FLOAT64, b"", b"", table[at::step].tobytes()) for at, name in enumerate(names)]


def _keep(text: str) -> str:
    return text


def _column(name: str, values: list[Any], cover: Cover | None, exact: bool) -> Packed:
    kinds = set(map(type, values))
    nullable = _NONE in kinds
    kinds.discard(_NONE)
    if not exact and (not kinds.isdisjoint((dict, list)) or (float in kinds and _has_large_floats(values, kinds))):
        raise Inexact
    type_ = _type_of(values, kinds)
    validity = _bitmap(values) if nullable else b""
    if cover is not None and cover is not _keep:
        # Each distinct value is covered once.
        texts = _texts(values, type_, kinds)
        covered: dict[str | None, str | None] = {text: cover(text) for text in set(texts) if text is not None}
        return Packed(name, ColumnType.STRING, validity, *_strings(list(map(covered.get, texts)), nullable))
    if type_ is ColumnType.STRING:
        return Packed(name, type_, validity, *_strings(_texts(values, type_, kinds), nullable))
    filled: Iterable[Any] = map({None: 0}.get, values, values) if nullable else values
    if type_ is ColumnType.BOOL:
        return Packed(name, type_, validity, b"", bytes(filled))
    code = {ColumnType.INT64: "q", ColumnType.UINT64: "Q", ColumnType.FLOAT64: "d"}[type_]
    return Packed(name, type_, validity, b"", array(code, filled).tobytes())


def _type_of(values: Sequence[Any], kinds: set[type]) -> ColumnType:
    """Of a column whose values, nulls aside, have these types."""
    if kinds == {bool}:
        return ColumnType.BOOL
    if kinds == {float}:
        return ColumnType.FLOAT64
    numbers = filter(None, values)  # nor zeros, which fit anything
    if kinds == {int}:
        least, most = _span(numbers)
        if least >= -(1 << 63) and most < 1 << 63:
            return ColumnType.INT64
        return ColumnType.UINT64 if least >= 0 and most < 1 << 64 else ColumnType.STRING
    if kinds == {int, float}:
        found = list(numbers)
        least, most = _span(found)
        if max(-least, most) <= 1 << 53 or _all_floats(found):
            return ColumnType.FLOAT64
    return ColumnType.STRING


def _span(numbers: Iterable[Any]) -> tuple[Any, Any]:
    found = list(numbers)
    return min(found, default=0), max(found, default=0)


def _all_floats(numbers: Sequence[Any]) -> bool:
    """Whether a double holds each of them exactly."""
    try:
        return all(map(eq, map(float, numbers), numbers))
    except OverflowError:
        return False


def _texts(values: Sequence[Any], type_: ColumnType, kinds: set[type]) -> Sequence[str | None]:
    """The values as texts, as they would stand in the CSV; nulls stay nulls."""
    if kinds <= {str}:
        return values
    if type_ is ColumnType.FLOAT64:
        return [None if value is None else repr(float(value)) for value in values]
    return [None if value is None else _TEXT[type(value)](value) for value in values]


def _strings(texts: Sequence[str | None], nullable: bool) -> tuple[bytes, bytes]:
    """Offsets and data."""
    empty: dict[Any, Any] = {None: ""}
    filled: Sequence[Any] = list(map(empty.get, texts, texts)) if nullable else texts
    joined = "".join(filled)
    if joined.isascii():
        lengths: Iterable[int] = map(len, filled)
        data = joined.encode()
    else:
        encoded = list(map(str.encode, filled))
        lengths = map(len, encoded)
        data = b"".join(encoded)
    return array("i", accumulate(lengths, initial=0)).tobytes(), data


def _bitmap(values: Sequence[Any]) -> bytes:
    """One bit for each value that is no null, least significant first."""
    digits = bytes(map(is_not, values, repeat(None))).translate(_BITS)
    return int(digits[::-1], 2).to_bytes((len(values) + 7) // 8, "little")


def _has_large_floats(values: Sequence[Any], kinds: set[type]) -> bool:
    """Whether a float among them may be an integer beyond 64 bits."""
    floats: Any = filter(None, values)
    if kinds != {float}:
        floats = compress(values, map(isinstance, values, repeat(float)))
    return max(map(abs, floats), default=0.0) >= 1 << 63


def _read_exactly(body: bytes | bytearray) -> list[Record]:
    """The records of a body that `orjson` has read, with all integers as they are."""
    found = json.loads(body, object_pairs_hook=_distinct)
    assert isinstance(found, list)
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise BadPayload(f"an object names {twice[:100]!r} twice")
    return record


def _as_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "a bool", int: "a number", float: "a number"}
    return names.get(type(value), "null")


_TEXT: Final[dict[type, Callable[[Any], str]]] = {
    str: str,
    bool: {True: "true", False: "false"}.__getitem__,
    int: str,
    float: repr,
    dict: _as_json,
    list: _as_json,
}
