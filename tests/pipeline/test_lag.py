"""How far an exporter may lie behind."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from collectord.model import Lsn
from collectord.pipeline.lag import MARKS, Limits, floor_of, held_bytes, marked, oldest_seconds, shifted, too_old
from collectord.upload.exported import Mark
from collectord.wal.segment import Segment

HOUR = 3_600_000_000_000
LIMITS = Limits(64 * 3600, 1000)


class _Segment:
    def __init__(self, base: int, end: int | None) -> None:
        self.base, self.end, self.path = Lsn(base), None if end is None else Lsn(end), Path()


def segments(*bounds: tuple[int, int | None]) -> list[Segment]:
    return [cast(Segment, _Segment(*one)) for one in bounds]


def test_never_more_than_a_share_of_what_the_log_may_use() -> None:
    assert Limits(1, 1000).bytes_of(10_000) == 1000
    assert Limits(1, 1000).bytes_of(1000) == 400


def test_bytes_are_those_of_segments_that_exist() -> None:
    log = segments((0, 100), (1000, 1100), (2000, None))
    assert held_bytes(log, Lsn(0), Lsn(2050)) == 250
    assert held_bytes(log, Lsn(1050), Lsn(2050)) == 100
    assert held_bytes(log, Lsn(2050), Lsn(2050)) == 0


def test_the_floor_leaves_as_much_as_is_allowed() -> None:
    log = segments((0, 100), (1000, 1100), (2000, None))
    for most in (0, 1, 50, 51, 120, 150, 151, 249, 250, 1000):
        floor = floor_of(log, Lsn(2050), most)
        assert held_bytes(log, floor, Lsn(2050)) == min(most, 250)


def test_a_mark_is_made_now_and_then_and_forgotten_when_it_is_passed() -> None:
    marks = marked((), Lsn(10), 0, Lsn(0), LIMITS)
    assert marks == (Mark(Lsn(10), 0),)
    assert marked(marks, Lsn(20), HOUR - 1, Lsn(0), LIMITS) == marks, "not yet"
    marks = marked(marks, Lsn(20), HOUR, Lsn(0), LIMITS)
    assert marks == (Mark(Lsn(10), 0), Mark(Lsn(20), HOUR))
    assert marked(marks, Lsn(20), 9 * HOUR, Lsn(0), LIMITS) == marks, "nothing has come since"
    assert marked(marks, Lsn(20), 9 * HOUR, Lsn(10), LIMITS) == marks[1:]
    assert marked(marks, Lsn(20), 9 * HOUR, Lsn(20), LIMITS) == ()


def test_a_clock_that_is_set_makes_nothing_older() -> None:
    marks = (Mark(Lsn(1), HOUR), Mark(Lsn(2), 2 * HOUR))
    year = 8760 * HOUR
    assert too_old(shifted(marks, year), 3 * HOUR + year, LIMITS) == 0
    assert oldest_seconds(shifted(marks, -HOUR), 2 * HOUR) == 7200


def test_marks_are_bounded_and_tell_what_is_too_old() -> None:
    marks: tuple[Mark, ...] = ()
    for hour in range(200):
        floor = too_old(marks, hour * HOUR, LIMITS)
        marks = marked(marks, Lsn(hour + 1), hour * HOUR, floor, LIMITS)
        assert len(marks) <= MARKS + 2
        assert oldest_seconds(marks, hour * HOUR) <= LIMITS.seconds + 3600
    assert too_old(marks, 200 * HOUR, LIMITS) > 100
    assert too_old(marks, 0, LIMITS) == 0, "a clock that was put back expires nothing"
