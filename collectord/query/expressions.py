"""An expression in KQL as a tree: from `or`, which binds least, down to a name or a value."""

from __future__ import annotations

from collections.abc import Callable

from collectord.query.cursor import COMPARISONS, INFIX, MAX_CHAIN, MAX_DEPTH, RANGES, SETS, TEXT_OPERATORS, Cursor
from collectord.query.errors import listed, suggestion
from collectord.query.moments import microseconds_of
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
from collectord.query.tokens import Kind, Token

_VALUES: dict[Kind, TypeName] = {
    Kind.STRING: "string", Kind.LONG: "long", Kind.REAL: "real", Kind.TIMESPAN: "timespan"
}  # fmt: skip


class Expressions:
    """Reads them where the cursor stands, and leaves it behind them."""

    def __init__(self, words: Cursor) -> None:
        self._words = words

    def read(self) -> Expression:
        return self._logical("or", lambda: self._logical("and", self._comparison))

    def _logical(self, word: str, operand: Callable[[], Expression]) -> Expression:
        words = self._words
        first = operand()
        if not words.is_word(word):
            return first
        token = words.next
        operands = [first]
        while words.accept_word(word):
            operands.append(operand())
            if len(operands) > MAX_CHAIN:
                words.fail(words.next, f"more than {MAX_CHAIN} operands of '{word}'; `in (…)` may say it shorter")
        return Logical(token.start, word, tuple(operands))

    def _comparison(self) -> Expression:
        words = self._words
        left = self._sum()
        token = words.next
        word = str(token.value) if token.kind in (Kind.NAME, Kind.SIGN) else ""
        if word in COMPARISONS or word in TEXT_OPERATORS:
            words.take()
            return Binary(token.start, "!=" if word == "<>" else word, left, self._sum())
        if word in SETS:
            words.take()
            return Among(token.start, word, left, self._set(word))
        if word in RANGES:
            words.take()
            low, high = self._range()
            return Between(token.start, word[0] == "!", left, low, high)
        if word == "=":
            words.fail(token, "'=' names a column; to compare, write == or =~")
        if word == "matches":
            words.fail(token, "matches regex is not supported; contains, has, startswith and endswith are")
        if word in ("and", "or", "by"):
            return left
        if token.kind is Kind.NAME and words.following.kind in (Kind.STRING, Kind.LONG, Kind.REAL):
            words.fail(token, f"{token} is no operator that is supported{suggestion(word, INFIX)}; {listed(INFIX)} are")
        return left

    def _set(self, word: str) -> tuple[Expression, ...]:
        words = self._words
        opening = words.expect("(", f"'(' and a list, as in {word} (1, 2),")
        with words.deeper(opening):
            items = words.several(self.read)
        if words.is_sign("|"):
            words.fail(words.next, f"a question within {word} (…) is not supported; a list of values is, and join")
        words.expect(")", "',' or ')'")
        return items

    def _range(self) -> tuple[Expression, Expression]:
        words = self._words
        words.expect("(", "'(' and a range, as in between (1 .. 5),")
        low = self._sum()
        words.expect("..", "'..'")
        high = self._sum()
        words.expect(")", "')'")
        return low, high

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/", "%"), self._signed))

    def _chain(self, signs: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        words = self._words
        found = operand()
        length = 1
        while words.is_sign(*signs):
            token = words.take()
            found = Binary(token.start, str(token.value), found, operand())
            length += 1
            if length > MAX_DEPTH:
                words.fail(token, f"more than {MAX_DEPTH} operands in a row")
        return found

    def _signed(self) -> Expression:
        words = self._words
        if not words.is_sign("-", "+"):
            return self._member()
        token = words.take()
        with words.deeper(token):
            operand = self._signed()
        if token.value == "+":
            return operand
        if isinstance(operand, Literal) and isinstance(operand.value, int | float) and operand.type != "bool":
            return Literal(token.start, operand.type, -operand.value)
        return Negative(token.start, operand)

    def _member(self) -> Expression:
        """A value, and the keys behind it that lead into a dynamic."""
        words = self._words
        found = self._value()
        keys: list[str | int] = []
        places: list[int] = []
        while words.is_sign(".", "["):
            sign = words.take()
            places.append(words.next.start)
            keys.append(self._key(sign))
        if not keys:
            return found
        if len(keys) > MAX_DEPTH:
            words.fail(words.next, f"more than {MAX_DEPTH} properties below each other")
        return Member(found.at, found, tuple(keys), tuple(places))

    def _key(self, sign: Token) -> str | int:
        """What follows on `.` or `[`: `.name`, `["name"]`, `[0]`, and also `.["name"]`."""
        words = self._words
        if sign.value == "." and not words.accept("["):
            token = words.take()
            if token.kind is not Kind.NAME:
                words.fail(token, f"the name of a property expected, not {token}")
            return str(token.value)
        negative = words.accept("-")
        token = words.take()
        key: str | int
        if token.kind is Kind.STRING and not negative:
            key = str(token.value)
        elif token.kind is Kind.LONG:
            key = -int(token.value) if negative else int(token.value)
        else:
            words.fail(token, f"a key in quotes or a number expected, not {token}; other indexes are not supported")
        words.expect("]", "']'")
        return key

    def _value(self) -> Expression:
        words = self._words
        token = words.next
        if token.kind in _VALUES:
            words.take()
            return Literal(token.start, _VALUES[token.kind], token.value)
        if token.kind is Kind.DATETIME:
            words.take()
            moment = microseconds_of(str(token.value))
            if moment is None:
                words.fail(
                    token, f"{token} is no datetime; write datetime(2026-11-21) or datetime(2026-11-21 17:30:00)"
                )
            return Literal(token.start, "datetime", moment)
        if token.kind is Kind.NAME:
            return self._named()
        if words.accept("("):
            with words.deeper(token):
                inner = self.read()
            words.expect(")", "')'")
            return inner
        name = words.accept_name()
        if name is None:
            words.expected("a column, a value or a function")
        return name

    def _named(self) -> Expression:
        words = self._words
        token = words.take()
        word = str(token.value)
        if word in ("true", "false"):
            return Literal(token.start, "bool", word == "true")
        if not words.is_sign("("):
            return Name(token.start, word)
        opening = words.take()
        arguments: list[Expression] = []
        with words.deeper(opening):
            if not words.is_sign(")"):
                arguments.append(self.read())
                while words.accept(","):
                    if words.is_sign("*"):
                        words.fail(token, f"{word}() of all columns, '*', is not supported")
                    arguments.append(self.read())
        words.close("',' or ')'")
        return Call(token.start, word, tuple(arguments))
