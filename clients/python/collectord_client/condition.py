"""What a capture recipe asks of a prediction, such as `score > 0.9 and label == 'fraud'`; docs/switches.md has the grammar.

The daemon has a twin of the grammar (`collectord/condition.py`), which refuses what this would not understand; a test holds
them together. Pure.
"""

from __future__ import annotations

import operator
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from .block import STRING, Block

LONGEST = 1000
"""Characters."""
PREDICTION = "prediction"
"""Stands for the first column where none is called so."""

VALUE = "a number, a 'text', true or false"
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_WORD = re.compile(
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")*\")"
    r"|(?P<sign>[=!<>]+)|(?P<name>[^\W\d][\w.$]*)|(?P<other>\S+)"
)
_FORMATS = {1: "?", 2: "b", 3: "h", 4: "i", 5: "q", 6: "B", 7: "H", 8: "I", 9: "Q", 10: "e", 11: "f", 12: "d"}
"""How struct calls the column types that are numbers."""


@dataclass(frozen=True)
class Comparison:
    column: str
    sign: str
    value: float | str


@dataclass(frozen=True)
class Column:
    values: Sequence[Any]
    text: bool
    mask: bytes | None
    """0 where a value is null; None: no nulls."""


Condition = tuple[tuple[Comparison, ...], ...]
"""Holds of a row if all comparisons of one of them do."""


def parse(text: str) -> Condition:
    """Raises ValueError, which names the word that cannot be understood and where it is."""
    if len(text) > LONGEST:
        raise ValueError(f"a condition has at most {LONGEST} characters, not {len(text)}")
    words = list(_WORD.finditer(text))
    found: list[list[Comparison]] = [[]]
    for at in range(0, len(words) + 1, 4):
        column = _column(text, _expect(text, words, at, ("name", "quoted"), "a column"))
        sign = _sign(text, _expect(text, words, at + 1, ("sign",), "a comparison"))
        value = _value(text, _expect(text, words, at + 2, ("number", "text", "name"), VALUE))
        found[-1].append(Comparison(column, sign, value))
        if at + 3 < len(words):
            joint = words[at + 3]
            if joint[0].lower() not in ("and", "or"):
                raise _unexpected(text, joint, "and, or, or the end")
            if joint[0].lower() == "or":
                found.append([])
    return tuple(map(tuple, found))


def holds(condition: Condition, names: Sequence[str], types: Sequence[int], block: Block) -> bool:
    """Whether it does of any row of `block`, whose columns are called `names`. Of a null, a value that is no number, a column
    that is not there and one of another kind than it is compared with, nothing holds."""
    columns: dict[str, Column | None] = {}
    return any(
        any(map(all, zip(*[_compare(one, names, types, block, columns) for one in every], strict=True)))
        for every in condition
    )


def _compare(
    one: Comparison, names: Sequence[str], types: Sequence[int], block: Block, columns: dict[str, Column | None]
) -> list[bool]:
    """Of each row, whether the comparison holds."""
    if one.column not in columns:
        columns[one.column] = _values(one.column, names, types, block)
    found, sign, value = columns[one.column], _SIGNS[one.sign], one.value
    if found is None or found.text is not isinstance(value, str):
        return [False] * block.rows
    if found.mask is not None:
        return [
            bool(there) and at == at and sign(at, value) for at, there in zip(found.values, found.mask, strict=True)
        ]
    if sign is operator.ne:
        # What is not equal to itself is no number.
        return [at == at and at != value for at in found.values]
    return [sign(at, value) for at in found.values]


def _values(column: str, names: Sequence[str], types: Sequence[int], block: Block) -> Column | None:
    at = 0 if column not in names and column == PREDICTION else names.index(column) if column in names else -1
    if at < 0 or (types[at] != STRING and types[at] not in _FORMATS):
        return None
    if block.tensor is not None:
        one = block if len(types) == 1 else block.select((at,))
        return Column(struct.unpack(f"<{block.rows}{_FORMATS[types[at]]}", one.tensor or b""), False, None)
    part = block.parts[at]
    if part.lengths is None:
        return Column(struct.unpack(f"<{block.rows}{_FORMATS[types[at]]}", part.data), False, part.mask)
    texts = [part.data[begin:end].decode() for begin, end in pairwise(accumulate(part.lengths, initial=0))]
    return Column(texts, True, part.mask)


def _expect(text: str, words: list[re.Match[str]], at: int, kinds: tuple[str, ...], what: str) -> re.Match[str]:
    if at >= len(words):
        raise ValueError(f"{text!r} ends where {what} should stand")
    if words[at].lastgroup not in kinds:
        raise _unexpected(text, words[at], what)
    return words[at]


def _column(text: str, word: re.Match[str]) -> str:
    if word.lastgroup == "quoted":
        return word[0][1:-1].replace('""', '"')
    if word[0].lower() in ("and", "or", "not", "true", "false", "null"):
        raise _unexpected(text, word, 'a column; one that is called so is written "in quotes"')
    return word[0]


def _sign(text: str, word: re.Match[str]) -> str:
    if word[0] not in _SIGNS:
        raise _unexpected(text, word, f"a comparison, which is one of {' '.join(_SIGNS)}")
    return word[0]


def _value(text: str, word: re.Match[str]) -> float | str:
    if word.lastgroup == "text":
        return word[0][1:-1].replace("''", "'")
    if word.lastgroup == "name":
        if word[0].lower() not in ("true", "false"):
            raise _unexpected(text, word, VALUE)
        return word[0].lower() == "true"
    return int(word[0]) if word[0].lstrip("+-").isdecimal() else float(word[0])


def _unexpected(text: str, word: re.Match[str], what: str) -> ValueError:
    return ValueError(f"{text!r}: {word[0]!r} at character {word.start() + 1} is not {what}")
