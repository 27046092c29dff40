"""Rates, latencies and curves of what a daemon looked like over an hour; no real time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from collectord import history
from collectord.history import KEPT, POINTS, History, Sample
from collectord.metrics import SECONDS

BUCKETS = len(SECONDS) + 1


@dataclass
class Life:
    """A daemon that receives 10 rows a second and lands 8 of them."""

    at: float = 1000.0
    slow: int = 0
    looks: int = 0
    looked: threading.Event = field(default_factory=threading.Event)
    broken: bool = False

    def __call__(self) -> Sample:
        self.looks += 1
        self.looked.set()
        if self.broken:
            raise OSError("the disk")
        sync = [0.0] * BUCKETS
        sync[0], sync[5] = self.at, self.slow
        seen = self.at - 1000
        return Sample(self.at, 10 * seen, 8 * seen, 100 * seen, 0, 0, int(2 * seen), 1.5, tuple(sync), (0.0,) * BUCKETS)


def lived(seconds: int, step: int = 5) -> tuple[History, Life]:
    life = Life()
    made = History(life)
    for at in range(0, seconds + 1, step):
        life.at = 1000.0 + at
        made.sample()
    return made, life


def test_rates_are_those_of_the_last_seconds() -> None:
    made, _ = lived(600)
    assert made.rates() == {"seconds": 15.0, "received_rows": 10.0, "landed_rows": 8.0, "landed_bytes": 100.0}


def test_before_the_second_look_nothing_flows_and_nothing_fails() -> None:
    made = History(Life())
    assert made.rates()["received_rows"] == 0
    assert made.series()["received_rows"] == []
    made.sample()
    assert made.series()["received_rows"] == []
    assert made.latency()["append"] == {"count": 0, "p50": None, "p99": None}


def test_latency_is_of_the_last_minutes_only() -> None:
    """What was slow an hour ago is over."""
    life = Life(slow=1_000_000)
    made = History(life)
    for at in range(0, 1200, 5):
        life.at = 1000.0 + at
        made.sample()
    assert made.latency()["sync"]["count"] == 300
    p99 = made.latency()["sync"]["p99"]
    assert p99 is not None
    assert p99 <= SECONDS[0]


def test_an_hour_is_kept_and_drawn_with_a_bounded_number_of_points() -> None:
    made, _ = lived(5 * KEPT * 2)
    series = made.series()
    assert series["seconds"] == pytest.approx(3600, rel=0.01)
    assert {len(curve) for name, curve in series.items() if name != "seconds"} == {POINTS}
    assert set(series["received_rows"]) == {10.0}
    assert series["oldest_seconds"][-1] == 1.5


def test_the_newest_point_is_the_newest_sample() -> None:
    made, _ = lived(5 * 200)
    assert made.series()["waiting_rows"][-1] == 2000


def test_the_thread_looks_again_also_after_it_has_failed_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "INTERVAL", 0.001)
    life = Life()
    made = History(life)
    made.start()
    for broken in (True, False):
        life.broken = broken
        life.looked.clear()
        assert life.looked.wait(10)
    made.stop(10)
    assert not made._thread.is_alive()
    made.stop(10)
