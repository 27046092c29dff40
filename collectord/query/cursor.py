"""A place in the words of a text in KQL: what stands there, and what is said where something else was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn, TypeVar

from collectord.query.errors import KqlError, suggestion
from collectord.query.syntax import Name
from collectord.query.tokens import Kind, Token, tokens

MAX_DEPTH: Final = 40
"""Brackets within brackets."""
MAX_CHAIN: Final = 500
"""Operands of one `and`, `or`, `+` …; operators of one question."""

TEXT_OPERATORS: Final = (
    "contains", "!contains", "contains_cs", "!contains_cs", "has", "!has", "has_cs", "!has_cs", "startswith", "!startswith",
    "startswith_cs", "!startswith_cs", "endswith", "!endswith", "endswith_cs", "!endswith_cs", "=~", "!~",
)  # fmt: skip
COMPARISONS: Final = ("==", "!=", "<>", "<", "<=", ">", ">=")
SETS: Final = ("in", "!in", "in~", "!in~", "has_any", "has_all")
RANGES: Final = ("between", "!between")
INFIX: Final = (*COMPARISONS, *TEXT_OPERATORS, *SETS, *RANGES, "and", "or")
"""What stands between two operands."""

_One = TypeVar("_One")


class Cursor:
    """Goes from word to word."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self.at = 0
        """The number of the word that comes next. May be set back."""
        self._depth = 0

    @property
    def next(self) -> Token:
        return self._tokens[self.at]

    @property
    def following(self) -> Token:
        """The one after that; at the end, the end."""
        return self._tokens[min(self.at + 1, len(self._tokens) - 1)]

    def take(self) -> Token:
        token = self.next
        if token.kind is not Kind.END:
            self.at += 1
        return token

    def is_sign(self, *signs: str) -> bool:
        return self.next.kind is Kind.SIGN and self.next.value in signs

    def is_word(self, *words: str) -> bool:
        return self.next.kind is Kind.NAME and self.next.value in words

    def adjoins(self) -> bool:
        """Whether nothing lies between the next word and the one before it."""
        return self.at > 0 and self.next.start == self._tokens[self.at - 1].end

    def accept(self, sign: str) -> bool:
        found = self.is_sign(sign)
        self.at += found
        return found

    def accept_word(self, word: str) -> bool:
        found = self.is_word(word)
        self.at += found
        return found

    def expect(self, sign: str, what: str) -> Token:
        if not self.is_sign(sign):
            self.expected(what)
        return self.take()

    def expect_word(self, word: str, what: str) -> None:
        if not self.accept_word(word):
            self.expected(what)

    def several(self, read: Callable[[], _One]) -> tuple[_One, ...]:
        """One or more of what `read` reads, with commas between."""
        found = [read()]
        while self.accept(","):
            found.append(read())
        return tuple(found)

    def close(self, expected: str) -> None:
        """Expects the bracket that ends what `expected` could go on with."""
        if not self.accept(")"):
            self.stray(expected)

    def name(self, what: str) -> Name:
        found = self.accept_name()
        if found is None:
            self.expected(what)
        return found

    def accept_name(self) -> Name | None:
        """The name that stands here, if one does: a word, or a text in brackets."""
        token = self.next
        if token.kind is Kind.NAME:
            self.at += 1
            return Name(token.start, str(token.value))
        if not self.is_sign("["):
            return None
        text, closing = self.following, self._tokens[min(self.at + 2, len(self._tokens) - 1)]
        if text.kind is not Kind.STRING or closing.kind is not Kind.SIGN or closing.value != "]":
            return None
        name = str(text.value)
        if not name or any(ord(char) < 32 or ord(char) == 127 for char in name):
            self.fail(text, "a name is not empty and has no control characters")
        self.at += 3
        return Name(token.start, name)

    @contextmanager
    def deeper(self, token: Token) -> Iterator[None]:
        """What lies within the bracket `token`."""
        if self._depth >= MAX_DEPTH:
            self.fail(token, f"more than {MAX_DEPTH} brackets lie within each other")
        self._depth += 1
        yield
        self._depth -= 1

    def fail(self, token: Token, why: str) -> NoReturn:
        raise KqlError(self._text, token.start, why)

    def expected(self, what: str) -> NoReturn:
        self.fail(self.next, f"{what} expected, not {self.next}")

    def stray(self, expected: str) -> NoReturn:
        """The next word fits nowhere; it may be an operator that is written otherwise."""
        token = self.next
        if token.kind in (Kind.NAME, Kind.SIGN) and token.value not in ("|", "(", ")", ",", "=", ";"):
            close = suggestion(str(token.value), INFIX)
            if close:
                self.fail(token, f"{token} is no operator that is supported{close}")
        self.expected(expected)
