"""What a capture recipe asks of a prediction, such as `score > 0.9 and label == 'fraud'`: its grammar.

    condition   comparison { ("and" | "or") comparison }        "and" binds closer
    comparison  column ( == = != < <= > >= ) ( number | 'text' | true | false )
    column      a word, or "any name"

The client has a twin that also evaluates it (`condition.py` there); a test holds them together. Pure.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 1000
"""Characters."""
SIGNS: Final = ("==", "=", "!=", "<", "<=", ">", ">=")
_WORD: Final = re.compile(
    r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"(?:[^\"]|\"\")*\")"
    r"|(?P<sign>[=!<>]+)|(?P<name>[^\W\d][\w.$]*)|(?P<other>\S+)"
)
_NAMES_NOTHING: Final = ("and", "or", "not", "true", "false", "null")
_VALUE: Final = "a number, a 'text', true or false"


def check(text: str) -> None:
    """Raises ValueError, which names the word that cannot be understood and where it is."""
    if len(text) > LONGEST:
        raise ValueError(f"a condition has at most {LONGEST} characters, not {len(text)}")
    words = list(_WORD.finditer(text))
    for at in range(0, len(words) + 1, 4):
        column = _expect(text, words, at, ("name", "quoted"), "a column")
        if column[0].lower() in _NAMES_NOTHING:
            raise _unexpected(text, column, 'a column; one that is called so is written "in quotes"')
        sign = _expect(text, words, at + 1, ("sign",), "a comparison")
        if sign[0] not in SIGNS:
            raise _unexpected(text, sign, f"a comparison, which is one of {' '.join(SIGNS)}")
        value = _expect(text, words, at + 2, ("number", "text", "name"), _VALUE)
        if value.lastgroup == "name" and value[0].lower() not in ("true", "false"):
            raise _unexpected(text, value, _VALUE)
        if at + 3 < len(words) and words[at + 3][0].lower() not in ("and", "or"):
            raise _unexpected(text, words[at + 3], "and, or, or the end")


def _expect(text: str, words: list[re.Match[str]], at: int, kinds: tuple[str, ...], what: str) -> re.Match[str]:
    if at >= len(words):
        raise ValueError(f"{text!r} ends where {what} should stand")
    if words[at].lastgroup not in kinds:
        raise _unexpected(text, words[at], what)
    return words[at]


def _unexpected(text: str, word: re.Match[str], what: str) -> ValueError:
    return ValueError(f"{text!r}: {word[0]!r} at character {word.start() + 1} is not {what}")
