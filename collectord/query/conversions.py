"""From one type to another: what Kusto converts by itself, and what its `to…()` functions do. Where nothing can be made of a value
it becomes null, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from collectord.query.sql import SQL_TYPES, Fault, Sql
from collectord.query.syntax import TypeName

_CONVERTERS: Final[Mapping[TypeName, str]] = {
    "long": "tolong", "real": "todouble", "bool": "tobool", "datetime": "todatetime", "timespan": "totimespan"
}  # fmt: skip


def text(given: Sql) -> Sql:
    """As a text, never null."""
    match given.type:
        case "string":
            return given
        case "dynamic":
            made = f"json_extract_string({given.text}, '$')"
        case "datetime":
            made = f"strftime({given.text}, '%Y-%m-%dT%H:%M:%S.%f0Z')"
        case "timespan":
            made = _timespan_text(given.text)
        case _:
            made = f"CAST({given.text} AS VARCHAR)"
    return Sql(f"coalesce({made}, '')", "string", given.at)


def number(given: Sql, kind: TypeName) -> Sql:
    """As `long` or `real`."""
    if given.type == kind:
        return given
    made = given.text
    if given.type in ("string", "dynamic"):
        made = text(given).text
        if kind == "long":
            # DuckDB would round a text with a point.
            made = f"regexp_extract({made}, '^\\s*([+-]?[0-9]+)(?:\\.0*)?\\s*$', 1)"
    elif given.type == "datetime":
        raise Fault(given.at, "a datetime is no number")
    elif kind == "long" and given.type == "real":
        made = f"trunc({made})"
    return Sql(f"TRY_CAST({made} AS {SQL_TYPES[kind]})", kind, given.at)


def numeric(given: Sql) -> Sql:
    """What can be reckoned with: a dynamic as a real."""
    if given.type == "dynamic":
        return number(given, "real")
    if given.type not in ("long", "real", "timespan"):
        hint = "; todouble(…) converts it" if given.type == "string" else ""
        raise Fault(given.at, f"a number expected, not a {given.type}{hint}")
    return given


def condition(given: Sql) -> Sql:
    """As what `where` takes."""
    if given.type == "dynamic":
        return boolean(given)
    if given.type != "bool":
        raise Fault(given.at, f"a condition expected, such as x == 1, not a {given.type}")
    return given


def boolean(given: Sql) -> Sql:
    match given.type:
        case "bool":
            return given
        case "long" | "real":
            return Sql(f"({given.text} <> 0)", "bool", given.at)
        case "string" | "dynamic":
            return Sql(f"TRY_CAST({text(given).text} AS BOOLEAN)", "bool", given.at)
    raise Fault(given.at, f"a {given.type} is no bool")


def datetime(given: Sql) -> Sql:
    match given.type:
        case "datetime":
            return given
        case "string" | "dynamic":
            made = f"make_timestamp(epoch_us(TRY_CAST({text(given).text} AS TIMESTAMPTZ)))"
            return Sql(f"TRY({made})", "datetime", given.at)
    raise Fault(given.at, f"a {given.type} is no datetime")


def timespan(given: Sql) -> Sql:
    match given.type:
        case "timespan":
            return given
        case "string" | "dynamic":
            made = f"TRY(epoch_us(TRY_CAST({text(given).text} AS INTERVAL)))"
            return Sql(f"TRY_CAST({made} AS BIGINT)", "timespan", given.at)
    raise Fault(given.at, f"a {given.type} is no timespan; multiply it, as in x * 1s")


def dynamic(given: Sql) -> Sql:
    """The JSON that a text is."""
    if given.type == "dynamic":
        return given
    return Sql(f"TRY_CAST({text(given).text} AS JSON)", "dynamic", given.at)


def to(given: Sql, kind: TypeName) -> Sql:
    """As the type of what it is compared with; numbers of either kind can be."""
    match kind:
        case "long" | "real":
            return given if given.type == kind else number(given, "real")
        case "bool":
            return boolean(given)
        case "datetime":
            return datetime(given)
        case "timespan":
            return timespan(given)
        case "dynamic":
            return dynamic(given)
    return text(given)


def alike(at: int, operator: str, left: Sql, right: Sql) -> tuple[Sql, Sql]:
    """Both as types that can be compared. `at`: the operator's place."""
    kinds = {left.type, right.type}
    if kinds <= {"dynamic", "string"}:
        return text(left), text(right)
    if "dynamic" in kinds:
        other = left.type if right.type == "dynamic" else right.type
        return to(left, other), to(right, other)
    if kinds <= {"long", "real"} or len(kinds) == 1:
        return left, right
    if kinds == {"bool", "string"} and operator in ("==", "!="):
        # Application Insights' `success` is a text, "True" or "False".
        return _folded(left), _folded(right)
    other = left.type if right.type == "string" else right.type
    hint = f"; {_CONVERTERS[other]}(…) converts a text" if "string" in kinds else ""
    raise Fault(at, f"a {left.type} and a {right.type} cannot be compared{hint}")


def of_one_type(given: Sequence[Sql]) -> list[Sql]:
    """All of them as the one type that they can have."""
    kinds = {one.type for one in given}
    if len(kinds) == 1:
        return list(given)
    if kinds == {"long", "real"}:
        return [number(one, "real") for one in given]
    if kinds == {"dynamic", "string"}:
        return [text(one) for one in given]
    other = next(one for one in given if one.type != given[0].type)
    raise Fault(other.at, f"the values have different types: {given[0].type} and {other.type}")


def comparable(given: Sql) -> Sql:
    """What can be grouped and sorted by: a dynamic as its text."""
    return text(given) if given.type == "dynamic" else given


def _folded(given: Sql) -> Sql:
    return Sql(f"lower({text(given).text})", "string", given.at)


def _timespan_text(microseconds: str) -> str:
    """SQL for `[-][d.]hh:mm:ss[.fffffff]`."""
    rest = "(abs(v) % 86400000000)"
    two = [
        f"lpad(CAST({rest} // {unit}{' % 60' if unit < 3_600_000_000 else ''} AS VARCHAR), 2, '0')"
        for unit in (3_600_000_000, 60_000_000, 1_000_000)
    ]
    days = "CASE WHEN abs(v) >= 86400000000 THEN concat(abs(v) // 86400000000, '.') ELSE '' END"
    part = (
        f"CASE WHEN v % 1000000 <> 0 THEN concat('.', lpad(CAST({rest} % 1000000 AS VARCHAR), 6, '0'), '0') ELSE '' END"
    )
    joined = ", ':', ".join(two)
    shown = f"concat(CASE WHEN v < 0 THEN '-' ELSE '' END, {days}, {joined}, {part})"
    # The operand stands there once, however often its value is needed.
    return f"list_transform([{microseconds}], lambda v: CASE WHEN v IS NOT NULL THEN {shown} END)[1]"
