"""What has failed last."""

from __future__ import annotations

from collectord.pipeline.last_errors import KEPT, LastErrors
from collectord.testing.clock import ManualClock


def test_the_newest_come_first_and_what_is_said_again_is_counted() -> None:
    clock = ManualClock()
    made = LastErrors(clock)
    assert (made.newest, made.all()) == ("", [])
    for what in ("a", "b", "a"):
        clock.advance(1)
        made.say(what)
    assert made.newest == "a"
    assert [(error.what, error.times) for error in made.all()] == [("a", 2), ("b", 1)]
    assert made.all()[0].at > made.all()[1].at


def test_only_a_few_are_kept() -> None:
    made = LastErrors(ManualClock())
    for number in range(KEPT * 2):
        made.say(str(number))
    assert len(made.all()) == KEPT
    assert made.newest == str(KEPT * 2 - 1)
