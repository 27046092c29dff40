"""How long to wait before trying again: pure, the caller brings the randomness."""

from __future__ import annotations

UNKNOWN_FIRST = 0.2
UNKNOWN_MOST = 60.0
BLOCKED_FIRST = 5.0
BLOCKED_MOST = 300.0
RETRY_AFTER_MOST = 3600.0
"""A store that asks for more is asked again after an hour all the same."""


def after_unknown(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait after the `failures`-th unknown outcome in a row (1, 2, ...).

    Exponential with full jitter: `chance` is uniform in [0, 1). A `retry_after` of the store is a floor; the jitter
    comes on top, so that a fleet that was turned away together does not come back together.
    """
    delay = chance * _doubled(UNKNOWN_FIRST, UNKNOWN_MOST, failures)
    if retry_after is None:
        return delay
    return min(max(retry_after, 0.0), RETRY_AFTER_MOST) + delay


def after_blocked(failures: int, chance: float) -> float:
    """Seconds to wait after the `failures`-th refusal in a row: slowly, because somebody has to change something."""
    return (0.5 + 0.5 * chance) * _doubled(BLOCKED_FIRST, BLOCKED_MOST, failures)


def _doubled(first: float, most: float, times: int) -> float:
    return float(min(most, first * 2 ** min(max(times, 1) - 1, 30)))
