"""What a question in KQL says, as a tree. Every node knows where in the text it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Word

Value = str | int | float | bool | None
TypeName = Word["string", "long", "real", "bool", "datetime", "timespan", "dynamic"]


@dataclass(frozen=True, slots=True)
class Literal:
    """A value. Timespans and datetimes are microseconds, the latter since 1970. None: null."""

    at: int
    type: TypeName
    value: Value


@dataclass(frozen=True, slots=True)
class Name:
    """A column, or a table."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """What lies in a dynamic: `base.key`, `base["key"]`, `base[0]`, one below the other. `places`: where each key begins."""

    at: int
    base: Expression
    keys: tuple[str | int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    at: int
    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """`-operand`."""

    at: int
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; `at` is where the operator stands."""

    at: int
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Logical:
    """`and` or `or` of two operands or more."""

    at: int
    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Among:
    """`in (…)`, `has_any (…)` and their like."""

    at: int
    operator: str
    operand: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Between:
    at: int
    negated: bool
    operand: Expression
    low: Expression
    high: Expression


Expression = Literal | Name | Member | Call | Negative | Binary | Logical | Among | Between


@dataclass(frozen=True, slots=True)
class Item:
    """An expression, and the column that it becomes; empty: named after the expression."""

    at: int
    alias: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Where:
    at: int
    predicate: Expression


@dataclass(frozen=True, slots=True)
class Project:
    at: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class ProjectAway:
    """The names may end with `*`."""

    at: int
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Extend:
    at: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Summarize:
    at: int
    aggregates: tuple[Item, ...]
    by: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What is sorted by."""

    expression: Expression
    ascending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Sort:
    at: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Take:
    at: int
    rows: int


@dataclass(frozen=True, slots=True)
class Distinct:
    """Without names: of all columns."""

    at: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Count:
    at: int


@dataclass(frozen=True, slots=True)
class Join:
    """`join kind=inner (right) on …`. `on`: pairs of a column of the left and one of the right."""

    at: int
    right: Query
    on: tuple[tuple[Name, Name], ...]


Operator = Where | Project | ProjectAway | Extend | Summarize | Sort | Take | Distinct | Count | Join


@dataclass(frozen=True, slots=True)
class Query:
    """A table, and what is done with its rows, in turn."""

    table: Name
    operators: tuple[Operator, ...]
