"""The grammar of conditions: what is refused points at the word, and the client understands exactly what the daemon takes."""

from __future__ import annotations

import pytest
from collectord_client import condition as client
from collectord_client.block import FLOAT64, INT64, TIMESTAMP, Block
from collectord_client.intake import tabulate
from collectord_client.values import Memory
from hypothesis import given
from hypothesis import strategies as st

from collectord import condition

GOOD = [
    "score > 0.9",
    "prediction>=-1.5e-3",
    "label == 'fraud'",
    "label = 'it''s'",
    '"a ""b"" c" != 3',
    "a < 1 and b <= 2 or c == true AND d = False",
    "größe > .5",
    "a.b$c > 1.",
    '"and" > 0',
    "x" * 990 + " > 1",
]
BAD = {
    "": "'' ends where a column should stand",
    "score": "'score' ends where a comparison should stand",
    "score >": "'score >' ends where a number, a 'text', true or false should stand",
    "score >> 1": "'score >> 1': '>>' at character 7 is not a comparison, which is one of == = != < <= > >=",
    "0.9 < score": "'0.9 < score': '0.9' at character 1 is not a column",
    "score > high": "'score > high': 'high' at character 9 is not a number, a 'text', true or false",
    "score > 1 xor b < 2": "'score > 1 xor b < 2': 'xor' at character 11 is not and, or, or the end",
    "score > 1 and": "'score > 1 and' ends where a column should stand",
    "and > 1": "'and > 1': 'and' at character 1 is not a column; one that is called so is written \"in quotes\"",
    "(score > 1)": "'(score > 1)': '(score' at character 1 is not a column",
    "score ~ 'a'": "\"score ~ 'a'\": '~' at character 7 is not a comparison",
    "score > '": "\"score > '\": \"'\" at character 9 is not a number, a 'text', true or false",
    "score > 1x": "'score > 1x': '1x' at character 9 is not a number, a 'text', true or false",
    "a" * 1001: "a condition has at most 1000 characters, not 1001",
}


@pytest.mark.parametrize("text", GOOD)
def test_what_is_taken_is_understood(text: str) -> None:
    condition.check(text)
    assert client.parse(text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_points_at_the_word(text: str) -> None:
    for understand in (condition.check, client.parse):
        with pytest.raises(ValueError) as refused:
            understand(text)
        assert str(refused.value).startswith(BAD[text])


WORDS = ["score", "prediction", ">", "=", "==", "!=", "<=", "~", "and", "or", "OR", "1", "-2.5", "1e999", "'x'", '"y z"', "(",
         "true", "null", "\n", "", "'", "ﬀ", "½", "１"]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join) | st.text(max_size=30))
def test_both_sides_say_the_same_of_any_text(text: str) -> None:
    said = []
    for understand in (condition.check, client.parse):
        try:
            understand(text)
            said.append("")
        except ValueError as error:
            said.append(str(error))
    assert said[0] == said[1]


def block_of(*rows: list[object], names: tuple[str, ...]) -> Block:
    return tabulate(list(rows), names, 0, Memory())[0]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("score > 0.9", True),
        ("score > 0.95", False),
        ("score >= 0.95", True),
        ("score < 0.2 and label == 'good'", True),
        ("score < 0.2 and label == 'fraud'", False),
        ("score > 2 or label = 'fraud'", True),
        ("prediction == 0.95", True),
        ("label > 0.1", False),
        ("score != 'x'", False),
        ("count > 1", True),
        ("count != 7", False),
        ("count <= 7 and flag == false", True),
        ("flag == 1", True),
        ("missing > 0", False),
        ("missing > 0 or flag == true", True),
        ("number != 0", False),
    ],
)
def test_of_which_rows_a_condition_holds(text: str, holds: bool) -> None:
    names = ("score", "label", "count", "flag", "number")
    block = block_of(
        [0.95, "fraud", None, True, float("nan")],
        [0.1, "good", 7, False, None],
        [None, None, None, None, None],
        names=names,
    )  # fmt: skip
    assert client.holds(client.parse(text), names, block.types, block) is holds


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i8", "u2", "?"])
def test_of_tensors_too(kind: str) -> None:
    import numpy as np

    block = tabulate(np.array([[0, 0, 0], [0, 0, 1]], kind), ("a", "b", "c"), 0, Memory())[0]
    assert block.tensor is not None
    assert client.holds(client.parse("c >= 1"), ("a", "b", "c"), block.types, block)
    assert not client.holds(client.parse("a >= 1 or b != 0 or prediction > 0"), ("a", "b", "c"), block.types, block)


def test_a_column_called_prediction_is_that_and_times_are_no_numbers() -> None:
    block = block_of([1, 2.0], names=("other", "prediction"))
    assert client.holds(client.parse("prediction == 2"), ("other", "prediction"), (INT64, FLOAT64), block)
    assert not client.holds(client.parse("other > 0"), ("other", "prediction"), (TIMESTAMP, FLOAT64), block)
