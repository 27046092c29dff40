"""Telemetry events by minute; no real time."""

from __future__ import annotations

from collectord.buffer.event_totals import MILLISECONDS, EventTotals
from collectord.model import StreamKind
from collectord.pipeline.event_minutes import MINUTES, EventMinutes
from collectord.testing.clock import ManualClock


def requests(count: float, failed: float = 0.0, each_ms: float = 7.0) -> EventTotals:
    buckets = [0.0] * (len(MILLISECONDS) + 1)
    buckets[3] = count
    return EventTotals(count, failed, count, count * each_ms, tuple(buckets))


def test_without_events_there_is_no_overview() -> None:
    assert EventMinutes(ManualClock()).recent() is None


def test_the_overview_is_of_the_last_minutes() -> None:
    clock = ManualClock()
    made = EventMinutes(clock)
    made.add(StreamKind.REQUEST, requests(1000))
    clock.advance(10 * 60)
    for _ in range(5):
        clock.advance(60)
        made.add(StreamKind.REQUEST, requests(60, failed=6))
        made.add(StreamKind.EXCEPTION, EventTotals(2))
    clock.advance(59.999)
    said = made.recent()
    assert said is not None
    assert said["request"] == {"per_minute": 60.0, "failed_percent": 10.0, "average_ms": 7.0, "p95_ms": 7.8}
    assert said["exception"] == {"per_minute": 2.0}
    assert said["dependency"] == {"per_minute": 0.0, "failed_percent": None, "average_ms": None, "p95_ms": None}


def test_a_daemon_that_has_just_begun_is_not_measured_by_five_minutes() -> None:
    clock = ManualClock()
    made = EventMinutes(clock)
    clock.advance(30)
    made.add(StreamKind.TRACE, EventTotals(10))
    said = made.recent()
    assert said is not None
    assert said["trace"]["per_minute"] == 20


def test_curves_have_the_minutes_that_are_over_and_nothing_before_the_start() -> None:
    clock = ManualClock()
    clock.advance(3000 * 60)
    made = EventMinutes(clock)
    made.add(StreamKind.TRACE, EventTotals(4))
    clock.advance(60)
    clock.advance(60)
    made.add(StreamKind.TRACE, EventTotals(9))
    curve = made.series()["trace.per_minute"]
    assert curve == [None] * (MINUTES - 3) + [4.0, 0.0]


def test_an_hour_is_kept() -> None:
    clock = ManualClock()
    made = EventMinutes(clock)
    for _ in range(3 * MINUTES):
        made.add(StreamKind.TRACE, EventTotals(1))
        clock.advance(60)
    assert len(made._minutes) <= MINUTES
    assert made.series()["trace.per_minute"] == [1.0] * (MINUTES - 1)
    clock.advance(60 * MINUTES)
    assert made.recent() is None


def test_the_minute_in_which_the_daemon_began_is_not_drawn_as_a_whole_one() -> None:
    clock = ManualClock()
    clock.advance(600 * 60 + 50)
    made = EventMinutes(clock)
    made.add(StreamKind.TRACE, EventTotals(4))
    clock.advance(60)
    made.add(StreamKind.TRACE, EventTotals(9))
    clock.advance(60)
    assert made.series()["trace.per_minute"] == [None] * (MINUTES - 2) + [9.0]
