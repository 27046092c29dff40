"""What landing is expected to cost, and which setting is named for it."""

from __future__ import annotations

import pytest

from collectord.cost import GB, Prices, advice, cost_of

PRICES = Prices(write_10k=0.05, gb_month=0.018)


def test_a_stream_that_appends_once_a_minute_costs_as_the_table_of_capacity_says() -> None:
    """docs/capacity.md: a node's appends of one stream are about 0.26 a month, at intervals of 48 to 60 s."""
    cost = cost_of(0, 60, 3600, PRICES)
    assert cost.operations_per_hour == 60
    assert cost.per_month == pytest.approx(60 * 730 / 10_000 * 0.05)
    assert 0.2 < cost.per_month < 0.26


def test_bytes_cost_what_a_month_of_them_takes_to_keep() -> None:
    cost = cost_of(GB, 0, 7200, PRICES)
    assert cost.bytes_per_hour == GB / 2
    assert cost.per_month == pytest.approx(730 / 2 * 0.018)


def test_a_moment_is_no_rate() -> None:
    """One append in the first second is not 3,600 an hour."""
    assert cost_of(0, 1, 1.0, PRICES).operations_per_hour == 60


def test_the_knob_that_is_named_is_the_one_that_matters() -> None:
    assert "flush_interval makes fewer" in advice(cost_of(1, 60, 3600, PRICES)).replace("longer ", "")
    assert advice(cost_of(100 * GB, 60, 3600, PRICES)).startswith("Mostly bytes: codec")
    assert "Nothing was appended" in advice(cost_of(0, 0, 3600, PRICES))


def test_without_prices_nothing_costs_anything() -> None:
    assert cost_of(GB, 60, 3600, Prices(0.0, 0.0)).per_month == 0
