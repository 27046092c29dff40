"""What a comparison must say whatever is compared."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.pairs import FEWEST, Interval, interval, ratio, take_turns


class Clock:
    """Stands still but for what the contestants take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_interval_of_fifteen_reaches_from_the_fourth_to_the_twelfth() -> None:
    samples = random.Random(1).sample([float(number) for number in range(1, 16)], 15)
    assert interval(samples) == Interval(8.0, 4.0, 12.0, 15)
    assert interval([5.0, 6.0, 1.0, 2.0, 3.0, 4.0]) == Interval(3.5, 1.0, 6.0, 6)


@pytest.mark.parametrize("count", [FEWEST, 9, 15, 40])
def test_the_true_median_lies_outside_at_most_every_twentieth_time(count: int) -> None:
    chance = random.Random(count)
    tries = 4000
    outside = 0
    for _ in range(tries):
        found = interval([chance.lognormvariate(0.0, 1.0) for _ in range(count)])
        outside += not found.low <= 1.0 <= found.high
    # An interval that is far too wide would be no use either.
    assert 0.005 < outside / tries < 0.05 + 0.01


def test_too_few_samples_have_no_interval() -> None:
    with pytest.raises(ValueError, match="5 samples"):
        interval([1.0] * (FEWEST - 1))
    with pytest.raises(ValueError, match="nobody"):
        take_turns({})


def test_one_disturbed_round_does_not_move_a_ratio() -> None:
    ours, peer = [1.0] * 15, [2.0] * 15
    peer[3] = 500.0
    assert ratio(peer, ours) == Interval(2.0, 2.0, 2.0, 15)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0] * 15, [1.0] * 14)


def test_a_machine_that_slows_down_slows_down_both() -> None:
    """The ratio is that of neighbours: times that drift to threefold do not show in it."""
    clock = Clock()
    drift = [1.0]

    def costs(seconds: float) -> None:
        clock.now += seconds * drift[0]
        drift[0] *= 1.01

    times = take_turns({"ours": lambda: costs(1.0), "peer": lambda: costs(4.0)}, 60, least=0.0, clock=clock)
    assert max(times["ours"]) > 3 * min(times["ours"])
    found = ratio(times["peer"], times["ours"])
    assert (found.low, found.middle, found.high) == pytest.approx((4.0,) * 3, rel=0.02)
    assert statistics.median(times["peer"]) > 7 > 4 * min(times["ours"])


def test_contestants_take_turns_in_going_first_and_are_called_as_often_as_it_takes() -> None:
    clock = Clock()
    calls: list[str] = []

    def named(name: str, seconds: float) -> None:
        calls.append(name)
        clock.now += seconds

    times = take_turns({"a": lambda: named("a", 1.0), "b": lambda: named("b", 0.5)}, 3, least=1.0, clock=clock)
    warm = 4
    assert "".join(calls[warm:]) == "abb" + "bba" + "abb"
    assert times == {"a": [1.0] * 3, "b": [0.5] * 3}
