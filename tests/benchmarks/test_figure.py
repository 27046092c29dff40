"""When a target is met, and that a page shows what was measured."""

from __future__ import annotations

import pytest

from benchmarks.pairs import Interval
from benchmarks.targets.figure import Figure, Measured, Series, at_least, at_most, dump, load, table
from benchmarks.targets.page import PAGE, filled


def figure(low: float, middle: float, high: float, bound=None) -> Figure:
    return Figure("what", "×", Interval(middle, low, high, 15), bound)


@pytest.mark.parametrize(
    ("bound", "interval", "verdict"),
    [
        (at_least(10.0), (10.0, 11.0, 12.0), "met"),
        (at_least(10.0), (9.9, 11.0, 12.0), "missed, within its interval"),
        (at_least(10.0), (8.0, 9.0, 10.0), "missed, within its interval"),
        (at_least(10.0), (8.0, 9.0, 9.9), "missed"),
        (at_most(0.5), (0.3, 0.4, 0.5), "met"),
        (at_most(0.5), (0.3, 0.4, 0.51), "missed, within its interval"),
        (at_most(0.5), (0.51, 0.6, 0.7), "missed"),
        (None, (1.0, 2.0, 3.0), ""),
    ],
)
def test_the_interval_decides(bound, interval: tuple[float, float, float], verdict: str) -> None:
    assert figure(*interval, bound).verdict == verdict


def test_what_was_measured_is_kept_whole() -> None:
    measured = Measured(
        [figure(1.0, 2.0, 3.0, at_most(4.0)), figure(1.0, 2.0, 3.0)],
        {"plot": [Series("line", ["A", "B"], [Interval(1.0, 0.5, 2.0, 6)] * 2)]},
    )
    assert load(dump(measured)) == measured
    assert "≤ 4" in table(measured) and "met" in table(measured)


def test_a_page_shows_each_target_once() -> None:
    page = "before\n<!-- measured: 1 -->\nold\n<!-- end -->\nbetween <!-- measured: where -->\n<!-- end -->\n"
    assert filled(page, {"1": "new\n", "where": "here\n"}) == (
        "before\n<!-- measured: 1 -->\nnew\n<!-- end -->\nbetween <!-- measured: where -->\nhere\n<!-- end -->\n"
    )
    with pytest.raises(ValueError, match="measured are 1, 2"):
        filled(page, {"1": "", "2": ""})


def test_the_real_page_has_a_place_for_each_target_and_every_plot() -> None:
    from benchmarks.targets.__main__ import TARGETS
    from benchmarks.targets.page import PLOTS

    page = PAGE.read_text()
    assert filled(page, dict.fromkeys(("where", "summary", *TARGETS), ""))
    for name in PLOTS:
        assert f"](images/performance-{name}.svg)" in page
        assert (PAGE.parent / "images" / f"performance-{name}.svg").read_bytes().startswith(b"<?xml")
