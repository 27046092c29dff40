"""Quantiles of what was counted in buckets, as a histogram of Prometheus has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """Where so large a share of what was counted lies below, if it is spread evenly in each bucket: the bound of the last but one
    for what lies in the last. None if nothing was counted."""
    wanted = sum(counts) * share
    if not wanted:
        return None
    low = seen = 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if count and seen + count >= wanted:
            return round(low if bound == float("inf") else low + (bound - low) * (wanted - seen) / count, 6)
        seen += count
        low = bound if bound != float("inf") else low
    return low
