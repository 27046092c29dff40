"""The words of a text in KQL, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from collectord.query.errors import KqlError

MAX_TEXT = 256 << 10
"""Characters of a question."""
MAX_TOKENS = 20_000


class Kind(Enum):
    """What a word is."""

    NAME = "a name"
    STRING = "a text"
    LONG = "a whole number"
    REAL = "a number"
    TIMESPAN = "a timespan"
    DATETIME = "a datetime"
    SIGN = "a sign"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """A word. `value`: the text of names, strings, signs and datetimes, the number of others; timespans in microseconds."""

    kind: Kind
    value: str | int | float
    start: int
    end: int
    quoted: bool = False
    """A name in brackets, `['…']`: never a word of the language."""

    def __str__(self) -> str:
        """For messages."""
        return "the end of the question" if self.kind is Kind.END else f"{str(self.value)[:80]!r}"


UNITS: Final = {
    unit: microseconds
    for units, microseconds in {
        "d day days": 86_400_000_000, "h hr hrs hour hours": 3_600_000_000, "m min minute minutes": 60_000_000,
        "s sec second seconds": 1_000_000, "ms milli millis millisecond milliseconds": 1_000,
        "micro micros microsecond microseconds": 1, "tick ticks": 0.1, "nano nanos nanosecond nanoseconds": 0.001,
    }.items()
    for unit in units.split()
}  # fmt: skip

_SPACE = re.compile(r"(?:[ \t\r\n\ufeff\u00a0]+|//[^\n]*)+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\$left\b|\$right\b")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+(?:\.(?!\.)[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_NEGATED = re.compile(
    r"!(?:between|contains_cs|contains|endswith_cs|endswith|hasprefix|hassuffix|has_cs|has|in~?|startswith_cs|startswith)(?![A-Za-z0-9_])"
)
_SIGN = re.compile(r"==|!=|<>|=~|!~|<=|>=|\.\.|[-+*/%<>=|(),.;:\[\]{}]")
_RAW = re.compile(r"\(([^()'\"]*)\)")
_STRING_PREFIX = re.compile(r"[hH]?@?(?=['\"])")
_RAW_NAMES = {"datetime", "date", "timespan", "time"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_LONG = (1 << 63) - 1


def tokens(text: str) -> list[Token]:
    """All words, the end last. Raises KqlError."""
    if len(text) > MAX_TEXT:
        raise KqlError(text, MAX_TEXT, f"the question has {len(text):,} characters; {MAX_TEXT:,} are allowed")
    if match := _SURROGATE.search(text):
        raise KqlError(text, match.start(), "this is half a character: the question is not UTF-8")
    found: list[Token] = []
    at = 0
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at >= len(text):
            found.append(Token(Kind.END, "", at, at))
            return found
        token = _token(text, at)
        found.append(token)
        if len(found) > MAX_TOKENS:
            raise KqlError(text, token.start, f"the question has more than {MAX_TOKENS:,} words")
        at = token.end


def _token(text: str, at: int) -> Token:
    char = text[at]
    if char in "'\"":
        return _string(text, at, at)
    if char in "hH@" and (match := _STRING_PREFIX.match(text, at)) and match.end() > at:
        return _string(text, at, match.end())
    if match := _NAME.match(text, at):
        raw = _RAW.match(text, match.end()) if match[0] in _RAW_NAMES else None
        if raw:
            kind = Kind.DATETIME if match[0] in ("datetime", "date") else Kind.TIMESPAN
            value = raw[1].strip() if kind is Kind.DATETIME else _timespan(text, raw)
            if value != "null":
                return Token(kind, value, at, raw.end())
        end = match.end()
        if match[0] == "in" and text[end : end + 1] == "~":
            end += 1
        return Token(Kind.NAME, text[at:end], at, end)
    if char.isascii() and char.isdigit():
        return _number(text, at)
    if match := _NEGATED.match(text, at) or _SIGN.match(text, at):
        return Token(Kind.SIGN, match[0], at, match.end())
    why = "'!' stands before an operator, as in !contains or !=; `not(…)` negates" if char == "!" else ""
    raise KqlError(text, at, why or f"{char!r} means nothing here")


def _number(text: str, at: int) -> Token:
    match = _NUMBER.match(text, at)
    assert match is not None
    digits, end = match[0], match.end()
    word = _WORD.match(text, end)
    if word:
        if word[0] not in UNITS or digits[:2].lower() == "0x" or "e" in digits.lower():
            raise KqlError(
                text, at, f"{text[at : word.end()][:80]!r} is neither a number nor a timespan such as 5m, 1h, 7d, 10ms"
            )
        return Token(Kind.TIMESPAN, _microseconds(text, at, float(digits) * UNITS[word[0]]), at, word.end())
    if digits[:2].lower() == "0x":
        value = int(digits, 16)
    elif digits.isdigit():
        value = int(digits) if len(digits) < 30 else _MAX_LONG + 1
    else:
        return Token(Kind.REAL, float(digits), at, end)
    if value > _MAX_LONG:
        raise KqlError(text, at, f"{digits[:40]} is larger than a long can be; write it as a real, with a point")
    return Token(Kind.LONG, value, at, end)


def _microseconds(text: str, at: int, value: float) -> int:
    if abs(value) > _MAX_LONG // 10:
        raise KqlError(text, at, "a timespan is at most 10,675,199 days")
    return round(value)


_CLOCK = re.compile(r"(-)?(?:(\d+)\.)?(\d{1,9}):(\d{1,2})(?::(\d{1,2}(?:\.\d{1,9})?))?")
_AMOUNT = re.compile(r"(-)?(\d+(?:\.\d*)?)\s*([A-Za-z]*)")


def _timespan(text: str, raw: re.Match[str]) -> int | str:
    """What stands in `timespan(…)`."""
    inner = raw[1].strip()
    if inner == "null":
        return inner
    if match := _CLOCK.fullmatch(inner):
        sign, days, hours, minutes, seconds = match.groups()
        total = int(days or 0) * 86_400 + int(hours) * 3_600 + int(minutes) * 60 + float(seconds or 0)
        return _microseconds(text, raw.start(1), (-1 if sign else 1) * total * 1_000_000)
    if (match := _AMOUNT.fullmatch(inner)) and (match[3] or "d") in UNITS:
        # A number alone is days.
        return _microseconds(text, raw.start(1), (-1 if match[1] else 1) * float(match[2]) * UNITS[match[3] or "d"])
    raise KqlError(text, raw.start(1), f"{inner[:80]!r} is no timespan; write one as 5m, 1.5h, 7d or 1.02:30:00")


def _string(text: str, start: int, at: int) -> Token:
    """A text from its quote at `at` on. Verbatim after `@`: a quote is written twice, and a backslash is one."""
    quote = text[at]
    if "@" in text[start:at]:
        match = re.compile(f"{quote}((?:[^{quote}]|{quote}{quote})*){quote}").match(text, at)
        if match is None:
            raise KqlError(text, start, f"the text that begins here has no closing {quote}")
        return Token(Kind.STRING, match[1].replace(quote * 2, quote), start, match.end())
    pieces: list[str] = []
    position = at + 1
    while position < len(text) and text[position] not in (quote, "\n"):
        char = text[position]
        if char == "\\":
            char, position = _escaped(text, position)
        else:
            position += 1
        pieces.append(char)
    if text[position : position + 1] != quote:
        raise KqlError(text, start, f"the text that begins here has no closing {quote} on its line")
    return Token(Kind.STRING, "".join(pieces), start, position + 1)


def _escaped(text: str, at: int) -> tuple[str, int]:
    """The character that an escape at `at` stands for, and where the text goes on."""
    code = text[at + 1 : at + 2]
    if code in _ESCAPES:
        return _ESCAPES[code], at + 2
    width = {"x": 2, "u": 4, "U": 8}.get(code, 0)
    digits = text[at + 2 : at + 2 + width]
    if width and re.fullmatch(rf"[0-9a-fA-F]{{{width}}}", digits):
        number = int(digits, 16)
        if number < 0x110000 and not 0xD800 <= number < 0xE000:
            return chr(number), at + 2 + width
    raise KqlError(text, at, f'\\{code} is no escape; write \\\\ for a backslash, or @"…" for a text as it is')
