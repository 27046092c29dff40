"""Which hours a question asks about, as far as its text says so: the others need not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from collectord.query.syntax import (
    Between,
    Binary,
    Call,
    Expression,
    Extend,
    Literal,
    Logical,
    Name,
    Negative,
    Operator,
    Where,
)

TIMESTAMP = "timestamp"
SCORING_TIME = "$aml_dc_scoring_timestamp"
TIMES = (TIMESTAMP, SCORING_TIME)
"""The columns whose value decides under which hour a row is filed."""


@dataclass(frozen=True, slots=True)
class Span:
    """Microseconds since 1970, both included; None: open."""

    first: int | None = None
    last: int | None = None

    def within(self, other: Span) -> Span:
        """What both have."""
        firsts = [one for one in (self.first, other.first) if one is not None]
        lasts = [one for one in (self.last, other.last) if one is not None]
        return Span(max(firsts, default=None), min(lasts, default=None))

    def touches(self, begin: int, end: int) -> bool:
        """Whether it has a moment of [begin, end)."""
        return (self.first is None or self.first < end) and (self.last is None or self.last >= begin)


def span_of(operators: Iterable[Operator], now: int) -> Span:
    """The hours that rows can have which pass these operators of a table. Never too few."""
    span = Span()
    for operator in operators:
        if isinstance(operator, Extend) and not any(item.alias in TIMES or not item.alias for item in operator.items):
            continue
        if not isinstance(operator, Where):
            break
        for conjunct in _conjuncts(operator.predicate):
            span = span.within(_span(conjunct, now))
    return span


def _conjuncts(predicate: Expression) -> Iterator[Expression]:
    if isinstance(predicate, Logical) and predicate.operator == "and":
        for operand in predicate.operands:
            yield from _conjuncts(operand)
    else:
        yield predicate


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


def _span(predicate: Expression, now: int) -> Span:
    match predicate:
        case Binary(_, operator, Name(_, name), value) if name in TIMES and operator in _MIRRORED:
            bound = _moment(value, now)
        case Binary(_, sign, value, Name(_, name)) if name in TIMES and sign in _MIRRORED:
            operator, bound = _MIRRORED[sign], _moment(value, now)
        case Between(_, False, Name(_, name), low, high) if name in TIMES:
            first, last = _moment(low, now), _moment(high, now)
            length = _length(high)
            return Span(first, first + length if first is not None and length is not None else last)
        case _:
            return Span()
    if bound is None:
        return Span()
    return Span(bound if operator in (">", ">=", "==") else None, bound if operator in ("<", "<=", "==") else None)


def _moment(expression: Expression, now: int) -> int | None:
    """The constant point in time that this is."""
    match expression:
        case Literal(_, "datetime", int() as value):
            return value
        case Call(_, "now", ()):
            return now
        case Call(_, "now", (offset,)):
            return _moved(now, _length(offset), 1)
        case Call(_, "ago", (offset,)):
            return _moved(now, _length(offset), -1)
        case Binary(_, ("+" | "-") as operator, moment, offset):
            return _moved(_moment(moment, now), _length(offset), 1 if operator == "+" else -1)
    return None


def _moved(moment: int | None, length: int | None, sign: int) -> int | None:
    return None if moment is None or length is None else moment + sign * length


def _length(expression: Expression) -> int | None:
    """The constant timespan that this is."""
    match expression:
        case Literal(_, "timespan", int() as value):
            return value
        case Negative(_, operand):
            length = _length(operand)
            return None if length is None else -length
    return None
