"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading


class ManualClock:
    """Wall and monotonic time, moved together by `advance`; wall time alone jumps by `set_wall`. Any thread."""

    def __init__(self, wall_ns: int = 1_600_000_000_000_000_000) -> None:
        self._lock = threading.Lock()
        self._wall_ns = wall_ns
        self._monotonic = 0.0

    def wall_ns(self) -> int:
        with self._lock:
            return self._wall_ns

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        if seconds < 0:
            raise ValueError("time passes forwards; a wall clock is set back by set_wall")
        with self._lock:
            self._monotonic += seconds
            self._wall_ns += round(seconds * 1_000_000_000)

    def set_wall(self, wall_ns: int) -> None:
        """Steps the wall clock, as an administrator or a time server does."""
        with self._lock:
            self._wall_ns = wall_ns
