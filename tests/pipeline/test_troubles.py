"""Which blobs wait, why, and until when."""

from __future__ import annotations

import math

from collectord.pipeline.troubles import HASTE_SECONDS, STUCK_SECONDS, Troubles


def test_a_blob_waits_until_its_time_has_come() -> None:
    """Held before `until`, free from then on; another blob is never held by it."""
    troubles = Troubles()
    troubles.add("a", 100.0, 5.0, "503", "")
    assert troubles.holds("a", 104.9)
    assert not troubles.holds("a", 105.0)
    assert not troubles.holds("b", 100.0)
    assert troubles.next_until(104.9) == 105.0
    assert troubles.next_until(105.0) is None, "a time that has passed would be waited for in a circle"


def test_the_first_failure_dates_the_trouble() -> None:
    """`since` stays through further failures; the latest detail and reason are shown."""
    troubles = Troubles()
    troubles.add("a", 100.0, 5.0, "503", "")
    troubles.add("a", 105.0, 10.0, "AuthorizationFailure", "forbidden")
    (base, trouble), *others = troubles.all()
    assert (base, trouble.since, trouble.until, trouble.detail) == ("a", 100.0, 115.0, "AuthorizationFailure")
    assert trouble.blocked
    assert not others


def test_what_is_over_is_forgotten_unless_a_frame_is_open_for_it() -> None:
    """A blob with an open frame keeps its history until that frame has landed."""
    troubles = Troubles()
    for base in ("a", "b", "c"):
        troubles.add(base, 0.0, 1.0, "503", "")
    troubles.add("c", 0.0, 9.0, "503", "")
    troubles.forget_over(1.0, keep={"a"})
    assert [base for base, _ in troubles.all()] == ["a", "c"]
    assert troubles.settle("a") is not None
    assert troubles.settle("a") is None


def test_hurrying_lets_everything_be_tried_at_once() -> None:
    """As `collectord flush` wants it; since when it has been the matter stays known."""
    troubles = Troubles()
    troubles.add("a", 5.0, 600.0, "403", "forbidden")
    troubles.hurry()
    assert not troubles.holds("a", 5.0)
    troubles.add("a", 6.0, 600.0, "403", "forbidden")
    ((_, trouble),) = troubles.all()
    assert trouble.since == 5.0


def test_what_was_mended_for_one_has_the_others_tried_soon_and_not_each_time() -> None:
    """Where some land now and then, the others are not asked with each of them; who waits for a silent store keeps its time."""
    troubles = Troubles()
    for base in ("flaps", "sick", "slow"):
        troubles.add(base, 0.0, 300.0, "", "forbidden" if base != "slow" else "")
    troubles.landed("well", 1.0)
    troubles.add("sick", 2.0, 300.0, "403", "forbidden")
    for second in range(3, 6):
        troubles.landed("flaps", float(second))
        troubles.add("flaps", float(second), 300.0, "403", "forbidden")
    found = dict(troubles.all())
    assert found["sick"].until == 2.0 + HASTE_SECONDS
    assert found["sick"].again == math.inf, "it was not tried since"
    troubles.add("sick", 8.0, 300.0, "403", "forbidden")
    troubles.add("sick", 9.0, 300.0, "403", "forbidden")
    assert dict(troubles.all())["sick"].again == 8.0
    assert found["slow"].until == 300.0


def test_a_store_that_was_silent_for_long_says_nothing_against_those_that_were_not_tried_since() -> None:
    troubles = Troubles()
    for base in ("a", "b"):
        troubles.add(base, 0.0, 60.0, "no answer", "")
        troubles.add(base, 60.0, 60.0, "no answer", "")
    troubles.landed("a", STUCK_SECONDS + 1)
    ((_, trouble),) = troubles.all()
    assert trouble.again == math.inf
