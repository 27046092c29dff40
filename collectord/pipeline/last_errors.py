"""What has failed last on the journey, for whoever asks: a few sentences, the newest first.

Threads: any; a lock of its own, held for a moment.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from collectord.clock import Clock

KEPT = 20


@dataclass(slots=True)
class LastError:
    """One sentence, which may have been said more than once."""

    at: float
    """Seconds since 1970, of the last time."""
    what: str
    times: int = 1


class LastErrors:
    """At most `KEPT` different ones; what is said again moves to the front."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._errors: deque[LastError] = deque(maxlen=KEPT)

    def say(self, what: str) -> None:
        """It has failed just now."""
        at = self._clock.wall_ns() / 1e9
        with self._lock:
            before = next((error for error in self._errors if error.what == what), None)
            if before is not None:
                self._errors.remove(before)
            self._errors.appendleft(LastError(at, what, 1 if before is None else before.times + 1))

    @property
    def newest(self) -> str:
        """Empty if nothing has failed."""
        with self._lock:
            return self._errors[0].what if self._errors else ""

    def all(self) -> list[LastError]:
        """The newest first."""
        with self._lock:
            return list(self._errors)
