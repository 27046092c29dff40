"""Column names: every column has one, no two are alike, none is the daemon's."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
from collectord_client.errors import CollectError
from collectord_client.names import SYSTEM, resolve

NAMES = st.lists(st.sampled_from(["a", "b", "a.1", "a.2", "column_2", "", *SYSTEM[:2], SYSTEM[0] + ".1"]), max_size=12)


@pytest.mark.parametrize(
    ("given", "own", "width", "names", "notes"),
    [
        (None, None, 3, ("column_1", "column_2", "column_3"), []),
        (None, ("x", "y"), 2, ("x", "y"), []),
        (("a", "b"), ("x", "y"), 2, ("a", "b"), []),
        (("a",), None, 3, ("a", "column_2", "column_3"), ["more_values_than_names"]),
        (("a", "b", "c"), None, 2, ("a", "b"), ["fewer_values_than_names"]),
        (("feat6", "feat6"), None, 2, ("feat6", "feat6.1"), ["renamed"]),
        (("a", "a", "a.1"), None, 3, ("a", "a.2", "a.1"), ["renamed"]),
        (("$aml_dc_row", "a"), None, 2, ("$aml_dc_row.1", "a"), ["renamed"]),
        (("", "a"), None, 2, ("column_1", "a"), ["renamed"]),
        (("column_2",), None, 2, ("column_2", "column_2.1"), ["more_values_than_names", "renamed"]),
    ],
)
def test_names(given: object, own: object, width: int, names: object, notes: object) -> None:
    assert resolve(given, own, width) == (names, notes)  # type: ignore[arg-type]


@hypothesis.given(NAMES, st.integers(1, 12))
def test_whatever_is_given_they_are_distinct(given: list[str], width: int) -> None:
    names, _ = resolve(tuple(given), None, width)
    assert len(names) == len(set(names)) == width
    assert not set(names) & set(SYSTEM)
    assert all(names)


@pytest.mark.parametrize("bad", ["a\0", "\ud800", "x" * 1025])
def test_names_that_no_header_can_hold(bad: str) -> None:
    with pytest.raises(CollectError) as caught:
        resolve((bad,), None, 1)
    assert caught.value.reason == "bad_name"
