"""Column names: every column has one, no two are alike, none is the daemon's."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest
from collectord_client.errors import CollectError
from collectord_client.names import SYSTEM, as_names, resolve

NAMES = st.lists(st.sampled_from(["a", "b", "a.1", "a.2", "column_2", "", *SYSTEM[:2], SYSTEM[0] + ".1"]), max_size=12)


@pytest.mark.parametrize(
    ("given", "own", "width", "names", "notes"),
    [
        (None, None, 3, ("column_1", "column_2", "column_3"), []),
        (None, ("x", "y"), 2, ("x", "y"), []),
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
    assert resolve(given, own, width) == (names, notes, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "own", "names", "order", "notes"),
    [
        (("a", "b"), ("a", "b"), ("a", "b"), None, []),
        (("a", "b"), ("b", "a"), ("a", "b"), (1, 0), []),
        (("c", "a"), ("a", "b", "c"), ("c", "a"), (2, 0), ["columns_left_out"]),
        (("a", "b"), ("a", "b", "c"), ("a", "b"), (0, 1), ["columns_left_out"]),
        (("f1", "f2"), ("zzz", "f1"), ("f1", "zzz"), (1, 0), ["names_differ"]),
        (("a", "b", "c"), ("a", "b"), ("a", "b"), None, ["names_differ"]),
        (("a", "b"), ("x", "y"), ("a", "b"), None, ["names_differ"]),
        (("a", "b"), ("x", "y", "z"), ("a", "b", "column_3"), None, ["names_differ", "more_values_than_names"]),
        (("x", "y"), ("x", "x"), ("x", "x.1"), None, ["names_differ", "renamed"]),
        (("x", "x"), ("x", "x"), ("x", "x.1"), None, ["renamed"]),
        (("x", "y", "x"), ("x", "x", "y"), ("x", "y", "x.1"), (0, 2, 1), ["renamed"]),
    ],
)
def test_data_with_names_of_its_own_is_matched_by_name(
    given: tuple[str, ...], own: tuple[str, ...], names: object, order: object, notes: object
) -> None:
    """A value never comes under the name of another column that is there."""
    assert resolve(given, own, len(own)) == (names, notes, order)


def test_columns_that_are_only_counted_are_named_by_position() -> None:
    assert resolve(("a", "b"), ("0", "1"), 2, positional=True) == (("a", "b"), [], None)
    assert resolve(("1", "0"), ("0", "1"), 2, positional=True) == (("1", "0"), [], (1, 0))


def test_one_text_is_one_name() -> None:
    assert as_names("ab") == ("ab",)
    assert as_names(("a", 1)) == ("a", "1")
    assert as_names(None) is None


@hypothesis.given(NAMES, st.integers(1, 12))
def test_whatever_is_given_they_are_distinct(given: list[str], width: int) -> None:
    names, _, _ = resolve(tuple(given), None, width)
    assert len(names) == len(set(names)) == width
    assert not set(names) & set(SYSTEM)
    assert all(names)


@hypothesis.given(NAMES.filter(bool), NAMES.filter(bool))
def test_whatever_data_and_collector_call_them_no_value_is_mislabelled(given: list[str], own: list[str]) -> None:
    names, notes, order = resolve(tuple(given), tuple(own), len(own))
    places = order or tuple(range(len(names)))
    assert len(names) == len(set(names)) == len(places) == len(set(places))
    for name, at in zip(names, places, strict=True):
        if name != own[at] and name in own and name in given:
            assert own.count(name) > 1 or "renamed" in notes


@pytest.mark.parametrize("bad", ["a\0", "\ud800", "x" * 1025])
def test_names_that_no_header_can_hold(bad: str) -> None:
    with pytest.raises(CollectError) as caught:
        resolve((bad,), None, 1)
    assert caught.value.reason == "bad_name"
