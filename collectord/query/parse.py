"""A text in KQL as a tree: a table, and one operator behind the other. What is not supported is an error that points at the
word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collectord.query.cursor import MAX_CHAIN, Cursor
from collectord.query.errors import listed, suggestion
from collectord.query.expressions import Expressions
from collectord.query.syntax import (
    Count,
    Distinct,
    Extend,
    Item,
    Join,
    Key,
    Name,
    Operator,
    Project,
    ProjectAway,
    Query,
    Sort,
    Summarize,
    Take,
    Where,
)
from collectord.query.tokens import Kind, Token

MAX_JOINS: Final = 16
_OTHERWISE: Final = ("let", "print", "union", "search", "datatable", "find", "evaluate")
"""How a text in KQL may begin elsewhere."""


def parse(text: str) -> Query:
    """The question that a text asks. Raises KqlError."""
    return _Questions(Cursor(text)).read()


class _Questions:
    """Reads a question where the cursor stands; one that is joined, too."""

    def __init__(self, words: Cursor) -> None:
        self._words = words
        self._expressions = Expressions(words)
        self._joins = 0
        self._operators: dict[str, Callable[[Token], list[Operator]]] = {
            "where": self._where, "filter": self._where, "project": self._project, "project-away": self._project_away,
            "extend": self._extend, "summarize": self._summarize, "sort": self._sort, "order": self._sort, "top": self._top,
            "take": self._take, "limit": self._take, "distinct": self._distinct, "count": self._count, "join": self._join,
        }  # fmt: skip

    def read(self) -> Query:
        """The whole text."""
        query = self._query()
        self._words.accept(";")
        if self._words.next.kind is not Kind.END:
            self._words.stray("'|' and an operator, or the end")
        return query

    def _query(self) -> Query:
        words = self._words
        token = words.next
        if words.is_word(*_OTHERWISE) and words.following.kind is not Kind.END and words.following.value != "|":
            words.fail(token, f"{token.value} is not supported; a question begins with a table, such as traces")
        table = words.name("a table, such as traces or ['my-service/model/inputs'],")
        operators: list[Operator] = []
        while words.accept("|"):
            operators += self._operator()
            if len(operators) > MAX_CHAIN:
                words.fail(words.next, f"a question has at most {MAX_CHAIN} operators")
        return Query(table, tuple(operators))

    def _operator(self) -> list[Operator]:
        words = self._words
        token = words.next
        if token.kind is not Kind.NAME:
            words.expected("an operator, such as where,")
        word = self._hyphenated()
        read = self._operators.get(word)
        if read is None:
            words.fail(
                token,
                f"the operator {word[:80]} is not supported{suggestion(word, self._operators)}; supported are "
                f"{listed(self._operators)}",
            )
        return read(token)

    def _hyphenated(self) -> str:
        """A name; project-away and its like are one."""
        words = self._words
        word = str(words.take().value)
        while words.is_sign("-") and words.adjoins():
            follower = words.following
            if follower.start != words.next.end or follower.kind is not Kind.NAME:
                break
            word = f"{word}-{follower.value}"
            words.at += 2
        return word

    # ------------------------------------------------------------------ operators

    def _where(self, token: Token) -> list[Operator]:
        return [Where(token.start, self._expressions.read())]

    def _project(self, token: Token) -> list[Operator]:
        return [Project(token.start, self._words.several(self._item))]

    def _project_away(self, token: Token) -> list[Operator]:
        return [ProjectAway(token.start, self._words.several(self._pattern))]

    def _extend(self, token: Token) -> list[Operator]:
        return [Extend(token.start, self._words.several(self._item))]

    def _summarize(self, token: Token) -> list[Operator]:
        aggregates = () if self._words.is_word("by") else self._words.several(self._item)
        by = self._words.several(self._item) if self._words.accept_word("by") else ()
        return [Summarize(token.start, aggregates, by)]

    def _sort(self, token: Token) -> list[Operator]:
        self._words.expect_word("by", "'by'")
        return [Sort(token.start, self._words.several(self._key))]

    def _top(self, token: Token) -> list[Operator]:
        rows = self._rows()
        return [*self._sort(token), Take(token.start, rows)]

    def _take(self, token: Token) -> list[Operator]:
        return [Take(token.start, self._rows())]

    def _distinct(self, token: Token) -> list[Operator]:
        return [Distinct(token.start, () if self._words.accept("*") else self._words.several(self._item))]

    def _count(self, token: Token) -> list[Operator]:
        return [Count(token.start)]

    def _join(self, token: Token) -> list[Operator]:
        words = self._words
        self._joins += 1
        if self._joins > MAX_JOINS:
            words.fail(token, f"a question has at most {MAX_JOINS} joins")
        if not words.accept_word("kind"):
            words.fail(
                words.next, "write join kind=inner: other kinds are not supported, and Kusto's default is another"
            )
        words.expect("=", "'='")
        kind = words.take()
        if kind.value != "inner":
            words.fail(kind, f"join kind={str(kind.value)[:80]} is not supported; kind=inner is")
        if words.is_word("hint"):
            words.fail(words.next, "hints are not supported, and not needed")
        right = self._joined()
        words.expect_word("on", "'on'")
        pairs = [self._pair()]
        while words.accept(",") or words.accept_word("and"):
            pairs.append(self._pair())
        return [Join(token.start, right, tuple(pairs))]

    # ------------------------------------------------------------------ their parts

    def _item(self) -> Item:
        """An expression, and maybe before it the name of the column that it becomes."""
        words = self._words
        token, begin = words.next, words.at
        name = words.accept_name()
        if name is not None and words.accept("="):
            return Item(token.start, name.name, self._expressions.read())
        words.at = begin
        return Item(token.start, "", self._expressions.read())

    def _pattern(self) -> Name:
        name = self._words.name("a column")
        if self._words.adjoins() and self._words.accept("*"):
            return Name(name.at, f"{name.name}*")
        return name

    def _key(self) -> Key:
        words = self._words
        expression = self._expressions.read()
        ascending = False
        if words.is_word("asc", "desc"):
            ascending = words.take().value == "asc"
        nulls_first = ascending
        if words.accept_word("nulls"):
            if not words.is_word("first", "last"):
                words.expected("'first' or 'last'")
            nulls_first = words.take().value == "first"
        return Key(expression, ascending, nulls_first)

    def _rows(self) -> int:
        token = self._words.take()
        if token.kind is not Kind.LONG:
            self._words.fail(token, f"a number of rows expected, not {token}")
        return int(token.value)

    def _joined(self) -> Query:
        words = self._words
        if not words.is_sign("("):
            return Query(words.name("a table, or a question in brackets,"), ())
        opening = words.take()
        with words.deeper(opening):
            right = self._query()
        words.close("')'")
        return right

    def _pair(self) -> tuple[Name, Name]:
        words = self._words
        first = self._side()
        if not words.is_sign("=="):
            if first[0]:
                words.expected("'=='")
            return first[1], first[1]
        sign = words.take()
        second = self._side()
        if {first[0], second[0]} != {"$left", "$right"}:
            words.fail(sign, "one side is a column of $left and the other one of $right, as in $left.a == $right.b")
        return (first[1], second[1]) if first[0] == "$left" else (second[1], first[1])

    def _side(self) -> tuple[str, Name]:
        """`$left`, `$right` or nothing, and a column."""
        words = self._words
        if words.is_word("$left", "$right"):
            side = str(words.take().value)
            words.expect(".", "'.'")
            return side, words.name("a column")
        return "", words.name("a column, or $left.a == $right.b")
