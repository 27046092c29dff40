"""Values of an answer as people and programs read them. Times are UTC."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pyarrow as pa

from collectord.query.syntax import TypeName

_DAY, _HOUR, _MINUTE, _SECOND = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """The rows of an answer. A time that Python cannot hold comes as a text."""
    return zip(*(_values(column) for column in batch.columns), strict=True)


def _values(column: pa.Array[Any]) -> list[Any]:
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        return column.cast(pa.string()).to_pylist()


def shown(value: Any, kind: TypeName | None) -> str:
    """As a text; empty for null."""
    value = plain(value, kind)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def plain(value: Any, kind: TypeName | None) -> Any:
    """As a value that JSON has."""
    if value is None:
        return None
    match kind:
        case "timespan":
            return timespan(int(value))
        case "dynamic":
            return _parsed(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            moment = value.astimezone(timezone.utc).replace(tzinfo=None) if value.tzinfo else value
            return moment.isoformat(timespec="microseconds") + "Z"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return timespan(value // timedelta(microseconds=1))
        case float():
            return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case bool() | int() | str() | None:
            return value
    return str(value)


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Too deep, or a number that Python refuses: its text says as much.
        return str(text)


def timespan(microseconds: int) -> str:
    """As Kusto writes it: `[-][d.]hh:mm:ss[.fffffff]`."""
    rest = abs(microseconds)
    days, rest = divmod(rest, _DAY)
    hours, rest = divmod(rest, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    seconds, rest = divmod(rest, _SECOND)
    sign = "-" if microseconds < 0 else ""
    return f"{sign}{f'{days}.' if days else ''}{hours:02}:{minutes:02}:{seconds:02}{f'.{rest:06}0' if rest else ''}"


def unique(names: Sequence[str]) -> list[str]:
    """Names as keys of one object: what SQL calls the same twice is kept apart."""
    found: list[str] = []
    for name in names:
        number, key = 1, name
        while key in found:
            number += 1
            key = f"{name}_{number}"
        found.append(key)
    return found
