"""What is known of open frames: since when an append is unanswered, how often it failed, and the counts."""

from __future__ import annotations

import random

from collectord.testing.clock import ManualClock
from collectord.upload.attempts import Attempts, BlockedFor, Counts, Retry
from collectord.upload.store import Blocked, Unknown

LATENESS = 80.0
NOTHING = Counts(landed=0, settled=0, races=0, replaced=0, rolled=0, unknown=0, blocked=0)


def test_an_unanswered_append_may_arrive_for_as_long_as_the_store_is_late() -> None:
    """Also one of an earlier run; counted from the last one, until the frame is over."""
    clock = ManualClock()
    attempts = Attempts(clock, random.Random(1), [7])
    assert attempts.may_arrive(7, LATENESS) == LATENESS
    assert attempts.may_arrive(8, LATENESS) is None
    clock.advance(LATENESS + 1.0)
    assert attempts.may_arrive(7, LATENESS) == -1.0
    attempts.left_unanswered(7)
    attempts.left_unanswered(8)
    assert attempts.may_arrive(7, LATENESS) == attempts.may_arrive(8, LATENESS) == LATENESS
    attempts.over(7)
    assert attempts.may_arrive(7, LATENESS) is None
    assert attempts.may_arrive(8, LATENESS) == LATENESS


def test_a_frame_that_fails_again_waits_longer_and_another_one_does_not() -> None:
    attempts = Attempts(ManualClock(), random.Random(1), [])
    waits = []
    for _ in range(5):
        result = attempts.failed(7, Blocked("leased", "d"))
        assert isinstance(result, BlockedFor)
        assert (result.reason, result.detail) == ("leased", "d")
        waits.append(result.after_seconds)
    assert waits[-1] > 4 * waits[0]
    assert attempts.failed(8, Blocked("leased", "d")).after_seconds < 2 * waits[0]
    attempts.over(7)
    assert attempts.failed(7, Blocked("leased", "d")).after_seconds < 2 * waits[0]
    assert isinstance(attempts.failed(7, Unknown("silence")), Retry)


def test_what_happened_is_counted() -> None:
    attempts = Attempts(ManualClock(), random.Random(1), [])
    assert attempts.counts() == NOTHING
    attempts.failed(7, Unknown("silence"))
    attempts.failed(7, Blocked("leased", "d"))
    attempts.count("settled")
    attempts.count("landed")
    assert attempts.counts() == Counts(landed=1, settled=1, races=0, replaced=0, rolled=0, unknown=1, blocked=1)
