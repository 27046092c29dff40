"""What can be wrong with a question."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from collectord.errors import CallHuman, NeverAgain


class KqlError(NeverAgain):
    """KQL that cannot be answered. Shows the line, with a caret below the word that is at fault."""

    def __init__(self, text: str, position: int, why: str) -> None:
        position = max(0, min(position, len(text)))
        begin = text.rfind("\n", 0, position) + 1
        end = text.find("\n", position)
        self.why = why
        self.position = position
        self.line = text.count("\n", 0, position) + 1
        """From 1, as `column`."""
        self.column = position - begin + 1
        line, caret = _window(text[begin : end if end >= 0 else len(text)], position - begin)
        super().__init__(f"line {self.line}, column {self.column}: {why}\n  {line}\n  {caret}")


class QueryFailed(NeverAgain):
    """A question that DuckDB does not answer."""


class OutOfMemory(CallHuman):
    """A question needs more memory than it may have; the message says how to narrow it."""


class NoDuckDB(CallHuman):
    """DuckDB is not installed."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` or nothing."""
    spelled = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower()[:200], spelled, n=1, cutoff=0.6)
    return f"; did you mean {spelled[close[0]]}?" if close else ""


def listed(names: Iterable[str], most: int = 60) -> str:
    """Names for a message, so many at most."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


_WINDOW = 100


def _window(line: str, at: int) -> tuple[str, str]:
    """The line, or what lies around `at` of a long one, printable; and a caret below that place."""
    begin = max(0, at - _WINDOW // 2) if len(line) > _WINDOW else 0
    shown = "".join(char if char.isprintable() else " " for char in line[begin : begin + _WINDOW])
    return shown, " " * (at - begin) + "^"
