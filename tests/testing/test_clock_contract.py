"""What everybody takes for granted about time holds for the machine's clock and for the one that tests own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from collectord.clock import Clock, SystemClock
from collectord.testing.clock import ManualClock

Passing = tuple[Clock, Callable[[], None]]


def some_time_passes() -> None:
    threading.Event().wait(0.002)


@pytest.fixture(params=["system", "manual"])
def passing(request: pytest.FixtureRequest) -> Passing:
    """A clock, and how some time passes on it."""
    if request.param == "system":
        return SystemClock(), some_time_passes
    manual = ManualClock()
    return manual, lambda: manual.advance(0.002)


def test_wall_time_is_nanoseconds_of_this_century(passing: Passing) -> None:
    now = passing[0].wall_ns()
    assert isinstance(now, int)
    assert 946_684_800 < now / 1e9 < 4_102_444_800


def test_monotonic_time_is_seconds_and_never_goes_back(passing: Passing) -> None:
    clock, passes = passing
    seen = []
    for _ in range(5):
        seen.append(clock.monotonic())
        passes()
    assert all(isinstance(one, float) for one in seen)
    assert seen == sorted(seen)


def test_both_go_on_by_what_has_passed(passing: Passing) -> None:
    clock, passes = passing
    before = clock.wall_ns(), clock.monotonic()
    passes()
    assert clock.wall_ns() - before[0] >= 1_000_000
    assert clock.monotonic() - before[1] >= 0.001


def test_it_may_be_asked_from_any_thread(passing: Passing) -> None:
    clock, passes = passing
    before, told = clock.monotonic(), list[float]()
    passes()
    other = threading.Thread(target=lambda: told.append(clock.monotonic()))
    other.start()
    other.join()
    assert told[0] > before
