"""Numbers that a script hands over."""

from __future__ import annotations

from typing import Any

from ..errors import CollectError


def real(what: str, given: Any) -> float:
    """The number as an event has it. Raises CollectError where it is none."""
    try:
        return float(given)
    except (TypeError, ValueError, OverflowError):
        # What it holds is not told.
        raise CollectError("bad_number", f"{what} is a number, not a {type(given).__name__}") from None


def count(what: str, given: Any) -> int:
    """Likewise."""
    try:
        found = int(given)
    except (TypeError, ValueError, OverflowError):
        raise CollectError("bad_number", f"{what} is a whole number, not a {type(given).__name__}") from None
    if not 0 <= found < 1 << 63:
        raise CollectError("bad_number", f"{what} is a whole number from 0 on, of 63 bits")
    return found
