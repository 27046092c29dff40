"""Time, behind a protocol, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol

CLOCK_STEP_NS = 5_000_000_000
"""The wall clock was set if it has gone so much more, or less, than the time that has passed."""


class Clock(Protocol):
    """Wall time for dates, monotonic time for everything that is measured or waited for."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


def offset_ns(clock: Clock) -> int:
    """Nanoseconds between the wall clock and the one that nobody sets."""
    return clock.wall_ns() - int(clock.monotonic() * 1e9)
