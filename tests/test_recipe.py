"""Capture recipes as the document has them: what is read, what a change is given beside, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from collectord.recipe import Recipe, completed, read, time_of

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
UNTIL = "2026-12-01T12:00:00Z"
UNTIL_NS = 1_796_126_400_000_000_000


def test_a_recipe_is_read_whole() -> None:
    said = {"id": "5f0c", "requests": 500, "where": "score > 0.9", "failed": True, "until": UNTIL}
    assert read(said) == Recipe("5f0c", 500, "score > 0.9", True, UNTIL_NS)
    assert read({"failed": True, "where": None, "until": UNTIL, "id": "x"}) == Recipe("x", 0, "", True, UNTIL_NS)
    assert read({"requests": 1, "until": "1999-01-01T00:00:00Z"}).until_ns > 0, "one that is over is no fault"


def test_without_an_id_the_same_words_are_the_same_recipe() -> None:
    first, again, other = (read({"requests": n, "until": UNTIL}) for n in (1, 1, 2))
    assert first.id == again.id != other.id


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ([], "is an object with requests, where, failed, until, id"),
        ({"requests": 1, "until": UNTIL, "rows": 3}, "not 'rows'; it may be of a later version"),
        ({"requests": 0, "until": UNTIL}, "requests is a whole number from 1 to 1000000000, not 0"),
        ({"requests": -5, "until": UNTIL}, "not -5"),
        ({"requests": True, "until": UNTIL}, "not True"),
        ({"requests": 1 << 70, "until": UNTIL}, "requests is a whole number"),
        ({"requests": 1.0, "until": UNTIL}, "not 1.0"),
        ({"where": "score >> 1", "until": UNTIL}, "where: 'score >> 1': '>>' at character 7 is not a comparison"),
        ({"where": 5, "until": UNTIL}, "where is a text such as 'score > 0.9', not 5"),
        ({"failed": "yes", "until": UNTIL}, "failed is true or null, not 'yes'"),
        ({"failed": False, "until": UNTIL}, "selects nothing in particular"),
        ({"until": UNTIL}, "selects nothing in particular"),
        ({"requests": 1}, "until is a time such as 2026-12-01T12:00:00Z, not None"),
        ({"requests": 1, "until": "tomorrow"}, "not 'tomorrow'"),
        ({"requests": 1, "until": "9999-12-31T23:59:59Z"}, "until is a time"),
        ({"requests": 1, "until": "0001-01-01T00:00:00+14:00"}, "until is a time"),
        ({"requests": 1, "until": 1e9}, "until is a time"),
        ({"requests": 1, "until": UNTIL, "id": "x" * 101}, "id is a text of at most 100 characters"),
        ({"requests": 1, "until": UNTIL, "id": 7}, "id is a text"),
    ],
)
def test_what_makes_no_sense_is_named(said: Any, what: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(said)
    assert what in str(refused.value)


def test_a_change_is_completed() -> None:
    assert completed({"requests": 5, "where": None}, NOW, "new") == {
        "requests": 5, "until": "2026-11-22T12:00:00Z", "id": "new",
    }  # fmt: skip
    given = completed({"failed": True, "until": "2026-12-01T14:00:00.5+02:00", "id": "mine"}, NOW, "new")
    assert given == {"failed": True, "until": UNTIL, "id": "mine"}
    assert completed(None, NOW, "new") is None
    assert completed(5, NOW, "new") == 5, "refused later, as what it is"


def test_a_recipe_that_would_be_over_is_refused() -> None:
    for until in "2026-11-21T12:00:00Z", "2026-11-21T11:59:59", "1970-01-01T00:00:00Z":
        with pytest.raises(ValueError, match="lies in the past"):
            completed({"requests": 5, "until": until}, NOW, "new")


def test_times_may_have_any_zone_and_none_is_utc() -> None:
    for text in UNTIL, "2026-12-01T12:00:00", "2026-12-01T13:00:00+01:00", "2026-12-01t12:00:00z":
        assert time_of(text) == datetime(2026, 12, 1, 12, tzinfo=timezone(timedelta(0)))
