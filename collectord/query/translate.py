"""A question as one SQL statement: a common table expression for each operator, each over the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from collectord.query.aggregates import ARITY, aggregate, is_aggregate
from collectord.query.conversions import comparable, condition
from collectord.query.errors import KqlError
from collectord.query.functions import FUNCTIONS
from collectord.query.scalars import HIDDEN, TYPES, Scalars, unknown_column, unknown_function
from collectord.query.span import Span, span_of
from collectord.query.sql import Column, Fault, Parameters, Sql
from collectord.query.syntax import (
    Among,
    Between,
    Binary,
    Call,
    Count,
    Distinct,
    Expression,
    Extend,
    Item,
    Join,
    Logical,
    Member,
    Name,
    Negative,
    Operator,
    Project,
    ProjectAway,
    Query,
    Sort,
    Summarize,
    Take,
    TypeName,
    Value,
    Where,
)

if TYPE_CHECKING:
    from collectord.query.tables import Table


class Tables(Protocol):
    """The tables that there are."""

    def find(self, name: str, span: Span) -> Table | str:
        """The table of this name, to be read for these hours; or what is wrong with the name."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A relation that the SQL reads."""

    relation: str
    table: Table


@dataclass(frozen=True, slots=True)
class Statement:
    """A question, ready to be run."""

    sql: str
    parameters: dict[str, Value]
    columns: list[tuple[str, TypeName]]
    sources: list[Source]


@dataclass(frozen=True, slots=True)
class _Relation:
    """What an operator gets, and what it gives."""

    name: str
    columns: tuple[Column, ...]
    order: tuple[str, ...] = ()
    """How its rows are sorted: columns of their own, each with its direction."""
    order_ids: tuple[str, ...] = ()

    @property
    def by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}


def translate(text: str, query: Query, tables: Tables, now: int) -> Statement:
    """The SQL of a question. `now`: microseconds since 1970. Raises KqlError."""
    try:
        return _Translator(tables, now).statement(query)
    except Fault as fault:
        raise KqlError(text, fault.at, fault.why) from None


