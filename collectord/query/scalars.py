"""Expressions as SQL. Values go as bound parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from collectord.query.conversions import boolean, condition, datetime, number, timespan
from collectord.query.errors import listed, suggestion
from collectord.query.functions import FUNCTIONS, OF_NOW
from collectord.query.moments import as_datetime
from collectord.query.operators import among, between, binary, negative
from collectord.query.sql import SQL_TYPES, Column, Fault, Parameters, Sql, checked
from collectord.query.syntax import (
    Among,
    Between,
    Binary,
    Call,
    Expression,
    Literal,
    Logical,
    Member,
    Name,
    Negative,
    TypeName,
)

TYPES: Final[Mapping[str, TypeName]] = {
    "int": "long", "long": "long", "real": "real", "double": "real", "decimal": "real", "bool": "bool", "datetime": "datetime",
    "date": "datetime", "timespan": "timespan", "time": "timespan", "dynamic": "dynamic",
}  # fmt: skip
"""What `type(constant)` may be written with."""
HIDDEN: Final = "\0"
"""How a name begins that nobody can write."""


class Scalars:
    """Translates the expressions of one question."""

    def __init__(self, parameters: Parameters, now: int) -> None:
        """`now`: microseconds since 1970, the same in the whole question."""
        self._parameters = parameters
        self._now = now

    def sql(self, expression: Expression, columns: Mapping[str, Column]) -> Sql:
        """An expression over these columns. Raises Fault."""
        return checked(self._sql(expression, columns), expression.at)

    def _sql(self, expression: Expression, columns: Mapping[str, Column]) -> Sql:
        match expression:
            case Literal():
                return self._literal(expression)
            case Name(at, name):
                column = columns.get(name)
                if column is None:
                    raise Fault(at, unknown_column(name, columns))
                return Sql(column.id, column.type, at)
            case Member():
                return self._member(expression, columns)
            case Call(at, name, _) if name in TYPES:
                return self._typed(expression, columns)
            case Call(at, name, arguments):
                return self._call(at, name, [self.sql(one, columns) for one in arguments])
            case Negative(at, operand):
                return negative(at, self.sql(operand, columns))
            case Logical(at, word, operands):
                texts = [condition(self.sql(operand, columns)).text for operand in operands]
                return Sql("(" + f" {word.upper()} ".join(texts) + ")", "bool", at)
            case Binary(at, operator, left, right):
                return binary(self._parameters, at, operator, self.sql(left, columns), self.sql(right, columns))
            case Among(at, operator, operand, items):
                chosen = [self.sql(item, columns) for item in items]
                return among(self._parameters, at, operator, self.sql(operand, columns), chosen)
            case Between(at, negated, operand, low, high):
                value, bounds = self.sql(operand, columns), (self.sql(low, columns), self.sql(high, columns))
                return between(at, negated, value, *bounds)

    def _literal(self, literal: Literal) -> Sql:
        placed = self._parameters.add(literal.value)
        if literal.type == "datetime":
            assert isinstance(literal.value, int)
            if as_datetime(literal.value) is None:
                raise Fault(literal.at, "this datetime is out of range")
            return Sql(f"make_timestamp(CAST({placed} AS BIGINT))", "datetime", literal.at, literal.value)
        return Sql(f"CAST({placed} AS {SQL_TYPES[literal.type]})", literal.type, literal.at, literal.value)

    def _member(self, member: Member, columns: Mapping[str, Column]) -> Sql:
        base = self.sql(member.base, columns)
        if base.type != "dynamic":
            hint = "; parse_json(…) makes one of a text" if base.type == "string" else ""
            raise Fault(member.places[0], f"a {base.type} has no properties: only a dynamic has{hint}")
        text, pointer = base.text, ""
        for key in member.keys:
            if isinstance(key, int) and key < 0:
                text = self._extract(text, pointer) if pointer else text
                text, pointer = self._extract(text, f"$[#{key}]"), ""
            else:
                pointer += "/" + str(key).replace("~", "~0").replace("/", "~1")
        return Sql(self._extract(text, pointer) if pointer else text, "dynamic", member.at)

    def _extract(self, text: str, path: str) -> str:
        return f"json_extract({text}, {self._parameters.add(path)}::VARCHAR)"

    def _call(self, at: int, name: str, given: list[Sql]) -> Sql:
        function = FUNCTIONS.get(name)
        if function is None:
            raise Fault(at, unknown_function(name))
        if not function.least <= len(given) <= function.most:
            few = str(function.least)
            wanted = few if function.least == function.most else f"{few} to {function.most}"
            raise Fault(at, f"{name}() takes {wanted} arguments, not {len(given)}")
        if name in OF_NOW:
            given = [self._literal(Literal(at, "datetime", self._now)), *given]
        return function.make(at, given)

    def _typed(self, call: Call, columns: Mapping[str, Column]) -> Sql:
        """`long(null)`, `datetime("…")` and their like."""
        if len(call.arguments) != 1:
            raise Fault(call.at, f"{call.function}() takes 1 argument, not {len(call.arguments)}")
        kind, argument = TYPES[call.function], call.arguments[0]
        if isinstance(argument, Name) and argument.name == "null":
            return Sql(f"CAST(NULL AS {SQL_TYPES[kind]})", kind, call.at)
        if kind == "dynamic":
            raise Fault(call.at, "dynamic(…) is not supported, but for dynamic(null); parse_json('…') is")
        if not isinstance(argument, Literal):
            raise Fault(
                argument.at, f"{call.function}(…) takes a constant; to{call.function}(…) converts what a column holds"
            )
        given = self.sql(argument, columns)
        match kind:
            case "long" | "real":
                return number(given, kind)
            case "bool":
                return boolean(given)
            case "datetime":
                return datetime(given)
        return timespan(given)


def unknown_column(name: str, columns: Mapping[str, Column]) -> str:
    """What to say of a name that is none of the columns."""
    known = [one for one in columns if not one.startswith(HIDDEN)]
    said = f"the columns here are {listed(known)}" if known else "there are no columns here"
    return f"there is no column {name[:80]!r}{suggestion(name, known)}; {said}"


def unknown_function(name: str, more: Sequence[str] = ()) -> str:
    """What to say of a call of something that is no function."""
    known = sorted([*FUNCTIONS, *more])
    return f"the function {name[:80]}() is not supported{suggestion(name, known)}; supported are {listed(known, 99)}"
