"""An exception as text: what it is, what it says, and where it came through."""

from __future__ import annotations

import traceback

FRAMES = 50
"""The outermost and the innermost ones are told, together so many."""
LONGEST = 64 << 10


def type_of(error: BaseException) -> str:
    """The class, with its module where it is none of Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """What it says."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001
        return f"(its text failed with {type(broken).__name__})"


def details_of(error: BaseException, messages: bool = True) -> str:
    """The stack, also of what it came from. Without `messages`, only the places."""
    try:
        told = traceback.TracebackException.from_exception(error, limit=-FRAMES, compact=True)
        if messages:
            return "".join(told.format())
        return "".join(told.stack.format()) + type_of(error)
    except Exception as broken:  # noqa: BLE001
        return f"(its stack failed with {type(broken).__name__})"