class _Translator:
    def __init__(self, tables: Tables, now: int) -> None:
        self._tables = tables
        self._now = now
        self._parameters = Parameters()
        self._scalars = Scalars(self._parameters, now)
        self._steps: list[str] = []
        self._sources: list[Source] = []
        self._ids = 0

    def statement(self, query: Query) -> Statement:
        found = self._query(query)
        order = f" ORDER BY {', '.join(found.order)}" if found.order else ""
        chosen = ", ".join(column.id for column in found.columns)
        sql = f"WITH {', '.join(self._steps)} SELECT {chosen} FROM {found.name}{order}"
        columns = [(column.name, column.type) for column in found.columns]
        return Statement(sql, self._parameters.used(sql), columns, self._sources)

    # ------------------------------------------------------------------ steps

    def _step(self, select: str) -> str:
        name = f"s{len(self._steps)}"
        # Its rows come as they are read; they are not gathered first.
        self._steps.append(f"{name} AS NOT MATERIALIZED ({select})")
        return name

    def _id(self) -> str:
        self._ids += 1
        return f"c{self._ids}"

    def _column(self, name: str, sql: Sql) -> tuple[Column, str]:
        """A column that an operator makes, and its SQL."""
        column = Column(name, sql.type, self._id())
        return column, f"{sql.text} AS {column.id}"

    def _query(self, query: Query) -> _Relation:
        found = self._tables.find(query.table.name, span_of(query.operators, self._now))
        if isinstance(found, str):
            raise Fault(query.table.at, found)
        source = Source(f"source{len(self._sources)}", found)
        self._sources.append(source)
        columns, selected = [], []
        for name, kind, sql in found.columns:
            column = Column(name, kind, self._id())
            columns.append(column)
            selected.append(f"{sql} AS {column.id}")
        relation = _Relation(
            self._step(f"SELECT {', '.join(selected)} FROM {found.over(source.relation)}"), tuple(columns)
        )
        for operator in query.operators:
            relation = self._apply(operator, relation)
        return relation

    def _apply(self, operator: Operator, given: _Relation) -> _Relation:
        match operator:
            case Where(_, predicate):
                test = condition(self._scalars.sql(predicate, given.by_name))
                return replace(given, name=self._step(f"SELECT * FROM {given.name} WHERE {test.text}"))
            case Project(at, items):
                return self._project(items, given, keep_others=False)
            case Extend(at, items):
                return self._project(items, given, keep_others=True)
            case ProjectAway(at, names):
                return self._project_away(at, names, given)
            case Summarize(at, aggregates, by):
                return self._summarize(at, aggregates, by, given)
            case Sort():
                return self._sort(operator, given)
            case Take(_, rows):
                order = f" ORDER BY {', '.join(given.order)}" if given.order else ""
                return replace(given, name=self._step(f"SELECT * FROM {given.name}{order} LIMIT {rows}"))
            case Distinct(at, items):
                return self._distinct(items, given)
            case Count():
                column, sql = self._column("Count", Sql("count(*)", "long", operator.at))
                return _Relation(self._step(f"SELECT {sql} FROM {given.name}"), (column,))
            case Join():
                return self._join(operator, given)

    # ------------------------------------------------------------------ columns

    def _project(self, items: Sequence[Item], given: _Relation, *, keep_others: bool) -> _Relation:
        made: dict[str, tuple[Column, str]] = {}
        taken = {column.name for column in given.columns} if keep_others else set[str]()
        for item, name in _named(items, taken):
            if name in made:
                raise Fault(item.at, f"the column {name[:80]!r} is made twice")
            made[name] = self._column(name, self._scalars.sql(item.expression, given.by_name))
        if keep_others:
            kept = {column.name: (column, column.id) for column in given.columns}
            made = {**kept, **made}
        selected = [sql for _, sql in made.values()] + list(given.order_ids)
        name = self._step(f"SELECT {', '.join(selected)} FROM {given.name}")
        return replace(given, name=name, columns=tuple(column for column, _ in made.values()))

    def _project_away(self, at: int, names: Sequence[Name], given: _Relation) -> _Relation:
        gone: set[str] = set()
        for name in names:
            pattern = name.name.endswith("*")
            matching = {
                column.name for column in given.columns
                if (column.name.startswith(name.name[:-1]) if pattern else column.name == name.name)
            }  # fmt: skip
            if not matching and not pattern:
                raise Fault(name.at, unknown_column(name.name, given.by_name))
            gone |= matching
        left = tuple(column for column in given.columns if column.name not in gone)
        if not left:
            raise Fault(at, "this leaves no columns")
        return replace(given, columns=left)

    def _distinct(self, items: Sequence[Item], given: _Relation) -> _Relation:
        chosen = items or [Item(0, "", Name(0, column.name)) for column in given.columns]
        columns: list[tuple[Column, str]] = []
        for item, name in _named(chosen, set()):
            value = self._scalars.sql(item.expression, given.by_name)
            columns.append(self._column(name, comparable(value)))
        selected = ", ".join(sql for _, sql in columns)
        return _Relation(self._step(f"SELECT DISTINCT {selected} FROM {given.name}"), tuple(c for c, _ in columns))

    def _sort(self, sort: Sort, given: _Relation) -> _Relation:
        made, order, ids = [], [], []
        for key in sort.keys:
            value = self._scalars.sql(key.expression, given.by_name)
            value = comparable(value)
            column, sql = self._column("", value)
            made.append(sql)
            ids.append(column.id)
            direction, nulls = ("ASC" if key.ascending else "DESC"), ("FIRST" if key.nulls_first else "LAST")
            order.append(f"{column.id} {direction} NULLS {nulls}")
        kept = [column.id for column in given.columns]
        name = self._step(f"SELECT {', '.join([*kept, *made])} FROM {given.name}")
        return _Relation(name, given.columns, tuple(order), tuple(ids))

    # ------------------------------------------------------------------ summarize

    def _summarize(self, at: int, aggregates: Sequence[Item], by: Sequence[Item], given: _Relation) -> _Relation:
        """First the keys of each row, then a row per group with every aggregate, then what is reckoned of these."""
        names = _named([*by, *aggregates], set())
        keys: list[tuple[Column, str]] = []
        for item, name in names[: len(by)]:
            value = self._scalars.sql(item.expression, given.by_name)
            keys.append(self._column(name, comparable(value)))
        keyed = self._step(f"SELECT *{''.join(f', {sql}' for _, sql in keys)} FROM {given.name}")
        inner: list[tuple[Column, str]] = []
        grouped = {column.name: column for column, _ in keys}
        outer: list[tuple[Column, str]] = []
        for item, name in names[len(by) :]:
            if name in {column.name for column, _ in [*keys, *outer]}:
                raise Fault(item.at, f"the column {name[:80]!r} is made twice")
            rewritten = self._lift(item.expression, given.by_name, inner)
            if rewritten == item.expression:
                raise Fault(item.at, f"an aggregate expected: {', '.join(ARITY)}")
            visible = {**grouped, **{column.name: column for column, _ in inner}}
            outer.append(self._column(name, self._scalars.sql(rewritten, visible)))
        if not keys and not outer:
            raise Fault(at, "summarize makes at least one column")
        selected = [column.id for column, _ in keys] + [sql for _, sql in inner]
        if not inner:
            selected.append("count(*)")
        grouping = f" GROUP BY {', '.join(column.id for column, _ in keys)}" if keys else ""
        groups = self._step(f"SELECT {', '.join(selected)} FROM {keyed}{grouping}")
        chosen = [column.id for column, _ in keys] + [sql for _, sql in outer]
        name = self._step(f"SELECT {', '.join(chosen)} FROM {groups}")
        return _Relation(name, tuple(column for column, _ in [*keys, *outer]))

    def _lift(
        self, expression: Expression, columns: Mapping[str, Column], inner: list[tuple[Column, str]]
    ) -> Expression:
        """The expression with a column of the group in place of each aggregate; these are added to `inner`."""
        if is_aggregate(expression):
            assert isinstance(expression, Call)
            name = f"{HIDDEN}{len(inner)}"
            inner.append(self._column(name, aggregate(self._scalars, expression, columns)))
            return Name(expression.at, name)

        def lifted(one: Expression) -> Expression:
            return self._lift(one, columns, inner)

        match expression:
            case Call(at, function, arguments):
                if function not in FUNCTIONS and function not in TYPES:
                    raise Fault(at, unknown_function(function, list(ARITY)))
                return Call(at, function, tuple(lifted(one) for one in arguments))
            case Negative(at, operand):
                return Negative(at, lifted(operand))
            case Binary(at, operator, left, right):
                return Binary(at, operator, lifted(left), lifted(right))
            case Logical(at, operator, operands):
                return Logical(at, operator, tuple(lifted(one) for one in operands))
            case Among(at, operator, operand, items):
                return Among(at, operator, lifted(operand), tuple(lifted(one) for one in items))
            case Between(at, negated, operand, low, high):
                return Between(at, negated, lifted(operand), lifted(low), lifted(high))
            case Member(at, base, keys, places):
                return Member(at, lifted(base), keys, places)
        return expression

    # ------------------------------------------------------------------ join

    def _join(self, join: Join, left: _Relation) -> _Relation:
        right = self._query(join.right)
        conditions = []
        for mine, theirs in join.on:
            a, b = self._scalars.sql(mine, left.by_name), self._scalars.sql(theirs, right.by_name)
            a, b = (comparable(one) for one in (a, b))
            if a.type != b.type and {a.type, b.type} != {"long", "real"}:
                raise Fault(
                    theirs.at,
                    f"the columns have different types: {mine.name[:80]} is a {a.type}, {theirs.name[:80]} a {b.type}",
                )
            # Every column has an id of its own, so that nothing is ambiguous.
            conditions.append(f"{a.text} = {b.text}")
        taken = {column.name for column in left.columns}
        columns = list(left.columns)
        for column in right.columns:
            name = column.name
            number = 0
            while name in taken:
                number += 1
                name = f"{column.name}{number}"
            taken.add(name)
            columns.append(Column(name, column.type, column.id))
        chosen = ", ".join(column.id for column in columns)
        name = self._step(f"SELECT {chosen} FROM {left.name} JOIN {right.name} ON {' AND '.join(conditions)}")
        return _Relation(name, tuple(columns))


