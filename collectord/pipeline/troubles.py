"""Which blobs take nothing at the moment, why, and when they are tried again.

A blob is in trouble alone if others land after it has failed. What is mended for one may have been mended for all, though, and only
for a moment: from then on that has to be seen again, by a failure and a landing behind it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

STUCK_SECONDS = 600.0
"""A blob that has not taken anything for so long counts as bad, whatever the reason."""
HASTE_SECONDS = 5.0
"""Between two attempts for a blob that is refused, however often something is mended for others: where a store refuses now this
one, now that one, each landing would have all of them tried."""


@dataclass(slots=True)
class Trouble:
    """Why a blob takes nothing at the moment."""

    until: float
    """Monotonic seconds of the next attempt."""
    since: float
    """Monotonic seconds of the first failure."""
    detail: str
    code: str
    """Why the store refuses; empty if trying again may help."""
    failed: float
    """Monotonic seconds of the last failure."""
    again: float = math.inf
    """Monotonic seconds of the first failure since something was mended for others; infinite: it was not tried since."""

    @property
    def blocked(self) -> bool:
        return bool(self.code)

    def is_bad(self, now: float) -> bool:
        """Whether nothing is taken, and not just for the moment."""
        return self.blocked or now - self.since > STUCK_SECONDS


class Troubles:
    """By base of a blob. Not thread-safe: whoever owns it has a lock. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._of: dict[str, Trouble] = {}
        self.landed_at = float("-inf")
        """When rows have landed last, anywhere."""

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, base: str, now: float, seconds: float, detail: str, code: str) -> None:
        """An attempt failed; the next one in `seconds`."""
        before = self._of.get(base)
        since, again = (before.since, min(before.again, now)) if before else (now, now)
        self._of[base] = Trouble(now + seconds, since, detail, code, now, again)

    def landed(self, base: str, now: float) -> Trouble | None:
        """It has taken something. What was mended for it may have been mended for all: a right, a disk; so whatever is refused is
        tried soon, and until it was, it is not known to be in trouble alone. Returns what was the matter with this one."""
        self.landed_at = now
        recovered = self.settle(base)
        if recovered is not None and recovered.is_bad(now):
            for one in self._of.values():
                one.again = math.inf
                if one.blocked:
                    one.until = min(one.until, one.failed + HASTE_SECONDS)
        return recovered

    def settle(self, base: str) -> Trouble | None:
        """Nothing is the matter any more. Returns what was."""
        return self._of.pop(base, None)

    def hurry(self) -> None:
        """Everything may be tried again at once. How long it has lasted is not forgotten."""
        for trouble in self._of.values():
            trouble.until = float("-inf")

    def forget_over(self, now: float, keep: Collection[str]) -> None:
        """Forgets the ones whose time has come, but for those in `keep`."""
        for base in [base for base, trouble in self._of.items() if trouble.until <= now and base not in keep]:
            del self._of[base]

    def holds(self, base: str, now: float) -> bool:
        """Whether the blob is not to be tried yet."""
        trouble = self._of.get(base)
        return trouble is not None and trouble.until > now

    def next_until(self, now: float) -> float | None:
        """When the next one may be tried again that may not yet."""
        return min((trouble.until for trouble in self._of.values() if trouble.until > now), default=None)

    def all(self) -> list[tuple[str, Trouble]]:
        return list(self._of.items())
