"""A text in KQL as a tree. What is not supported is an error that points at the word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from collectord.query.errors import KqlError, listed, suggestion
from collectord.query.moments import microseconds_of
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
    Key,
    Literal,
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
    Where,
)
from collectord.query.tokens import Kind, Token, tokens

MAX_DEPTH = 40
"""Brackets within brackets."""
MAX_JOINS = 16
MAX_CHAIN = 500
"""Operands of one `and`, `or`, `+` …; operators of one question."""

TEXT_OPERATORS: Final = (
    "contains", "!contains", "contains_cs", "!contains_cs", "has", "!has", "has_cs", "!has_cs", "startswith", "!startswith",
    "startswith_cs", "!startswith_cs", "endswith", "!endswith", "endswith_cs", "!endswith_cs", "=~", "!~",
)  # fmt: skip
COMPARISONS: Final = ("==", "!=", "<>", "<", "<=", ">", ">=")
SETS: Final = ("in", "!in", "in~", "!in~", "has_any", "has_all")
_BETWEEN: Final = ("between", "!between")
_INFIX: Final = (*COMPARISONS, *TEXT_OPERATORS, *SETS, *_BETWEEN, "and", "or")


def parse(text: str) -> Query:
    """The question that a text asks. Raises KqlError."""
    return _Parser(text).question()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0
        self._joins = 0
        self._operators: dict[str, Callable[[Token], list[Operator]]] = {
            "where": self._where, "filter": self._where, "project": self._project, "project-away": self._project_away,
            "extend": self._extend, "summarize": self._summarize, "sort": self._sort, "order": self._sort, "top": self._top,
            "take": self._take, "limit": self._take, "distinct": self._distinct, "count": self._count, "join": self._join,
        }  # fmt: skip

    # ------------------------------------------------------------------ words

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take_token(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _is(self, *signs: str) -> bool:
        return self._next.kind is Kind.SIGN and self._next.value in signs

    def _is_word(self, *words: str) -> bool:
        return self._next.kind is Kind.NAME and self._next.value in words

    def _accept(self, sign: str) -> bool:
        found = self._is(sign)
        self._at += found
        return found

    def _expect(self, sign: str, what: str) -> Token:
        if not self._is(sign):
            self._fail(self._next, f"{what} expected, not {self._next}")
        return self._take_token()

    def _expect_word(self, word: str, what: str) -> None:
        if not self._is_word(word):
            self._fail(self._next, f"{what} expected, not {self._next}")
        self._at += 1

    def _fail(self, token: Token, why: str) -> NoReturn:
        raise KqlError(self._text, token.start, why)

    @contextmanager
    def _deeper(self, token: Token) -> Iterator[None]:
        if self._depth >= MAX_DEPTH:
            self._fail(token, f"more than {MAX_DEPTH} brackets lie within each other")
        self._depth += 1
        yield
        self._depth -= 1

    # ------------------------------------------------------------------ operators

    def question(self) -> Query:
        query = self._query()
        self._accept(";")
        if self._next.kind is not Kind.END:
            self._stray("'|' and an operator, or the end")
        return query

    def _stray(self, expected: str) -> NoReturn:
        """The word that comes fits nowhere."""
        token = self._next
        if token.kind in (Kind.NAME, Kind.SIGN) and token.value not in ("|", "(", ")", ",", "=", ";"):
            word = str(token.value)
            close = suggestion(word, _INFIX)
            if close:
                self._fail(token, f"{token} is no operator that is supported{close}")
        self._fail(token, f"{expected} expected, not {token}")

    def _query(self) -> Query:
        token = self._next
        if token.kind is Kind.NAME and token.value in (
            "let",
            "print",
            "union",
            "search",
            "datatable",
            "find",
            "evaluate",
        ):
            following = self._tokens[self._at + 1]
            if following.kind not in (Kind.END,) and following.value != "|":
                self._fail(token, f"{token.value} is not supported; a question begins with a table, such as traces")
        table = self._name("a table, such as traces or ['my-service/model/inputs'],")
        operators: list[Operator] = []
        while self._accept("|"):
            operators += self._operator()
            if len(operators) > MAX_CHAIN:
                self._fail(self._next, f"a question has at most {MAX_CHAIN} operators")
        return Query(table, tuple(operators))

    def _operator(self) -> list[Operator]:
        token = self._next
        if token.kind is not Kind.NAME:
            self._fail(token, f"an operator, such as where, expected, not {token}")
        word = str(token.value)
        end = token.end
        self._at += 1
        while self._is("-") and self._next.start == end and self._tokens[self._at + 1].start == end + 1:
            # project-away and its like are one word.
            follower = self._tokens[self._at + 1]
            if follower.kind is not Kind.NAME:
                break
            word, end = f"{word}-{follower.value}", follower.end
            self._at += 2
        read = self._operators.get(word)
        if read is None:
            self._fail(
                token,
                f"the operator {word[:80]} is not supported{suggestion(word, self._operators)}; supported are "
                f"{listed(self._operators)}",
            )
        return read(token)

    def _where(self, token: Token) -> list[Operator]:
        return [Where(token.start, self._expression())]

    def _project(self, token: Token) -> list[Operator]:
        return [Project(token.start, self._items())]

    def _project_away(self, token: Token) -> list[Operator]:
        names = [self._pattern()]
        while self._accept(","):
            names.append(self._pattern())
        return [ProjectAway(token.start, tuple(names))]

    def _pattern(self) -> Name:
        name = self._name("a column")
        if self._is("*") and self._next.start == self._tokens[self._at - 1].end:
            self._at += 1
            return Name(name.at, f"{name.name}*")
        return name

    def _extend(self, token: Token) -> list[Operator]:
        return [Extend(token.start, self._items())]

    def _summarize(self, token: Token) -> list[Operator]:
        aggregates = () if self._is_word("by") else self._items()
        by: tuple[Item, ...] = ()
        if self._is_word("by"):
            self._at += 1
            by = self._items()
        return [Summarize(token.start, aggregates, by)]

    def _sort(self, token: Token) -> list[Operator]:
        self._expect_word("by", "'by'")
        return [Sort(token.start, self._keys())]

    def _keys(self) -> tuple[Key, ...]:
        keys = [self._key()]
        while self._accept(","):
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> Key:
        expression = self._expression()
        ascending = False
        if self._is_word("asc", "desc"):
            ascending = self._take_token().value == "asc"
        nulls_first = ascending
        if self._is_word("nulls"):
            self._at += 1
            if not self._is_word("first", "last"):
                self._fail(self._next, f"'first' or 'last' expected, not {self._next}")
            nulls_first = self._take_token().value == "first"
        return Key(expression, ascending, nulls_first)

    def _top(self, token: Token) -> list[Operator]:
        rows = self._rows()
        self._expect_word("by", "'by'")
        return [Sort(token.start, self._keys()), Take(token.start, rows)]

    def _take(self, token: Token) -> list[Operator]:
        return [Take(token.start, self._rows())]

    def _rows(self) -> int:
        token = self._take_token()
        if token.kind is not Kind.LONG:
            self._fail(token, f"a number of rows expected, not {token}")
        return int(token.value)

    def _distinct(self, token: Token) -> list[Operator]:
        if self._accept("*"):
            return [Distinct(token.start, ())]
        return [Distinct(token.start, self._items())]

    def _count(self, token: Token) -> list[Operator]:
        return [Count(token.start)]

    def _join(self, token: Token) -> list[Operator]:
        self._joins += 1
        if self._joins > MAX_JOINS:
            self._fail(token, f"a question has at most {MAX_JOINS} joins")
        if not self._is_word("kind"):
            self._fail(
                self._next, "write join kind=inner: other kinds are not supported, and Kusto's default is another"
            )
        self._at += 1
        self._expect("=", "'='")
        kind = self._take_token()
        if kind.value != "inner":
            self._fail(kind, f"join kind={str(kind.value)[:80]} is not supported; kind=inner is")
        if self._is_word("hint"):
            self._fail(self._next, "hints are not supported, and not needed")
        if self._is("("):
            opening = self._take_token()
            with self._deeper(opening):
                right = self._query()
            if not self._is(")"):
                self._stray("')'")
            self._at += 1
        else:
            right = Query(self._name("a table, or a question in brackets,"), ())
        self._expect_word("on", "'on'")
        pairs = [self._pair()]
        while self._accept(",") or self._accept_word("and"):
            pairs.append(self._pair())
        return [Join(token.start, right, tuple(pairs))]

    def _accept_word(self, word: str) -> bool:
        found = self._is_word(word)
        self._at += found
        return found

    def _pair(self) -> tuple[Name, Name]:
        first = self._side()
        if not self._is("=="):
            if first[0]:
                self._fail(self._next, f"'==' expected, not {self._next}")
            return first[1], first[1]
        sign = self._take_token()
        second = self._side()
        if {first[0], second[0]} != {"$left", "$right"}:
            self._fail(sign, "one side is a column of $left and the other one of $right, as in $left.a == $right.b")
        return (first[1], second[1]) if first[0] == "$left" else (second[1], first[1])

    def _side(self) -> tuple[str, Name]:
        """`$left`, `$right` or nothing, and a column."""
        if self._is_word("$left", "$right"):
            side = str(self._take_token().value)
            self._expect(".", "'.'")
            return side, self._name("a column")
        return "", self._name("a column, or $left.a == $right.b")

    # ------------------------------------------------------------------ items

    def _items(self) -> tuple[Item, ...]:
        items = [self._item()]
        while self._accept(","):
            items.append(self._item())
        return tuple(items)

    def _item(self) -> Item:
        token = self._next
        begin = self._at
        if token.kind is Kind.NAME or self._is("["):
            name = self._try_name()
            if name is not None and self._accept("="):
                return Item(token.start, name.name, self._expression())
            self._at = begin
        return Item(token.start, "", self._expression())

    def _try_name(self) -> Name | None:
        """The name that stands here, if one does."""
        token = self._next
        if token.kind is Kind.NAME:
            self._at += 1
            return Name(token.start, str(token.value))
        if self._is("["):
            text, closing = (
                self._tokens[self._at + 1 : self._at + 3] if self._at + 2 < len(self._tokens) else (token, token)
            )
            if text.kind is Kind.STRING and closing.kind is Kind.SIGN and closing.value == "]":
                name = str(text.value)
                if not name or any(ord(char) < 32 or ord(char) == 127 for char in name):
                    self._fail(text, "a name is not empty and has no control characters")
                self._at += 3
                return Name(token.start, name)
        return None

    def _name(self, what: str) -> Name:
        name = self._try_name()
        if name is None:
            self._fail(self._next, f"{what} expected, not {self._next}")
        return name

    # ------------------------------------------------------------------ expressions

    def _expression(self) -> Expression:
        return self._logical("or", lambda: self._logical("and", self._comparison))

    def _logical(self, word: str, operand: Callable[[], Expression]) -> Expression:
        first = operand()
        if not self._is_word(word):
            return first
        token = self._next
        operands = [first]
        while self._accept_word(word):
            operands.append(operand())
            if len(operands) > MAX_CHAIN:
                self._fail(self._next, f"more than {MAX_CHAIN} operands of '{word}'; `in (…)` may say it shorter")
        return Logical(token.start, word, tuple(operands))

    def _comparison(self) -> Expression:
        left = self._sum()
        token = self._next
        word = str(token.value) if token.kind in (Kind.NAME, Kind.SIGN) else ""
        if word in COMPARISONS or word in TEXT_OPERATORS:
            self._at += 1
            return Binary(token.start, "!=" if word == "<>" else word, left, self._sum())
        if word in SETS:
            self._at += 1
            return Among(token.start, word, left, self._set(word))
        if word in _BETWEEN:
            self._at += 1
            self._expect("(", "'(' and a range, as in between (1 .. 5),")
            low = self._sum()
            self._expect("..", "'..'")
            high = self._sum()
            self._expect(")", "')'")
            return Between(token.start, word[0] == "!", left, low, high)
        if word == "=":
            self._fail(token, "'=' names a column; to compare, write == or =~")
        if word == "matches":
            self._fail(token, "matches regex is not supported; contains, has, startswith and endswith are")
        if token.kind is Kind.NAME and self._tokens[self._at + 1].kind in (Kind.STRING, Kind.LONG, Kind.REAL):
            self._fail(
                token, f"{token} is no operator that is supported{suggestion(word, _INFIX)}; {listed(_INFIX)} are"
            )
        return left

    def _set(self, word: str) -> tuple[Expression, ...]:
        opening = self._expect("(", f"'(' and a list, as in {word} (1, 2),")
        with self._deeper(opening):
            items = [self._expression()]
            while self._accept(","):
                items.append(self._expression())
        if self._is("|"):
            self._fail(self._next, f"a question within {word} (…) is not supported; a list of values is, and join")
        self._expect(")", "',' or ')'")
        return tuple(items)

    def _sum(self) -> Expression:
        return self._chain(("+", "-"), lambda: self._chain(("*", "/", "%"), self._unary))

    def _chain(self, signs: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        found = operand()
        length = 1
        while self._is(*signs):
            token = self._take_token()
            found = Binary(token.start, str(token.value), found, operand())
            length += 1
            if length > MAX_DEPTH:
                self._fail(token, f"more than {MAX_DEPTH} operands in a row")
        return found

    def _unary(self) -> Expression:
        if self._is("-", "+"):
            token = self._take_token()
            with self._deeper(token):
                operand = self._unary()
            if token.value == "+":
                return operand
            if isinstance(operand, Literal) and isinstance(operand.value, int | float) and operand.type != "bool":
                return Literal(token.start, operand.type, -operand.value)
            return Negative(token.start, operand)
        return self._members()

    def _members(self) -> Expression:
        found = self._primary()
        keys: list[str | int] = []
        places: list[int] = []
        while self._is(".", "["):
            sign = self._take_token()
            places.append(self._next.start)
            if sign.value == "." and not self._is("["):
                token = self._take_token()
                if token.kind is not Kind.NAME:
                    self._fail(token, f"the name of a property expected, not {token}")
                keys.append(str(token.value))
                continue
            if sign.value == ".":
                self._at += 1
            negative = self._accept("-")
            token = self._take_token()
            if token.kind is Kind.STRING and not negative:
                keys.append(str(token.value))
            elif token.kind is Kind.LONG:
                keys.append(-int(token.value) if negative else int(token.value))
            else:
                self._fail(token, f"a key in quotes or a number expected, not {token}; other indexes are not supported")
            self._expect("]", "']'")
        if not keys:
            return found
        if len(keys) > MAX_DEPTH:
            self._fail(self._next, f"more than {MAX_DEPTH} properties below each other")
        return Member(found.at, found, tuple(keys), tuple(places))

    def _primary(self) -> Expression:
        token = self._next
        match token.kind:
            case Kind.STRING:
                self._at += 1
                return Literal(token.start, "string", token.value)
            case Kind.LONG:
                self._at += 1
                return Literal(token.start, "long", token.value)
            case Kind.REAL:
                self._at += 1
                return Literal(token.start, "real", token.value)
            case Kind.TIMESPAN:
                self._at += 1
                return Literal(token.start, "timespan", token.value)
            case Kind.DATETIME:
                self._at += 1
                moment = microseconds_of(str(token.value))
                if moment is None:
                    self._fail(
                        token, f"{token} is no datetime; write datetime(2026-11-21) or datetime(2026-11-21 17:30:00)"
                    )
                return Literal(token.start, "datetime", moment)
            case Kind.NAME:
                return self._named()
        if self._is("("):
            self._at += 1
            with self._deeper(token):
                inner = self._expression()
            self._expect(")", "')'")
            return inner
        name = self._try_name()
        if name is None:
            self._fail(token, f"a column, a value or a function expected, not {token}")
        return name

    def _named(self) -> Expression:
        token = self._take_token()
        word = str(token.value)
        if word in ("true", "false"):
            return Literal(token.start, "bool", word == "true")
        if not self._is("("):
            return Name(token.start, word)
        opening = self._take_token()
        arguments: list[Expression] = []
        with self._deeper(opening):
            if not self._is(")"):
                arguments.append(self._expression())
                while self._accept(","):
                    arguments.append(self._expression())
        if not self._is(")"):
            self._stray("',' or ')'")
        self._at += 1
        return Call(token.start, word, tuple(arguments))
