"""How grave an event is, in the numbers of Application Insights."""

from __future__ import annotations

from ..errors import CollectError

VERBOSE, INFORMATION, WARNING, ERROR, CRITICAL = range(5)

_NAMES = {
    "verbose": VERBOSE, "debug": VERBOSE, "information": INFORMATION, "info": INFORMATION, "warning": WARNING,
    "error": ERROR, "critical": CRITICAL,
}  # fmt: skip


def of(given: int | str) -> int:
    """From a number of 0 to 4, or a name. Raises CollectError."""
    found = _NAMES.get(given.lower()) if isinstance(given, str) else given
    if found is None or not isinstance(found, int) or not VERBOSE <= found <= CRITICAL:
        raise CollectError("bad_event", f"a severity is 0 to 4, or one of {', '.join(_NAMES)}")
    return int(found)


def of_level(level: int) -> int:
    """From a level of Python's logging."""
    return min(max(level // 10 - 1, VERBOSE), CRITICAL)
