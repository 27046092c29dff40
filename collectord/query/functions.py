"""The functions of values as SQL. A table, so that a question's error can name them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from collectord.query.conversions import (
    boolean,
    condition,
    datetime,
    dynamic,
    number,
    numeric,
    of_one_type,
    text,
    timespan,
)
from collectord.query.operators import arithmetic
from collectord.query.sql import Fault, Sql
from collectord.query.syntax import TypeName

YEAR_ONE: Final = 62_135_596_800_000_000
"""Microseconds from the year 1, where Kusto's bins of time begin, to 1970."""


@dataclass(frozen=True, slots=True)
class Function:
    least: int
    most: int
    """Arguments."""
    make: Callable[[int, list[Sql]], Sql]
    """Gets the place of the call, and the arguments."""


def _simple(kind: TypeName, template: str) -> Function:
    """Of one text."""
    return Function(1, 1, lambda at, given: Sql(template.format(text(given[0]).text), kind, at))


def _ago(at: int, given: list[Sql]) -> Sql:
    """The moment comes as the first argument."""
    moment, back = given
    if back.type != "timespan":
        raise Fault(back.at, f"ago() takes a timespan such as 1h or 7d, not a {back.type}")
    return arithmetic(at, "-", moment, back)


def _now(at: int, given: list[Sql]) -> Sql:
    """Likewise."""
    return arithmetic(at, "+", *given) if len(given) > 1 else given[0]


def _is_null(at: int, given: list[Sql], test: str) -> Sql:
    # For dynamics also JSON's own null.
    made = f"nullif(json_type({given[0].text}), 'NULL')" if given[0].type == "dynamic" else given[0].text
    return Sql(f"({made} {test})", "bool", at)


def _bin(at: int, given: list[Sql]) -> Sql:
    value, step = given
    if value.type == "dynamic":
        value = number(value, "real")
    size = step.value
    if not isinstance(size, int | float) or step.type not in ("long", "real", "timespan"):
        raise Fault(step.at, "the size of a bin is a constant, such as 5m or 10")
    if not 0 < size < 1 << 62:
        raise Fault(step.at, "the size of a bin is more than 0")
    x, s = value.text, step.text
    match value.type, step.type:
        case "datetime", "timespan":
            whole = f"((epoch_us({x}) + {YEAR_ONE}) // {s}) * {s} - {YEAR_ONE}"
            return Sql(f"TRY(make_timestamp({whole}))", "datetime", at)
        case ("timespan", "timespan") | ("long", "long"):
            whole = f"CAST({x} AS HUGEINT) - ((({x}) % {s}) + {s}) % {s}"
            return Sql(f"TRY_CAST(({whole}) AS BIGINT)", value.type, at)
        case ("long" | "real", "long" | "real"):
            return Sql(f"TRY(floor(CAST({x} AS DOUBLE) / {s}) * {s})", "real", at)
    raise Fault(step.at, f"a {value.type} is not put into bins of a {step.type}")


def _start_of_day(at: int, given: list[Sql]) -> Sql:
    if given[0].type != "datetime":
        raise Fault(given[0].at, f"startofday() takes a datetime, not a {given[0].type}")
    return Sql(f"CAST(date_trunc('day', {given[0].text}) AS TIMESTAMP)", "datetime", at)


def _abs(at: int, given: list[Sql]) -> Sql:
    value = numeric(given[0])
    return Sql(f"TRY(abs({value.text}))", value.type, at)


def _round(at: int, given: list[Sql]) -> Sql:
    value = number(numeric(given[0]), "real")
    digits = given[1].value if len(given) > 1 else 0
    if not isinstance(digits, int) or isinstance(digits, bool) or not -300 <= digits <= 300:
        raise Fault(given[1].at, "the number of digits is a constant, such as 2")
    return Sql(f"TRY(round({value.text}, {digits}))", "real", at)


def _strcat(at: int, given: list[Sql]) -> Sql:
    return Sql("concat(" + ", ".join(text(one).text for one in given) + ")", "string", at)


def _replace_string(at: int, given: list[Sql]) -> Sql:
    return Sql(f"replace({', '.join(text(one).text for one in given)})", "string", at)


