"""JSON records become typed columns; what is no such thing is refused, and nothing is lost on the way."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectord import batch
from collectord.errors import Rejected
from collectord.ingest import records
from collectord.ingest.forms import Forms, payload
from collectord.ingest.heading import read_heading
from collectord.ingest.payload import BadPayload
from collectord.ingest.records import read
from collectord.ingest.validate import DAY_NS, Window, judge
from collectord.model import ColumnType, Stream
from tests.ingest.payloads import expected, headers, rows, same
from tests.reference_batch import NOW

WINDOW = Window(35 * DAY_NS, DAY_NS, 1440)


def columns(body: bytes) -> dict[str, ColumnType]:
    return {column.name: column.type for column in read(body, {})[1]}


def land(body: bytes) -> list[dict[str, str]]:
    """The user's columns of a body as they will stand in the blob."""
    count, packed = read(body, {})
    heading = read_heading(headers(), Stream())
    rules = Forms().rules(heading.stream, packed)
    raw = payload(rules, heading, "id", count, packed)
    assert judge(raw, batch.find(raw), rules, WINDOW, NOW).rows == count
    return [
        {name: text for name, text in row.items() if not name.startswith("$aml")} for row in rows(rules.schema, raw)
    ]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([1, -5, 0], ColumnType.INT64),
        ([None, 7], ColumnType.INT64),
        ([-(1 << 63), (1 << 63) - 1], ColumnType.INT64),
        ([1 << 63, (1 << 64) - 1, 0, None], ColumnType.UINT64),
        ([1 << 63, -1], ColumnType.STRING),
        ([1 << 64], ColumnType.STRING),
        ([-(1 << 63) - 1], ColumnType.STRING),
        ([10**30, 1.5], ColumnType.STRING),
        ([10**300], ColumnType.STRING),
        ([1.5, -0.0, None], ColumnType.FLOAT64),
        ([1, 2.5], ColumnType.FLOAT64),
        ([(1 << 53) + 1, 2.5], ColumnType.STRING),
        ([1 << 60, 2.5], ColumnType.FLOAT64),
        ([True, None, False], ColumnType.BOOL),
        ([True, 1], ColumnType.STRING),
        (["a", None, "é,\"\n漢😀", ""], ColumnType.STRING),
        ([None, None], ColumnType.STRING),
        ([[1, {"a": None}], None], ColumnType.STRING),
        (["a", 1, 2.5, True, None, {"b": [1 << 70]}], ColumnType.STRING),
    ],
)  # fmt: skip
def test_a_column_has_the_type_of_its_values_and_keeps_them(values: list[Any], type_: ColumnType) -> None:
    body = json.dumps([{"before": 1, "x": value} for value in values]).encode()
    assert columns(body) == {"before": ColumnType.INT64, "x": type_}
    assert same(land(body), expected(body))


def test_columns_stand_in_the_order_of_the_records_and_a_missing_key_is_a_null() -> None:
    body = b'[{"b": 1, "a": "x"}, {"c": true}, {"a": "y", "b": 2, "d": null}]'
    assert list(columns(body)) == ["b", "a", "c", "d"]
    assert land(body) == [
        {"b": "1", "a": "x", "c": "", "d": ""},
        {"b": "", "a": "", "c": "true", "d": ""},
        {"b": "2", "a": "y", "c": "", "d": ""},
    ]


def test_nulls_are_not_zeros_and_not_empty_texts() -> None:
    packed = read(b'[{"i": 0, "t": ""}, {"i": null, "t": null}, {"i": 3, "t": "x"}]', {})[1]
    assert [column.validity for column in packed] == [b"\x05", b"\x05"]
    assert packed[0].data == struct.pack("<3q", 0, 0, 3)
    assert packed[1].offsets == struct.pack("<4i", 0, 0, 0, 1)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(["a:b", '":', "\\u003a", "12345678901234567890"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "b:", "ç"]), _values, min_size=1), min_size=1, max_size=20),
    st.booleans(),
)
@example([{"a": 0}, {"a": 2.0**1023}], True)
def test_whatever_is_sent_lands_value_by_value(found: list[dict[str, Any]], ascii_only: bool) -> None:
    """Against the slow reference, whatever the JSON's spelling."""
    body = json.dumps(found, ensure_ascii=ascii_only).encode()
    try:
        assert same(land(body), expected(body))
    except Rejected as rejected:
        assert rejected.reason.value in ("row_too_large", "value_too_large")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[{]", "not JSON"),
        (b'[{"a": NaN}]', "not JSON"),
        (b'[{"a": Infinity}]', "not JSON"),
        (b'[{"a": 1e999}]', "not JSON"),
        (b'[{"a": "\\ud800"}]', "not JSON"),
        (b'[{"a": "\xff"}]', "not JSON"),
        (b'[{"a": 1}] more', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "no rows"),
        (b"{}", "is an object"),
        (b"null", "is null"),
        (b'"text"', "is a text"),
        (b'[{"a": 1}, 2]', "record 1 is a number"),
        (b'[{"a": 1}, [2]]', "record 1 is an array"),
        (b'[{"a": 1}, null]', "record 1 is null"),
        (b"[{}, {}]", "no columns"),
        (b'[{"a": 1, "a": 1}]', "'a' twice"),
        (b'[{"a": 1}, {"b": {"c": 1, "c": 2}}]', "'c' twice"),
        (b'[{"a": ":\\u003a", "a": "x"}]', "'a' twice"),
        (b'[{"a\\u0062": 1, "ab": 2}]', "'ab' twice"),
        (b'[{"a": ' + b"9" * 5000 + b"}]", "not JSON"),
        (b'[{"a": ' + b"[" * 400 + b"]" * 400 + b"}]", "nested too deeply"),
    ],
)
def test_what_is_no_array_of_objects_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadPayload, match=said) as refused:
        read(body, {})[1]
    assert refused.value.status == 400


