"""Whatever a script hands over becomes JSON that every reader takes, within its bounds."""

from __future__ import annotations

import datetime
import decimal
import enum
import hashlib
import json
import sys
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client.telemetry import cuts
from collectord_client.telemetry.contents import read
from collectord_client.telemetry.dimensions import DEEPEST, MOST, NODES, Budget, encode, frozen, plain


class Bad:
    def __str__(self) -> str:
        raise ValueError("secret")


class Colour(enum.Enum):
    RED = 1


def itself() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


def deep(levels: int) -> Any:
    made: Any = "end"
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("given", "expected", "altered"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}, False),
        ((1, {2}), [1, [2]], False),
        ({1: "x", None: "y"}, {"1": "x", "None": "y"}, True),
        ([float("nan"), float("inf"), -float("inf")], ["NaN", "Infinity", "-Infinity"], True),
        (np.float32(0.5), 0.5, False),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], False),
        (pd.Series([1.0, np.nan]), [1.0, "NaN"], True),
        (
            np.array(["2026-11-21T01:02:03.000000004", "NaT"], "datetime64[ns]"),
            ["2026-11-21T01:02:03.000000004", "NaT"],
            False,
        ),
        (np.datetime64("2026-11-21", "ns"), "2026-11-21T00:00:00.000000000", False),
        (np.zeros(1 << 20), "(ndarray of 8388608 bytes)", True),
        (datetime.datetime(2026, 11, 21, 1), "2026-11-21 01:00:00", False),
        (decimal.Decimal("1.10"), "1.10", False),
        (uuid.UUID(int=7), str(uuid.UUID(int=7)), False),
        (Colour.RED, "Colour.RED", True),
        (1 << 70, str(1 << 70), True),
        ([(1 << 63) - 1, 1 << 63, -(1 << 63)], [(1 << 63) - 1, str(1 << 63), str(-(1 << 63))], True),
        (np.uint64((1 << 64) - 1), str((1 << 64) - 1), True),
        ([sys.float_info.max, -1e308, 5e-324, -0.0], ["1.7976931348623157e+308", "-1e+308", "5e-324", -0.0], True),
        (b"raw", "(3 bytes)", True),
        (Bad(), "(Bad: its text failed with ValueError)", True),
        (itself(), [1, "(contains itself)"], True),
        (1 + 2j, "(1+2j)", True),
    ],
    ids=lambda one: repr(type(one).__name__),
)
def test_values_become_what_json_has(given: Any, expected: Any, altered: bool) -> None:
    budget = Budget()
    assert plain(given, budget) == expected
    assert budget.altered is altered


def test_a_frame_is_its_rows() -> None:
    """Its text has dots in the place of columns and rows; what is too large for more is that text."""
    wide = pd.DataFrame({f"f{number}": [number, number + 0.5] for number in range(40)}).assign(name=["a", "b"])
    budget = Budget()
    assert plain(wide, budget) == [
        {**{f"f{number}": number + half for number in range(40)}, "name": name} for half, name in ((0, "a"), (0.5, "b"))
    ]
    assert not budget.altered
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for given in (twice, pd.DataFrame({"x": range(5000)})):
        budget = Budget()
        assert plain(given, budget) == str(given)
        assert budget.altered


def test_what_is_frozen_does_not_change_any_more() -> None:
    given = [1, {"a": [2]}]
    kept = frozen({"k": given}, Budget())
    given[1]["a"].append(3)  # type: ignore[index]
    assert kept == {"k": [1, {"a": [2]}]}


def test_too_deep_and_too_much() -> None:
    budget = Budget()
    assert "deeper" in json.dumps(plain(deep(DEEPEST + 5), budget))
    assert budget.altered
    assert "deeper" not in json.dumps(plain(deep(DEEPEST), Budget()))
    many = Budget()
    found = plain(list(range(NODES * 2)), many)
    assert isinstance(found, list)
    assert len(found) < NODES
    assert many.altered


def test_an_object_that_lies_about_itself() -> None:
    class Liar(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("secret")

    assert plain(Liar(a=1), Budget()) == "(Liar: RuntimeError)"


def test_keys_that_are_too_long_stay_apart() -> None:
    told: cuts.Cuts = {}
    keys = ["k" * 200 + end for end in "ab"]
    found = json.loads(encode({key: number for number, key in enumerate(keys)}, told))
    marks = found.pop(cuts.MARK)
    assert list(found.values()) == [0, 1]
    assert all(len(key) == cuts.KEY for key in found)
    assert [marks[key]["key"] for key in found] == [
        {"size": 201, "sha256": hashlib.sha256(key.encode()).hexdigest()} for key in keys
    ]


def test_a_thousand_dimensions_and_more() -> None:
    told: cuts.Cuts = {}
    assert len(json.loads(encode({f"k{at}": at for at in range(MOST)}, told))) == MOST
    assert told == {}
    found = json.loads(encode({f"k{at}": at for at in range(MOST + 1)}, told))
    assert len(found) == MOST + 1
    assert found[cuts.MARK] == {"dimensions": {"count": MOST + 1}}


@pytest.mark.parametrize("letter", ["x", "ä", "\0", '"', "\ud800", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("nested", [False, True])
def test_the_longest_are_cut_and_tell_of_it(letter: str, nested: bool) -> None:
    whole = letter * 500_000
    told: cuts.Cuts = {}
    text = encode({"small": "s" * 100, "large": [whole] if nested else whole}, told, 100_000)
    assert len(text.encode()) < 101_000
    found = json.loads(text)
    assert found["small"] == "s" * 100
    mark = found[cuts.MARK]["large"]
    assert set(found[cuts.MARK]) == {"large"}
    if not nested:
        assert found["large"] == cuts.sound(whole)[: len(found["large"])]
        assert len(text.encode()) > 60_000 / (3 if letter == "\ud800" else 1)
        assert mark["sha256"] == hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()
    assert mark["size"] >= 500_000


def test_many_large_ones_share_the_room() -> None:
    told: cuts.Cuts = {}
    text = encode({f"k{at}": "y" * 50_000 for at in range(50)}, told, 100_000)
    assert len(text) < 120_000
    assert len(json.loads(text)) == 51


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"input": "x", "output": [1.0]}', {"input": "x", "output": [1.0]}),
        ("[1, 2]", [1, 2]),
        ('{"a": NaN}', {"a": "NaN"}),
        ('{"a": 1', '{"a": 1'),
        ("{'a': 1}", "{'a': 1}"),
        ("42", "42"),
        ("plain", "plain"),
        ("", ""),
        ("[" * 100_000 + "]" * 100_000, "[" * 100_000 + "]" * 100_000),
    ],
)
def test_contents_are_json_where_they_are(text: str, expected: Any) -> None:
    assert read(text, Budget()) == expected


def test_contents_that_are_not_to_be_read() -> None:
    large = json.dumps({"a": "x" * 500_000})
    assert read(large, Budget()) == large
    assert "deeper" in json.dumps(read("[" * 60 + "]" * 60, Budget()))
