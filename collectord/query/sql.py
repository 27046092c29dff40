"""Pieces of SQL with their types, and what goes with them.

A text is never null in Kusto, so SQL of type string never is here. A timespan is a number of microseconds, a dynamic DuckDB's JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from collectord.query.syntax import TypeName, Value

MAX_SQL = 100_000
"""Characters of one expression: one that holds its operands twice would else double with each level."""

SQL_TYPES: Final[Mapping[TypeName, str]] = {
    "string": "VARCHAR", "long": "BIGINT", "real": "DOUBLE", "bool": "BOOLEAN", "datetime": "TIMESTAMP",
    "timespan": "BIGINT", "dynamic": "JSON",
}  # fmt: skip


class Fault(Exception):
    """Something in a question means nothing. `at`: where in its text. Becomes a KqlError."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at = at
        self.why = why


_PARAMETER = re.compile(r"\$(p\d+)")


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression in SQL."""

    text: str
    type: TypeName
    at: int
    """Where it begins in the question."""
    value: Value = None
    """That of a literal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of what an operator gets."""

    name: str
    type: TypeName
    id: str
    """Its name in SQL. Never a user's: DuckDB takes no notice of case."""


class Parameters:
    """The values that go with the SQL."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def add(self, value: Value) -> str:
        """SQL for the value."""
        name = f"p{len(self._values)}"
        self._values[name] = value
        return f"${name}"

    def used(self, sql: str) -> dict[str, Value]:
        """Those that the SQL names, by name: DuckDB takes no others, and a constant such as a percentile's is none."""
        return {name: self._values[name] for name in dict.fromkeys(_PARAMETER.findall(sql))}


def checked(found: Sql, at: int) -> Sql:
    """The same. Raises Fault if it is too long."""
    if len(found.text) > MAX_SQL:
        raise Fault(at, "this is too complex; split it by extend")
    return found