def test_a_colon_in_a_text_is_no_key() -> None:
    """Keys that occur twice are found by counting colons."""
    body = json.dumps([{"a": "x:y", "b:": "\\u003a"}, {"a": "::", "b:": ":"}]).encode()
    assert same(land(body), expected(body))


def test_few_bytes_cannot_stand_for_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CELLS", 100)
    read(b'[{"a":1,"b":2}' + b",{}" * 49 + b"]", {})[1]
    with pytest.raises(BadPayload, match="51 rows of 2 columns are too many") as refused:
        read(b'[{"a":1,"b":2}' + b",{}" * 50 + b"]", {})[1]
    assert refused.value.status == 413


def test_a_long_record_does_not_make_the_empty_ones_large() -> None:
    body = json.dumps([dict.fromkeys(map(str, range(1000)), 0.5), *({} for _ in range(100_000))]).encode()
    tracemalloc.start()
    try:
        with pytest.raises(BadPayload, match="values are allowed"):
            read(body, {})
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "found",
    [
        [{"a": 1.5, "b": -0.0}, {"a": 1e-300, "b": 2.25}],
        [{"a": 1.5, "b": 0.5}, {"b": 1.25, "a": 2.5}],
        [{"a": 1.5, "b": 0.5}, {"a": 1.5, "c": 0.5}],
        [{"a": 1.5, "b": 0.5}, {"a": 1.5}, {"a": 1.5, "b": 0.5, "c": 0.25}],
        [{"a": 1.5, "b": 0.5}, {"a": 1, "b": 0.5}],
        [{"a": 1.5, "b": 0.5}, {"a": None, "b": 0.5}],
        [{"a": 1.5, "b": 2.0**63}, {"a": -(2.0**64), "b": 0.5}],
        [{"a": 1.5, "b": 10**30}, {"a": 1.5, "b": 0.5}],
    ],
    ids=["floats", "another order", "another key", "fewer and more", "an integer", "a null", "large", "beyond 64 bits"],
)
def test_rows_of_floats_and_what_only_looks_so(found: list[dict[str, Any]]) -> None:
    body = json.dumps(found).encode()
    assert same(land(body), expected(body))
    covers: dict[str, records.Cover | None] = {"b": lambda text: "***"}
    _, packed = read(body, covers)
    assert {column.data for column in packed if column.name == "b"} == {b"***" * sum("b" in one for one in found)}
    assert [column.name for column in read(body, {"a": None})[1]] == [name for name in columns(body) if name != "a"]


def test_a_number_is_the_same_double_again() -> None:
    values = [0.1 + 0.2, 5e-324, math.pi, 1.7976931348623157e308, -0.0]
    (column,) = read(json.dumps([{"x": value} for value in values]).encode(), {})[1]
    assert column.data == struct.pack("<5d", *values)


def test_the_largest_double_is_what_it_was_before_pandas_rounded_it_up() -> None:
    """`numpy.nan_to_num` makes it of infinity, and `to_json` writes it with ten digits, which no double holds."""
    body = (
        rb'[{"x":1.797693135e+308,"y":[-1.797693135e+308],"z":"\\\"1.797693135e+308"},'
        rb'{"x":-1.797693135e+308,"y":null,"z":",1.797693135e+308,"}]'
    )
    assert columns(body) == {"x": ColumnType.FLOAT64, "y": ColumnType.STRING, "z": ColumnType.STRING}
    first, second = land(body)
    # How orjson writes the exponent differs from version to version.
    assert json.loads(first.pop("y")) == [-1.7976931348623157e308]
    assert first == {"x": "1.7976931348623157e+308", "z": '\\"1.797693135e+308'}
    assert second == {"x": "-1.7976931348623157e+308", "y": "", "z": ",1.797693135e+308,"}
    assert read(bytearray(body), {})[1] == read(body, {})[1]
