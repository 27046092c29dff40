"""The aggregates of `summarize` as SQL. Nulls do not count, as in Kusto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collectord.query.conversions import comparable, condition, number
from collectord.query.scalars import Scalars
from collectord.query.sql import Column, Fault, Sql
from collectord.query.syntax import Call, Expression

ARITY: Final[Mapping[str, int]] = {
    "count": 0, "countif": 1, "dcount": 1, "dcountif": 2, "sum": 1, "sumif": 2, "avg": 1, "avgif": 2, "min": 1, "minif": 2,
    "max": 1, "maxif": 2, "percentile": 2,
}  # fmt: skip
"""What there is, and how many arguments it takes."""


def is_aggregate(expression: Expression) -> bool:
    """Whether this is itself a call of an aggregate."""
    return isinstance(expression, Call) and expression.function in ARITY


def aggregate(scalars: Scalars, call: Call, columns: Mapping[str, Column]) -> Sql:
    """A call of one of these over rows of `columns`. Raises Fault."""
    name, arguments = call.function, call.arguments
    if len(arguments) != ARITY[name]:
        raise Fault(call.at, f"{name}() takes {ARITY[name] or 'no'} arguments, not {len(arguments)}")
    only = ""
    if name.endswith("if"):
        only = f" FILTER (WHERE {condition(scalars.sql(arguments[-1], columns)).text})"
    base = name.removesuffix("if")
    if base == "count":
        return Sql(f"count(*){only}", "long", call.at)
    value = scalars.sql(arguments[0], columns)
    match base:
        case "dcount":
            return Sql(f"count(DISTINCT {comparable(value).text}){only}", "long", call.at)
        case "min" | "max":
            value = comparable(value)
            found = f"{base}({value.text}){only}"
            return Sql(f"coalesce({found}, '')" if value.type == "string" else found, value.type, call.at)
        case "percentile":
            return _percentile(call, value, scalars.sql(arguments[1], columns))
        case "sum":
            return _sum(call, _measure(base, value), only)
    value = _measure(base, value)
    mean = f"avg({value.text}){only}"
    if value.type == "timespan":
        return Sql(f"TRY_CAST({mean} AS BIGINT)", "timespan", call.at)
    return Sql(mean, "real", call.at)


def _measure(name: str, value: Sql) -> Sql:
    """What can be added up."""
    if value.type == "dynamic":
        return number(value, "real")
    if value.type not in ("long", "real", "timespan"):
        hint = "; todouble(…) converts it" if value.type == "string" else ""
        raise Fault(value.at, f"{name}() takes numbers, not a {value.type}{hint}")
    return value


def _sum(call: Call, value: Sql, only: str) -> Sql:
    if value.type == "real":
        return Sql(f"coalesce(sum({value.text}){only}, 0.0::DOUBLE)", "real", call.at)
    return Sql(f"TRY_CAST(coalesce(sum({value.text}){only}, 0) AS BIGINT)", value.type, call.at)


def _percentile(call: Call, value: Sql, rank: Sql) -> Sql:
    if rank.type not in ("long", "real") or not isinstance(rank.value, int | float) or not 0 <= rank.value <= 100:
        raise Fault(rank.at, "the percentile is a constant from 0 to 100, such as 95")
    if value.type != "datetime":
        value = _measure("percentile", value)
    return Sql(f"quantile_disc({value.text}, {rank.value / 100!r})", value.type, call.at)
