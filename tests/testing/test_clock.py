"""Time passes when a test says so."""

from __future__ import annotations

import pytest

from collectord.testing.clock import ManualClock


def test_both_times_advance_together_and_only_the_wall_jumps() -> None:
    clock = ManualClock(wall_ns=1_000)
    clock.advance(2.5)
    assert (clock.monotonic(), clock.wall_ns()) == (2.5, 2_500_001_000)
    clock.set_wall(7)
    assert (clock.monotonic(), clock.wall_ns()) == (2.5, 7)


def test_time_does_not_go_back_by_advancing() -> None:
    with pytest.raises(ValueError, match="forwards"):
        ManualClock().advance(-1)