_NAMED_AFTER_ARGUMENT = frozenset(
    ("tostring", "tolong", "toint", "todouble", "toreal", "tobool", "toboolean", "todatetime", "totimespan", "bin", "floor",
     "parse_json", "todynamic", "startofday")
)  # fmt: skip


def _named(items: Sequence[Item], taken: set[str]) -> list[tuple[Item, str]]:
    """Each item with its column's name: its alias, or what Kusto would call it. Names that are made up are kept apart."""
    used = {*taken, *(item.alias for item in items)}
    named: list[tuple[Item, str]] = []
    for item in items:
        name = item.alias
        if not name:
            plain = isinstance(item.expression, Name)
            base = name = _name_of(item.expression) or "Column1"
            number = 1
            while name in used and not plain:
                name = f"{base.removesuffix('1') if base == 'Column1' else base}{number}"
                number += 1
            used.add(name)
        named.append((item, name))
    return named


def _name_of(expression: Expression) -> str:
    match expression:
        case Name(_, name):
            return name
        case Member(_, base, keys, _):
            stem = _name_of(base)
            return "_".join([stem, *map(str, keys)]) if stem else ""
        case Call(_, function, arguments) if function in _NAMED_AFTER_ARGUMENT and arguments:
            return _name_of(arguments[0])
        case Call(_, "percentile", (value, rank)):
            shown = getattr(rank, "value", "")
            return f"percentile_{_name_of(value)}_{shown}"
        case Call(_, function, arguments) if function in ARITY:
            return f"{function}_{_name_of(arguments[0]) if arguments and function != 'countif' else ''}"
    return ""