def _substring(at: int, given: list[Sql]) -> Sql:
    for one in given[1:]:
        if one.type != "long":
            raise Fault(one.at, f"substring() takes whole numbers, not a {one.type}")
    length = f", greatest({given[2].text}, 0)" if len(given) > 2 else ""
    cut = f"TRY(substring({text(given[0]).text}, TRY(greatest({given[1].text}, 0) + 1){length}))"
    return Sql(f"coalesce({cut}, '')", "string", at)


def _case(at: int, given: list[Sql]) -> Sql:
    if len(given) % 2 == 0:
        raise Fault(at, "case() takes conditions, each followed by its value, and at the end the value for all others")
    values = of_one_type([*given[1:-1:2], given[-1]])
    tests = [condition(one) for one in given[:-1:2]]
    branches = " ".join(f"WHEN {test.text} THEN {value.text}" for test, value in zip(tests, values[:-1], strict=True))
    return Sql(f"CASE {branches} ELSE {values[-1].text} END", values[-1].type, at)


def _coalesce(at: int, given: list[Sql]) -> Sql:
    values = of_one_type(given)
    if values[0].type == "string":
        # A text is never null: an empty one gives way.
        return Sql("coalesce(" + ", ".join(f"nullif({one.text}, '')" for one in values) + ", '')", "string", at)
    return Sql("coalesce(" + ", ".join(one.text for one in values) + ")", values[0].type, at)


def _array_length(at: int, given: list[Sql]) -> Sql:
    array = given[0]
    if array.type != "dynamic":
        raise Fault(array.at, f"array_length() takes a dynamic, not a {array.type}")
    counted = f"CAST(json_array_length({array.text}) AS BIGINT)"
    return Sql(f"CASE WHEN json_type({array.text}) = 'ARRAY' THEN {counted} END", "long", at)


_TO_LONG = Function(1, 1, lambda at, given: number(given[0], "long"))
_TO_REAL = Function(1, 1, lambda at, given: number(given[0], "real"))
_TO_BOOL = Function(1, 1, lambda at, given: boolean(given[0]))
_TO_JSON = Function(1, 1, lambda at, given: dynamic(given[0]))
_IFF = Function(3, 3, _case)

FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType({
    "abs": Function(1, 1, _abs),
    "ago": Function(1, 1, _ago),
    "array_length": Function(1, 1, _array_length),
    "bin": Function(2, 2, _bin),
    "case": Function(3, 65, _case),
    "coalesce": Function(2, 64, _coalesce),
    "floor": Function(2, 2, _bin),
    "iff": _IFF,
    "iif": _IFF,
    "isempty": _simple("bool", "({} = '')"),
    "isnotempty": _simple("bool", "({} <> '')"),
    "isnotnull": Function(1, 1, lambda at, given: _is_null(at, given, "IS NOT NULL")),
    "isnull": Function(1, 1, lambda at, given: _is_null(at, given, "IS NULL")),
    "not": Function(1, 1, lambda at, given: Sql(f"(NOT {condition(given[0]).text})", "bool", at)),
    "now": Function(0, 1, _now),
    "parse_json": _TO_JSON,
    "replace_string": Function(3, 3, _replace_string),
    "round": Function(1, 2, _round),
    "startofday": Function(1, 1, _start_of_day),
    "strcat": Function(1, 64, _strcat),
    "strlen": _simple("long", "length({})"),
    "substring": Function(2, 3, _substring),
    "tobool": _TO_BOOL,
    "toboolean": _TO_BOOL,
    "todatetime": Function(1, 1, lambda at, given: datetime(given[0])),
    "todouble": _TO_REAL,
    "todynamic": _TO_JSON,
    "toint": _TO_LONG,
    "tolong": _TO_LONG,
    "tolower": _simple("string", "lower({})"),
    "toreal": _TO_REAL,
    "tostring": Function(1, 1, lambda at, given: text(given[0])),
    "totimespan": Function(1, 1, lambda at, given: timespan(given[0])),
    "toupper": _simple("string", "upper({})"),
})  # fmt: skip

OF_NOW: Final = ("ago", "now")
"""What gets the moment of the question as its first argument."""
