"""What is too long is cut, and says so: how long it was and its SHA-256 stand beside it."""

from __future__ import annotations

import hashlib
from typing import Any

EVENT_BYTES = 1 << 20
"""Of the texts of an event as JSON, altogether: its row then fits a message and, with all else, one append."""
SHORT = 1024
"""Characters of a name, a type, a result code."""
LONG = 8192
"""Of a URL, a target, the data of a dependency."""
KEY = 150
"""Of the key of a dimension: what Application Insights takes."""
MARK = "Cut"
"""The key under which the dimensions tell of what was cut."""

Cuts = dict[str, Any]
"""What was cut, by its name: size in bytes and SHA-256 of the UTF-8 of the whole."""


def sound(text: str) -> str:
    """Without half surrogate pairs, which no UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def cut(name: str, text: str, most: int, cuts: Cuts) -> str:
    """At most `most` characters of a text."""
    if len(text) <= most:
        return text
    note(name, text, cuts)
    return text[:most]


def note(name: str, whole: str, cuts: Cuts) -> None:
    """Remembers what a text was before it was cut for the first time."""
    if name not in cuts:
        cuts[name] = of(whole)


def of(text: str) -> dict[str, Any]:
    """What is told of a text that was cut."""
    whole = text.encode("utf-8", "replace")
    return {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}


def fit(name: str, text: str, room: int, cuts: Cuts) -> str:
    """As much of a text as takes `room` bytes within a JSON text."""
    if len(text) * 6 <= room:
        # No character takes more.
        return text
    if weight(text) <= room:
        return text
    note(name, text, cuts)
    low, high = room // 6, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        if weight(text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def weight(text: str) -> int:
    """The bytes that a text takes within a JSON text, as UTF-8."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    size += text.count('"') + text.count("\\")
    if text.isprintable():
        return size
    return size + 5 * sum(map(text.count, _CONTROLS))


_CONTROLS = [chr(code) for code in (*range(32), 127)]
