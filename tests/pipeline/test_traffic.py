"""What goes to the blobs of each stream, over an hour."""

from __future__ import annotations

import pytest

from collectord.pipeline import traffic
from collectord.pipeline.traffic import SLOT_SECONDS, SLOTS, Flow, Traffic
from collectord.testing.clock import ManualClock


def test_appends_bytes_blob_and_error_of_a_stream() -> None:
    clock = ManualClock()
    made = Traffic(clock)
    made.begins("base", "a/b")
    made.tried("base")
    made.failed("base", "the store is down")
    made.tried("base")
    made.landed("base", "base/data.csv.zst", 100)
    clock.advance(90)
    flows, seconds = made.view()
    assert flows == {"a/b": Flow(2, 100, "base/data.csv.zst", "the store is down")}
    assert seconds == 90


def test_what_is_older_than_an_hour_is_forgotten_but_for_the_name() -> None:
    clock = ManualClock()
    made = Traffic(clock)
    made.begins("base", "s")
    for _ in range(SLOTS * 3):
        made.tried("base")
        made.landed("base", "blob", 10)
        clock.advance(SLOT_SECONDS)
    flows, seconds = made.view()
    assert flows["s"].operations == SLOTS - 1
    assert flows["s"].bytes == 10 * (SLOTS - 1)
    assert (SLOTS - 1) * SLOT_SECONDS <= seconds <= SLOTS * SLOT_SECONDS
    clock.advance(SLOT_SECONDS * SLOTS)
    assert made.view()[0]["s"] == Flow(0, 0, "blob", "")


def test_streams_are_bounded_and_the_busy_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MOST", 3)
    made = Traffic(ManualClock())
    made.begins("busy", "busy")
    for number in range(10):
        made.begins(f"base-{number}", f"stream-{number}")
        made.begins("busy", "busy")
        made.tried("busy")
    flows, _ = made.view()
    assert len(flows) == 3
    assert flows["busy"].operations == 10
    made.tried("base-0")
    made.failed("base-0", "forgotten")
    assert "stream-0" not in made.view()[0]
