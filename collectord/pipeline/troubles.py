"""Which blobs take nothing at the moment, why, and when they are tried again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


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

    @property
    def blocked(self) -> bool:
        return bool(self.code)


class Troubles:
    """By base of a blob. Not thread-safe: whoever owns it has a lock. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._of: dict[str, Trouble] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, base: str, now: float, seconds: float, detail: str, code: str) -> None:
        """An attempt failed; the next one in `seconds`."""
        before = self._of.get(base)
        self._of[base] = Trouble(now + seconds, before.since if before else now, detail, code, now)

    def settle(self, base: str) -> Trouble | None:
        """It takes appends again. Returns what was the matter."""
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
