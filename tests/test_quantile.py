"""Quantiles of buckets, as Prometheus' histogram_quantile has them."""

from __future__ import annotations

import pytest

from collectord.quantile import quantile

BOUNDS = (1.0, 2.0, 4.0, float("inf"))


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.5),
        ((0, 10, 0, 0), 0.5, 1.5),
        ((5, 0, 5, 0), 0.75, 3.0),
        ((0, 0, 0, 7), 0.99, 4.0),
        ((1, 0, 0, 1), 1.0, 4.0),
    ],
)
def test_where_so_large_a_share_lies_below(counts: tuple[float, ...], share: float, expected: float | None) -> None:
    assert quantile(BOUNDS, counts, share) == expected
