"""What is collected arrives, value for value, whatever it came in."""

from __future__ import annotations

import datetime
import decimal
import enum
import importlib
import json
import math
import struct
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from collectord_client import Client, CollectError
from collectord_client.block import FLOAT32, Block, Part
from collectord_client.page import bitmap

from tests.client.fakedaemon import FakeDaemon

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
ORDERS = ["C", "F", "strided", "reversed", "readonly", "swapped"]


class Tensor:
    """An array of another library, whose types are not numpy's."""

    dtype = object()

    def __init__(self, values: Any) -> None:
        self.values = values
        self.shape = values.shape

    def tolist(self) -> Any:
        return self.values.tolist()


def arrived(client: Client, daemon: FakeDaemon) -> list[tuple[Any, ...]]:
    """The rows received so far, once all of them are."""
    assert client.flush(10)
    return [row.values for row in daemon.rows]


def bits(values: Any, dtype: Any) -> list[bytes]:
    """Floats by their bits, because NaN equals nothing."""
    return [np.asarray(row, dtype).tobytes() for row in values]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_in_every_memory_layout(client: Client, daemon: FakeDaemon, dtype: str, order: str) -> None:
    base = np.frombuffer(np.random.default_rng(7).bytes(12 * np.dtype(dtype).itemsize), dtype).reshape(3, 4)
    if dtype == "?":
        base = np.arange(12).reshape(3, 4) % 3 == 0
    data = {
        "C": base,
        "F": np.asfortranarray(base),
        "strided": np.repeat(np.repeat(base, 2, 0), 3, 1)[::2, ::3],
        "reversed": base[::-1, ::-1].copy()[::-1, ::-1],
        "readonly": base.copy(),
        "swapped": base.astype(base.dtype.newbyteorder(">")),
    }[order]
    if order == "readonly":
        data.setflags(write=False)
    client.collect(data)
    assert bits(arrived(client, daemon), dtype) == bits(base, dtype)
    assert len({row.types for row in daemon.rows}) == 1


@hypothesis.settings(
    max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    hnp.arrays(st.sampled_from([np.dtype(d) for d in DTYPES]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))
)
def test_any_table_of_numbers(client: Client, daemon: FakeDaemon, data: np.ndarray[Any, Any]) -> None:
    daemon.rows.clear()
    client.collect(data)
    assert bits(arrived(client, daemon), data.dtype) == bits(data, data.dtype)


def test_later_changes_do_not_matter(client: Client, daemon: FakeDaemon) -> None:
    """The v2 SDK sent what the frame held later."""
    array = np.ones((2, 3))
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    rows = [[1, "x"], [2, "y"]]
    table = {"a": [1, 2]}
    bound = client.collector("inputs")
    for _ in range(3):
        bound.collect(array)
    client.collect(frame)
    client.collect(rows)
    client.collect(table)
    array[:] = 7
    frame.iloc[:, 0] = 7.0
    rows[0][0] = 7
    table["a"][0] = 7
    got = arrived(client, daemon)
    assert not any(7 in row for row in got)
    assert len(got) == 12


def test_a_fast_call_after_another_shape_or_dtype(client: Client, daemon: FakeDaemon) -> None:
    """The short way is for what looks exactly like the last array."""
    bound = client.collector("inputs")
    expected = []
    for k in range(60):
        dtype = ["f8", "f4", "i8", ">f8"][k % 4] if k > 20 else "f8"
        data = np.arange(6, dtype=dtype).reshape((2, 3) if k % 7 else (3, 2)) + k
        bound.collect(data)
        expected += [tuple(row) for row in data.tolist()]
    assert sorted(arrived(client, daemon)) == sorted(expected)


@pytest.mark.parametrize("values", [[1, 2], [0.5, 1.5], [1, "x"], [None, 2.5]])
@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2,)])
def test_an_array_of_objects_is_never_copied_as_it_lies_there(
    client: Client, daemon: FakeDaemon, values: list[Any], shape: tuple[int, ...]
) -> None:
    """It holds addresses: the second call of one with nothing but numbers sent these."""
    objects, lists = (client.collector(name, feature_names=["a"]) for name in ("inputs", "general"))
    for _ in range(3):
        for one in ([1, 2], values):
            data = np.array(one, dtype=object).reshape(shape)
            objects.collect(data)
            lists.collect(data.tolist())
    assert client.flush(10)
    got, wanted = ([row.values for row in daemon.rows if row.designation == name] for name in ("inputs", "general"))
    assert got == wanted
    assert len(got) == 6 * (1 if shape == (1, 2) else 2)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([1.5, 2.5], [(1.5, 2.5)]),
        ([1, 2], [(1, 2)]),
        ((1, 2.5), [(1.0, 2.5)]),
        ([True, False], [(True, False)]),
        ([2**63], [(2**63,)]),
        ([2**70], [(str(2**70),)]),
        ([-(2**63), 2**63 - 1], [(-(2**63), 2**63 - 1)]),
        ([[2**60, 1], [0.5, 1]], [(str(2**60), 1), ("0.5", 1)]),
        ([1, "x", None, True, 0.1], [(1, "x", None, True, 0.1)]),
        ([[1, "a"], [2, None]], [(1, "a"), (2, None)]),
        ([[1, "a"], ["x", "b"], [True, "c"], [0.1, "d"]], [("1", "a"), ("x", "b"), ("true", "c"), ("0.1", "d")]),
        ([[math.nan, "a"], ["x", "b"]], [("NaN", "a"), ("x", "b")]),
        ([[None, 1]], [(None, 1)]),
        ("text", [("text",)]),
        (0.7, [(0.7,)]),
        (3, [(3,)]),
        (None, [(None,)]),
        (["ünïcödé, \"quoted\"\n", "", "日本"], [("ünïcödé, \"quoted\"\n", "", "日本")]),
        ({"a": 1, "b": "x"}, [(1, "x")]),
        ({"a": [1, 2], "b": ["x", None]}, [(1, "x"), (2, None)]),
        ([{"a": 1}, {"a": 2, "b": "x"}], [(1, None), (2, "x")]),
        ([np.float32(0.1), "x"], [(0.1, "x")]),
        ([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [(1.0, 2.0), (3.0, 4.0)]),
        ([decimal.Decimal("1.10"), datetime.date(2018, 12, 31)], [("1.10", "2018-12-31")]),
        ([datetime.datetime(1970, 1, 1, 0, 0, 1), "x"], [(1_000_000_000, "x")]),
        (np.array(["a", "b"]), [("a", "b")]),
        (np.array([1, "x", None], dtype=object), [(1, "x", None)]),
        (np.array(["1970-01-01T00:00:01", "NaT"], "M8[s]"), [(1_000_000_000, None)]),
        (np.array(["1971", "NaT", "1969"], "M8[Y]"), [(365 * 86_400 * 10**9, None, -365 * 86_400 * 10**9)]),
        (np.array(["1970-02"], "M8[M]"), [(31 * 86_400 * 10**9,)]),
        (np.array([2, -1], "M8[25ns]"), [(50, -25)]),
        (np.array(["1970-01-01T00:00:01"], ">M8[s]"), [(10**9,)]),
        (np.array([5000, "NaT"], "M8[ps]"), [(5, None)]),
        (np.float32(0.5), [(0.5,)]),
        (np.array(5), [(5,)]),
        (np.ma.masked_array([[1.0, 2.0]], [[False, True]]), [(1.0, None)]),
        (np.ma.masked_array(np.array([5, 7], "M8[ns]"), [False, True]), [(5, None)]),
        (np.ma.masked_array(np.array([5, 7], "m8[ns]"), [False, True]), [("0 days 00:00:00.000000005", None)]),
        ([np.ma.masked_array([1.0, 2.0], [False, True]), np.array([3.0, 4.0])], [(1.0, None), (3.0, 4.0)]),
        (np.array([["a", "b"]]).view(np.matrix), [("a", "b")]),
        (np.array([["1971", "1969"]], "M8[Y]").view(np.matrix), [(365 * 86_400 * 10**9, -365 * 86_400 * 10**9)]),
        ({"a": np.array([5, "NaT"], "M8[ns]"), "b": ["x", None]}, [(5, "x"), (None, None)]),
        ({"a": np.float32(0.1), "b": np.datetime64(5, "ns"), "c": np.int8(3)}, [(0.1, 5, 3)]),
        (uuid.UUID(int=5), [(str(uuid.UUID(int=5)),)]),
        (enum.Enum("Colour", {"RED": "red"}).RED, [("red",)]),
    ],
    ids=repr,
)  # fmt: skip
def test_python_values(client: Client, daemon: FakeDaemon, data: Any, expected: list[tuple[Any, ...]]) -> None:
    client.collect(data)
    got = arrived(client, daemon)
    assert got == expected
    assert [[type(v) is bool for v in row] for row in got] == [[type(v) is bool for v in row] for row in expected]


@pytest.mark.parametrize(
    "data",
    [
        {"a": np.array([0.1, 0.2], "f4")},
        {"a": pd.Series([0.1, None], dtype="Float32")},
        {"a": np.ma.masked_array(np.array([0.1, 0.2], ">f4"), [False, True])},
        np.ma.masked_array(np.array([[0.1], [0.2]], "f4"), [[False], [True]]),
    ],
    ids=repr,
)
def test_a_float32_is_none_of_64_bits(client: Client, daemon: FakeDaemon, data: Any) -> None:
    """Which would be written with digits that it never had."""
    client.collect(data)
    assert arrived(client, daemon)[0] == (float(np.float32(0.1)),)
    assert {row.types for row in daemon.rows} == {(11,)}


def test_what_comes_with_its_type_says_nothing_of_lists(client: Client, daemon: FakeDaemon) -> None:
    for column in ([1, 2], np.array([0.1], "f4"), [None], np.array([5], "M8[ns]"), [3]):
        client.collect({"a": column, "b": ["x"] * len(column)})
        assert client.flush(10)
    assert [values[0] for values in arrived(client, daemon)] == [1, 2, float(np.float32(0.1)), None, 5, 3]
    assert [row.types[0] for row in daemon.rows] == [5, 5, 11, 5, 14, 5]
    assert client.stats()["notes"] == {}


@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(st.lists(st.lists(st.one_of(st.none(), st.text()), min_size=3, max_size=3), min_size=1, max_size=40))
def test_any_text_and_null(client: Client, daemon: FakeDaemon, table: list[list[str | None]]) -> None:
    daemon.rows.clear()
    client.collect(table)
    assert arrived(client, daemon) == [tuple(row) for row in table]


def test_numbers_that_come_and_go_keep_one_schema(client: Client, daemon: FakeDaemon) -> None:
    """JSON writes 1.0 as 1: that must not make a schema per combination."""
    bound = client.collector("inputs", feature_names=["a", "b", "c", "d"])
    bound.collect([0.5, "x", 0.5, True])
    for row in ([1, "x", 2, True], [1, "x", 0.5, None], [None, "x", 1, True], [0.5, None, 3, False]):
        bound.collect(row)
    assert client.flush(10)
    assert len({row.types for row in daemon.rows}) == 1


FRAME = pd.DataFrame(
    {
        "int": pd.Series([1, 2, 3], dtype="int64"),
        "small": pd.Series([1, 2, 3], dtype="uint8"),
        "float": [0.5, math.inf, -0.0],
        "bool": [True, False, True],
        "text": ["a", None, "ü"],
        "object": pd.Series([1, "x", True], dtype=object),
        "missing": pd.Series(["x", math.nan, None], dtype=object),
        "nullable": pd.Series([1, None, 3], dtype="Int64"),
        "truth": pd.Series([True, None, False], dtype="boolean"),
        "real": pd.Series([0.5, None, 1.5], dtype="Float32"),
        "when": pd.to_datetime(["1970-01-01 00:00:01", None, "2018-12-31 23:59:59.123456789"], format="ISO8601"),
        "zone": pd.to_datetime(["1970-01-01 02:00:01+02:00", None, "1970-01-01 02:00:03+02:00"]),
        "class": pd.Categorical(["u", None, "v"]),
        "number": pd.Categorical([5, None, 7]),
        "empty": pd.Series([None, None, None], dtype=object),
        "arrow": pd.Series([1, None, 3], dtype="int32[pyarrow]"),
        "span": pd.to_timedelta(["1s", None, "2s"]),
    }
)
FRAME_ROWS = [
    (1, 1, 0.5, True, "a", "1", "x", 1, True, 0.5, 10**9, 10**9, "u", 5, None, 1, "0 days 00:00:01"),
    (2, 2, math.inf, False, None, "x", None, None, None, None, None, None, None, None, None, None, None),
    (3, 3, -0.0, True, "ü", "true", None, 3, False, 1.5, 1546300799123456789, 3 * 10**9, "v", 7, None, 3, "0 days 00:00:02"),
]  # fmt: skip


def test_a_frame_of_everything(client: Client, daemon: FakeDaemon) -> None:
    client.collect(FRAME)
    got = arrived(client, daemon)
    assert got == FRAME_ROWS
    assert daemon.rows[0].names == tuple(FRAME.columns)
    kinds = dict(zip(FRAME.columns, daemon.rows[0].types, strict=True))
    assert kinds["when"] == 14
    assert kinds["zone"] == 15


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_arrow_texts_in_slices_and_chunks(client: Client, daemon: FakeDaemon, kind: Any) -> None:
    words = ["a", "", "ünï", "日本", "x" * 100, "b"]
    pieces = pa.chunked_array([pa.array(words, kind).slice(1, 3), pa.array([], kind), pa.array(words, kind)[4:]])
    client.collect(pa.table({"t": pieces}))
    client.collect(pa.table({"t": pa.array(["", ""], kind)}))
    assert [row[0] for row in arrived(client, daemon)] == [*words[1:4], *words[4:], "", ""]


def test_classes_in_any_order_with_nulls_and_without(client: Client, daemon: FakeDaemon) -> None:
    whole = pd.Categorical(["ü", "a", "", "ü"], categories=["", "unused", "ü", "a"])
    client.collect(pd.DataFrame({"c": whole, "n": [1, 2, 3, 4]}))
    client.collect(pd.DataFrame({"c": pd.Categorical([None, "a"]), "n": [5, 6]}))
    assert arrived(client, daemon) == [("ü", 1), ("a", 2), ("", 3), ("ü", 4), (None, 5), ("a", 6)]


def test_a_frame_of_one_dtype_is_a_tensor(client: Client, daemon: FakeDaemon) -> None:
    data = np.random.default_rng(1).random((5, 4)).astype("f4")
    client.collect(pd.DataFrame(data, columns=[0, 1, "x", ("a", 1)]))
    assert bits(arrived(client, daemon), "f4") == bits(data, "f4")
    assert daemon.rows[0].names == ("0", "1", "x", "('a', 1)")
    assert daemon.batches[0].tensor


def test_slices_and_columns_named_alike(client: Client, daemon: FakeDaemon) -> None:
    """Columns with one name killed the v2 SDK's only worker."""
    frame = pd.DataFrame([[1, "a", 3], [4, "b", 6]], columns=["x", "x", "$aml_request_id"])
    client.collect(frame[::-1])
    assert arrived(client, daemon) == [(4, "b", 6), (1, "a", 3)]
    assert daemon.rows[0].names == ("x", "x.1", "$aml_request_id.1")
    assert client.stats()["notes"] == {"renamed": 1}


@pytest.mark.parametrize("series", [pd.Series([0.1, 0.2]), pd.Series(["a", "b"]), pd.Series([True, None])], ids=str)
def test_a_series_of_predictions_is_a_column(client: Client, daemon: FakeDaemon, series: Any) -> None:
    client.collect(series, "predictions")
    assert arrived(client, daemon) == [(value,) for value in series.tolist()]


def test_a_series_with_named_values_is_a_row(client: Client, daemon: FakeDaemon) -> None:
    client.collect(pd.Series({"a": 0.5, "b": 1.5}))
    client.collect(pd.DataFrame({"a": [1], "b": ["x"]}).iloc[0])
    assert arrived(client, daemon) == [(0.5, 1.5), (1, "x")]
    assert {row.names for row in daemon.rows} == {("a", "b")}


ARROW = pa.table(
    {
        "i": pa.array([1, None, 3], pa.int16()),
        "f": pa.array([0.5, 1.5, None], pa.float32()),
        "b": pa.array([True, None, False]),
        "s": pa.array(["a", None, "ü"]),
        "l": pa.array(["a", "", "c"], pa.large_string()),
        "d": pa.array(["x", "y", "x"]).dictionary_encode(),
        "t": pa.array([1, None, 3], pa.timestamp("s")),
        "z": pa.array([1, 2, 3], pa.timestamp("ms", "UTC")),
        "n": pa.array([1, 2, 3], pa.uint64()),
        "date": pa.array([datetime.date(2018, 12, 31)] * 3),
    }
)
ARROW_ROWS = [
    (1, 0.5, True, "a", "a", "x", 10**9, 10**6, 1, "2018-12-31"),
    (None, 1.5, None, None, "", "y", None, 2 * 10**6, 2, "2018-12-31"),
    (3, None, False, "ü", "c", "x", 3 * 10**9, 3 * 10**6, 3, "2018-12-31"),
]


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: t.to_batches()[0], lambda t: pl.from_arrow(t)])
def test_arrow_tables_batches_and_polars(client: Client, daemon: FakeDaemon, wrap: Any) -> None:
    client.collect(wrap(ARROW))
    assert arrived(client, daemon) == ARROW_ROWS
    assert daemon.rows[0].names == tuple(ARROW.column_names)


def test_arrow_in_slices_and_chunks(client: Client, daemon: FakeDaemon) -> None:
    client.collect(pa.concat_tables([ARROW, ARROW]).slice(1, 4))
    assert arrived(client, daemon) == [ARROW_ROWS[at] for at in (1, 2, 0, 1)]


def test_one_arrow_array_follows_the_rule_for_one_dimension(client: Client, daemon: FakeDaemon) -> None:
    client.collect(pa.array([1.5, 2.5]), "inputs")
    client.collect(pl.Series([1.5, 2.5]), "predictions", ["p"])
    got = arrived(client, daemon)
    assert sorted(got) == [(1.5,), (1.5, 2.5), (2.5,)]


def test_polars_without_pyarrow(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyarrow")
    client.collect(pl.DataFrame({"a": [1, 2], "b": ["x", None], "c": pl.Series([0.1, 0.2], dtype=pl.Float32)}))
    got = arrived(client, daemon)
    assert [row[:2] for row in got] == [(1, "x"), (2, None)]
    assert daemon.rows[0].types[2] == 11


def test_polars_columns_have_one_type_with_nulls_and_without_by_way_of_arrow_or_not(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pyarrow a null made a float32 a float64, of digits that nobody wrote."""
    dtypes: list[Any] = [pl.Float32, pl.Int8, pl.UInt64]
    frame = pl.DataFrame({str(dtype): pl.Series([1, None], dtype=dtype) for dtype in dtypes})
    client.collect(frame)
    monkeypatch.delitem(sys.modules, "pyarrow")
    client.collect(frame)
    client.collect(frame.drop_nulls())
    assert arrived(client, daemon) == [(1.0, 1, 1), (None,) * 3] * 2 + [(1.0, 1, 1)]
    assert {row.types for row in daemon.rows} == {(FLOAT32, 2, 9)}


@pytest.mark.parametrize("with_arrow", [True, False])
def test_whole_numbers_of_128_bits(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, with_arrow: bool
) -> None:
    """Neither numpy nor pyarrow knows them. They are numbers where 64 bits hold them, else text."""
    if not with_arrow:
        monkeypatch.delitem(sys.modules, "pyarrow")
    client = make()
    wide = pl.Series("w", [1 << 100, -5], dtype=pl.Int128)
    narrow = pl.Series("n", [7, None], dtype=pl.Int128)
    half = pl.Series("h", [0.1, None], dtype=pl.Float32)
    client.collect(pl.DataFrame([wide, narrow, half, pl.Series("l", [[1 << 100], None])]))
    client.collect(wide)
    text = str(1 << 100)
    rows = arrived(client, daemon)
    assert rows == [(text, 7, rows[0][2], f"[{text}]"), ("-5", None, None, None), (text,), ("-5",)]
    assert daemon.rows[0].types == (13, 5, FLOAT32, 13)
    assert client.stats()["dropped"] == {}


def test_arrow_data_that_pyarrow_does_not_know_is_no_accident_of_ours(make: Any) -> None:
    class Strange:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            raise pa.ArrowInvalid("Invalid or unsupported format string")

    client = make()
    client.collect(Strange())
    assert client.stats()["dropped"] == {"unsupported_type": 1}


NAMED = [
    pd.DataFrame({"f2": [222], "f1": [111]}),
    {"f2": 222, "f1": 111},
    [{"f2": 222, "f1": 111}],
    {"f2": [222], "f1": [111]},
    pa.table({"f2": [222], "f1": [111]}),
    pl.DataFrame({"f2": [222], "f1": [111]}),
    pd.Series({"f2": 222, "f1": 111}),
    pd.DataFrame({"f2": [222], "f1": [111], "other": ["x"]}),
]


@pytest.mark.parametrize("data", NAMED, ids=lambda data: type(data).__name__)
def test_named_columns_come_under_their_own_names(client: Client, daemon: FakeDaemon, data: Any) -> None:
    """By position, every value of a reordered frame stood under another feature's name."""
    bound = client.collector("inputs", ["f1", "f2"])
    for _ in range(2):
        bound.collect(data)
    assert arrived(client, daemon) == [(111, 222)] * 2
    assert {row.names for row in daemon.rows} == {("f1", "f2")}


def test_columns_of_a_tensor_are_selected_row_by_row(client: Client, daemon: FakeDaemon) -> None:
    data = np.random.default_rng(3).random((7, 5)).astype("f4")
    client.collect(pd.DataFrame(data, columns=list("abcde")), feature_names=["d", "a", "e"])
    assert bits(arrived(client, daemon), "f4") == bits(data[:, [3, 0, 4]], "f4")


def test_names_that_differ_are_counted_and_never_given_to_another_column(client: Client, daemon: FakeDaemon) -> None:
    bound = client.collector("inputs", ["f1", "f2"])
    bound.collect(pd.DataFrame({"zzz": [1], "f1": [111]}))
    bound.collect(pd.DataFrame({"x": [1], "y": [2]}))
    bound.collect(pd.DataFrame([[1, 2]]))
    bound.collect(pl.DataFrame([[1], [2]]))
    bound.collect({0: 1, 1: 2})
    assert arrived(client, daemon) == [(111, 1), (1, 2), (1, 2), (1, 2), (1, 2)]
    assert [row.names for row in daemon.rows] == [("f1", "zzz")] + [("f1", "f2")] * 4
    assert client.stats()["notes"] == {"names_differ": 2}


FAR = "9999-12-31T00:00:00.000000"
NEAR = "2026-01-01T00:00:00.000000"


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"id": [1, 2, 3], "to": pd.Series(["9999-12-31", "2026-01-01", None], dtype="M8[s]")}),
        pd.DataFrame({"id": [1, 2, 3], "to": np.array(["9999-12-31", "2026-01-01", "NaT"], "M8[us]")}),
        [[1, datetime.datetime(9999, 12, 31)], [2, datetime.datetime(2026, 1, 1)], [3, None]],
        {"id": [1, 2, 3], "to": [datetime.datetime(9999, 12, 31), datetime.datetime(2026, 1, 1), None]},
        [[1, np.datetime64("9999-12-31")], [2, np.datetime64("2026-01-01")], [3, np.datetime64("NaT")]],
        pa.table({"id": [1, 2, 3], "to": pa.array([253402214400, 1767225600, None], pa.timestamp("s"))}),
        pa.table({"id": [1, 2, 3], "to": pa.array([253402214400000, 1767225600000, None], pa.timestamp("ms"))}),
    ],
    ids=["frame s", "frame us", "list", "dictionary", "numpy", "arrow s", "arrow ms"],
)
def test_a_time_that_nanoseconds_cannot_hold_makes_its_column_text(
    client: Client, daemon: FakeDaemon, data: Any
) -> None:
    """An end of validity in the year 9999 lost every row of its frame."""
    client.collect(data)
    assert arrived(client, daemon) == [(1, FAR), (2, NEAR), (3, None)]


def test_far_times_with_a_zone_are_in_utc(client: Client, daemon: FakeDaemon) -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    client.collect([[datetime.datetime(9999, 12, 31, 2, tzinfo=zone), 1]])
    client.collect(pd.DataFrame({"t": pd.Series(["9999-12-31"], dtype="M8[s]").dt.tz_localize("UTC"), "b": [1]}))
    client.collect(pa.table({"t": pa.array([253402214400], pa.timestamp("s", "Europe/Berlin")), "b": [1]}))
    assert arrived(client, daemon) == [(FAR + "Z", 1)] * 3


def test_a_time_among_texts_is_written_as_the_csv_writes_times(client: Client, daemon: FakeDaemon) -> None:
    """The same row has the same text, whatever stands beside it."""
    utc = datetime.timezone.utc
    client.collect([[datetime.datetime(2026, 1, 1)], ["x"], [datetime.datetime(2026, 1, 1, 1, 2, 3, 4, utc)]])
    client.collect([[np.datetime64(1, "ns")], ["x"], [pd.Timestamp(1_000_000_001)]])
    assert [row[0] for row in arrived(client, daemon)] == [
        NEAR, "x", "2026-01-01T01:02:03.000004Z",
        "1970-01-01T00:00:00.000000001", "x", "1970-01-01T00:00:01.000000001",
    ]  # fmt: skip


SPAN = ["1 days 00:00:01.500000", None, "-1 days +23:59:59"]


@pytest.mark.parametrize(
    "data",
    [
        np.array([[86_401_500, "NaT", -1000]], "m8[ms]").T,
        [[datetime.timedelta(1, 1, 500_000)], [None], [datetime.timedelta(seconds=-1)]],
        pd.DataFrame({"a": pd.to_timedelta([86_401_500, None, -1000], unit="ms")}),
        pd.DataFrame({"a": np.array([datetime.timedelta(1, 1, 500_000), None, datetime.timedelta(seconds=-1)], "O")}),
        pa.table({"a": pa.array([86_401_500, None, -1000], pa.duration("ms"))}),
        pd.DataFrame({"a": pd.array([86_401_500, None, -1000], dtype=pd.ArrowDtype(pa.duration("ms")))}),
        [[np.timedelta64(86_401_500, "ms")], [np.timedelta64("NaT")], [np.timedelta64(-1, "s")]],
        pl.DataFrame({"a": pl.Series([86_401_500, None, -1000], dtype=pl.Duration("ms"))}),
    ],
    ids=["array", "list", "frame", "objects", "arrow", "frame of arrow", "scalars", "polars"],
)
def test_time_spans_have_one_form(client: Client, daemon: FakeDaemon, data: Any) -> None:
    client.collect(data)
    assert [row[0] for row in arrived(client, daemon)] == SPAN


def test_nothing_finer_than_microseconds_is_cut(client: Client, daemon: FakeDaemon) -> None:
    client.collect(pa.table({"t": pa.array([1, 3_600_000_000_000, 1000], pa.time64("ns"))}))
    client.collect(pa.table({"t": pa.array([1], pa.duration("ns"))}))
    client.collect(pd.DataFrame({"t": pd.to_timedelta([1], unit="ns")}))
    client.collect(pd.DataFrame({"t": pd.array([1], dtype=pd.ArrowDtype(pa.time64("ns")))}))
    assert [row[0] for row in arrived(client, daemon)] == [
        "00:00:00.000000001", "01:00:00", "00:00:00.000001",
        "0 days 00:00:00.000000001", "0 days 00:00:00.000000001", "00:00:00.000000001",
    ]  # fmt: skip


@pytest.mark.parametrize("data", [np.array([5], "M8[ps]"), np.array([5], "m8[ps]"), np.array([5], "m8[Y]")], ids=repr)
def test_what_has_no_nanoseconds_is_refused(client: Client, data: Any) -> None:
    with pytest.raises(CollectError) as caught:
        client.collect(data)
    assert caught.value.reason == "unsupported_type"


def test_polars_times_without_pyarrow_are_not_cut(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pyarrow")
    client.collect(
        pl.DataFrame(
            {
                "a": pl.Series([1, None], dtype=pl.Duration("ns")),
                "b": pl.Series([1, None], dtype=pl.Datetime("ns")),
                "c": pl.Series([253402214400000000, 0], dtype=pl.Datetime("us", "UTC")),
                "d": pl.Series([1, None], dtype=pl.Time),
            }
        )
    )
    assert arrived(client, daemon) == [
        ("0 days 00:00:00.000000001", 1, FAR + "Z", "00:00:00.000000001"),
        (None, None, "1970-01-01T00:00:00.000000Z", None),
    ]


def test_an_arrow_column_that_cannot_be_converted_is_no_accident_of_ours(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect(pa.table({"d": pa.array([2**31 - 1, 0], pa.date32()), "e": pa.array([1, 2])}))
    client.flush(5)
    assert "internal_error" not in client.stats()["dropped"]


def test_lists_keep_the_types_a_collector_has_seen(client: Client, daemon: FakeDaemon) -> None:
    """JSON writes 1.0 as 1: a fraction widens the column once, and it stays so."""
    bound = client.collector("inputs")
    for table in ([[1, 2]], [[3, 4]], [[1, 0.5]], [[1, 2]], [[2**60, 1]], [[None, 3]]):
        bound.collect(table)
    assert client.flush(10)
    assert [row.types for row in daemon.rows] == [(5, 5), (5, 5), (12, 12), (12, 12), (5, 12), (5, 12)]
    assert client.stats()["notes"] == {"types_changed": 2}


def test_dictionaries_with_other_keys_have_a_memory_of_their_own(client: Client, daemon: FakeDaemon) -> None:
    bound = client.collector("inputs")
    for row in ({"a": 0.5, "b": "x"}, {"c": 1, "d": "y"}, {"a": 1, "b": None}):
        bound.collect(row)
        assert client.flush(10)
    assert [row.types for row in daemon.rows] == [(12, 13), (5, 13), (12, 13)]
    assert client.stats()["notes"] == {}


def test_a_single_text_is_one_feature_name(client: Client, daemon: FakeDaemon) -> None:
    client.collector("predictions", "ab").collect([0.5])
    client.collect([0.5, 0.6], "predictions", "ab")
    assert arrived(client, daemon) == [(0.5,), (0.5,), (0.6,)]
    assert {row.names for row in daemon.rows} == {("ab",)}


@pytest.mark.parametrize(
    ("names", "request_rows", "shape"),
    [
        (None, 1, "row"),
        (None, 3, "column"),
        (["p"], 1, "column"),
        (["p"], 3, "column"),
        (["p"], 2, "column"),
        (["a", "b", "c"], 1, "row"),
        (["a", "b", "c"], 3, "column"),
        (["a", "b", "c"], 2, "row"),
        (["a", "b"], 1, "row"),
    ],
)
@pytest.mark.parametrize("kind", [np.array, list, tuple, pa.array, lambda v: np.array(v, dtype=object)])
def test_the_rule_for_one_dimension(
    client: Client, daemon: FakeDaemon, kind: Any, names: Any, request_rows: int, shape: str
) -> None:
    """N rows if the request has N > 1 rows, or if there is exactly one feature name and N > 1; else one row."""
    context = client.collect(np.zeros((request_rows, 2)))
    client.collect(kind([0.1, 0.2, 0.3]), "predictions", names, context=context)
    assert client.flush(10)
    got = [row.values for row in daemon.rows if row.designation == "predictions"]
    assert got == ([(0.1,), (0.2,), (0.3,)] if shape == "column" else [(0.1, 0.2, 0.3)])
    if shape == "column" and names and len(names) == 3:
        assert client.stats()["notes"]["ambiguous"] == 1


@pytest.mark.parametrize("kind", [np.array, list])
def test_one_value_is_one_row(client: Client, daemon: FakeDaemon, kind: Any) -> None:
    client.collect(kind([0.5]), "predictions", ["p"])
    assert arrived(client, daemon) == [(0.5,)]


NESTED = [[1, 2.5, None, True], {"role": "user", "ü": ["a,b", '"']}, [], None]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"x": NESTED}),
        pd.DataFrame({"x": [tuple(NESTED[0]), *NESTED[1:]]}),  # type: ignore[arg-type]
        {"x": NESTED},
        [{"x": value} for value in NESTED],
        pd.Series(NESTED, name="x"),
        np.array([*NESTED, 0], "O")[:-1].reshape(-1, 1),
    ],
    ids=["frame", "tuple", "columns", "dictionaries", "series", "array"],
)
def test_what_holds_other_values_is_json(client: Client, daemon: FakeDaemon, data: Any) -> None:
    """As the v2 SDK sends it, and as the daemon's v2 door keeps it."""
    client.collect(data, feature_names=["x"])
    rows = arrived(client, daemon)
    assert rows == [("[1,2.5,null,true]",), ('{"role":"user","ü":["a,b","\\""]}',), ("[]",), (None,)]
    assert [None if text is None else json.loads(text) for (text,) in rows] == NESTED


def test_so_are_the_nested_types_of_arrow_and_polars(client: Client, daemon: FakeDaemon) -> None:
    table = {"l": [[1, None], None], "s": [{"a": 1, "b": ["x"]}, {"a": None, "b": []}]}
    expected = [("[1,null]", '{"a":1,"b":["x"]}'), (None, '{"a":null,"b":[]}')]
    client.collect(pa.table(table))
    client.collect(pl.DataFrame(table))
    client.collect(pa.table({"m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}))
    assert arrived(client, daemon) == [*expected, *expected, ('[["k",1]]',)]


def test_in_json_is_what_would_stand_in_a_column(client: Client, daemon: FakeDaemon) -> None:
    """What JSON has no form for: NaN and infinities are null, times, decimals and the like text, keys too."""
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    values: list[Any] = [
        [math.nan, math.inf, 1.0],
        np.array([0.5, math.nan]),
        np.array([1, 2], "u1"),
        np.array(["a", "b"]),
        np.array(["2026-01-01T00:00:00.000000001", "NaT"], "M8[ns]"),
        [moment, moment.date(), decimal.Decimal("1.10"), pd.NaT, pd.NA],
        [np.float32(0.1), np.int8(3), np.bool_(True), uuid.UUID(int=1)],
        {1: {("a", 2): {True: None}}},
        [[np.array([1.5]), pd.Series([2])]],
        np.array([[1, 2], [3, 4]]),
        Tensor(np.array([0.5, math.nan])),
        [Tensor(np.array([1]))],
        math.nan,
    ]
    client.collect(pd.DataFrame({"x": values}))
    assert [row[0] for row in arrived(client, daemon)] == [
        "[null,null,1.0]",
        "[0.5,null]",
        "[1,2]",
        '["a","b"]',
        '["2026-01-01T00:00:00.000000001",null]',
        '["2026-01-01T00:00:00.000000Z","2026-01-01","1.10",null,null]',
        '[0.1,3,true,"00000000-0000-0000-0000-000000000001"]',
        '{"1":{"(\'a\', 2)":{"true":null}}}',
        "[[[1.5],[2]]]",
        "[[1,2],[3,4]]",
        "[0.5,null]",
        "[[1]]",
        None,
    ]


def test_beside_other_values_it_is_text_like_them(client: Client, daemon: FakeDaemon) -> None:
    client.collect([["a", [1, 2]], ["b", 0.5], ["c", "d"]])
    assert arrived(client, daemon) == [("a", "[1,2]"), ("b", "0.5"), ("c", "d")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"riff", "unsupported_media"),
        (bytearray(b"riff"), "unsupported_media"),
        ([b"png"], "unsupported_media"),
        (np.zeros((2, 3, 4)), "unsupported_media"),
        (np.array([b"png"]), "unsupported_media"),
        (pa.table({"x": [b"png"]}), "unsupported_media"),
        (pd.DataFrame({"x": [b"png"]}), "unsupported_media"),
        (np.array([1j]), "unsupported_type"),
        (np.zeros(2, np.longdouble), "unsupported_type"),
        (np.zeros(2, [("a", "i4")]), "unsupported_type"),
        (1j, "unsupported_type"),
        ([[[1, 2], [3, 4]]], "unsupported_media"),
        (pd.DataFrame({"x": [np.zeros((2, 2, 3))]}), "unsupported_media"),
        (pd.DataFrame({"x": [[np.zeros((2, 2, 3))]]}), "unsupported_media"),
        (pd.DataFrame({"x": [[b"png"]]}), "unsupported_media"),
        (pd.DataFrame({"x": [[{1, 2}]]}), "unsupported_type"),
        (pd.DataFrame({"x": [CIRCLE]}), "unsupported_type"),
        (pd.DataFrame({"x": [["\ud800"]]}), "invalid_utf8"),
        (object(), "unsupported_type"),
        (iter([1]), "unsupported_type"),
        (print, "unsupported_type"),
        ([[1, 2], [3]], "ragged"),
        ([[1, 2], 3], "ragged"),
        ({"a": [1, 2], "b": [1]}, "ragged"),
        ({"a": [1, 2], "b": 1}, "ragged"),
        ([np.zeros(2), np.zeros(3)], "ragged"),
        ([], "no_rows"),
        (np.zeros((0, 3)), "no_rows"),
        (np.zeros(0), "no_rows"),
        (pd.DataFrame({"a": []}), "no_rows"),
        ([[]], "no_columns"),
        ({}, "no_columns"),
        (np.zeros((3, 0)), "no_columns"),
        (pd.DataFrame(index=[1, 2]), "no_columns"),
        (np.zeros((1, 10_001)), "too_many_columns"),
        ([1] * 10_001, "too_many_columns"),
        (["x" * (4 << 20)], "row_too_large"),
        (["\ud800"], "invalid_utf8"),
        ({"a\0": 1}, "bad_name"),
        ({"\ud800": 1}, "bad_name"),
        ({"x" * 1025: 1}, "bad_name"),
    ],
    ids=lambda value: (
        f"{type(value).__name__}-{str(value)[:30]}" if isinstance(value, (str, list, dict)) else type(value).__name__
    ),
)
def test_what_cannot_be_collected_is_counted_and_never_raised(
    make: Any, daemon: FakeDaemon, data: Any, reason: str
) -> None:
    quiet, strict = make(), make(strict=True)
    context = quiet.collect(data)
    assert context.rows == 0
    assert list(quiet.stats()["dropped"]) == [reason]
    with pytest.raises(CollectError) as caught:
        strict.collect(data)
    assert caught.value.reason == reason
    quiet.collect([1.0])
    assert quiet.flush(10)
    assert [row.values for row in daemon.rows] == [(1.0,)]
    assert daemon.wait(lambda: ("inputs", reason) in [key for c in daemon.clients.values() for key in c.dropped])


@pytest.mark.parametrize("error", [RuntimeError, TypeError, NotImplementedError, ValueError])
def test_a_tensor_that_makes_no_array_is_no_accident_of_ours(make: Any, error: type[Exception]) -> None:
    """It requires gradients, is on a GPU, or of a dtype that numpy lacks. Its rows are counted."""

    class Tensor:
        shape = (3, 2)

        def __array__(self, *_: Any, **__: Any) -> Any:
            raise error("Can't call numpy() on Tensor that requires grad.")

    client = make()
    assert client.collect(Tensor()).rows == 0
    assert client.stats()["dropped"] == {"unsupported_type": 3}


@pytest.mark.parametrize("dims", [0, 1])
def test_a_list_of_tensors_is_a_row_each_as_one_of_arrays_is(make: Any, daemon: FakeDaemon, dims: int) -> None:
    """What a loop over a batch makes. Each a text `[0.1]` would be no number to any reader, and a scalar was refused."""

    class Tensor:
        def __init__(self, values: Any) -> None:
            self.values = np.array(values, "f4")
            self.ndim = self.values.ndim

        def __array__(self, *_: Any, **__: Any) -> Any:
            return self.values

    client = make()
    values = [0.1, 0.2, 0.3]
    client.collect([Tensor([value] if dims else value) for value in values], "predictions", ["p"])
    client.collect([Tensor([1, 2]), Tensor([3])])
    client.collect({"label": "x", "p": Tensor(0.5)})
    client.collect([[True, Tensor(0.25)]])
    rows = arrived(client, daemon)
    assert [np.float32(row[0]) for row in rows[:3]] == [np.float32(value) for value in values]
    assert {row.types for row in daemon.rows[:3]} == {(FLOAT32,)}
    assert rows[3:] == [("x", 0.5), (True, 0.25)]
    assert client.stats()["dropped"] == {"ragged": 2}


BIG = 2**60 + 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([np.array([0.5, 1]), np.array([BIG, 3])], [("0.5", 1.0), (str(BIG), 3.0)]),
        ([np.array([2**63 + 5], "u8"), np.array([BIG])], [(2**63 + 5,), (BIG,)]),
        ([np.array([0.1], "f4"), np.array([2])], [(0.1,), (2.0,)]),
        ([np.array([0.1], "f4"), np.array(["a"])], [("0.1",), ("a",)]),
        ([np.array([3]), np.array([3], "m8[h]")], [("3",), ("0 days 03:00:00",)]),
        ([np.array(["2026-01-01"], "M8[D]"), np.array([3])], [("2026-01-01T00:00:00.000000",), ("3",)]),
        ([np.ma.array([1, BIG], mask=[True, False]), np.array([0.5, 2])], [(None, str(BIG)), (0.5, "2.0")]),
        ([np.array(BIG), np.array(0.5)], [(BIG, 0.5)]),
    ],
    ids=["whole", "unsigned", "narrow", "text", "span", "time", "masked", "scalars"],
)
def test_arrays_of_several_types_in_a_list_keep_their_values(
    client: Client, daemon: FakeDaemon, data: Any, expected: Any
) -> None:
    """numpy makes them one array: an id beside a score became another id, a number beside a span a span."""
    client.collect(data)
    assert arrived(client, daemon) == expected


def test_a_masked_value_is_null_wherever_it_stands(client: Client, daemon: FakeDaemon) -> None:
    """What `list()` makes of a masked array, and its `mean()` where all of it is masked: it was 0.0."""
    values = np.ma.array([1, 2], mask=[False, True])
    client.collect([list(values), [3, 4]])
    client.collect(list(values[::-1]))
    client.collect({"mean": values[1:].mean(), "n": 1})
    client.collect([["a", [values[1], 1]]])
    assert arrived(client, daemon) == [(1, None), (3, 4), (None, 1), (None, 1), ("a", "[null,1]")]


class Torch:
    """A tensor as PyTorch has it: its dtype is not numpy's, and some of them make no array of themselves."""

    dtype = object()

    def __init__(self, values: Any, array: bool = True, values_at_all: bool = True) -> None:
        self.values = np.asarray(values)
        self.shape, self.ndim = self.values.shape, self.values.ndim
        self.array = array
        self.values_at_all = values_at_all

    def __array__(self, *_: Any, **__: Any) -> Any:
        if not self.array:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    def tolist(self) -> Any:
        if not self.values_at_all:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return self.values.tolist()


def test_a_dictionary_of_tensors_is_one_of_arrays(client: Client, daemon: FakeDaemon) -> None:
    """What a model of PyTorch or transformers returns: a score 0.1 was 0.10000000149011612, as a float64."""
    scores, labels = np.array([0.1, 0.9], "f4"), np.array([0, 1])
    client.collect({"score": scores, "label": labels})
    client.collect({"score": Torch(scores), "label": Torch(labels)})
    client.collect({"score": Torch([0.5, 0.25], array=False)})
    rows = arrived(client, daemon)
    assert rows[:2] == rows[2:4]
    assert {row.types for row in daemon.rows[:4]} == {(FLOAT32, 5)}
    assert rows[4:] == [(0.5,), (0.25,)]


@pytest.mark.parametrize("wrap", [lambda tensor: {"x": tensor}, lambda tensor: [["a", tensor]]], ids=["column", "cell"])
def test_a_tensor_that_has_no_values_is_no_accident_of_ours(make: Any, wrap: Any) -> None:
    """It is on the meta device, sparse, deleted, or being traced."""
    client = make()
    client.collect(wrap(Torch([1.0], array=False, values_at_all=False)))
    assert client.stats()["dropped"] == {"unsupported_type": 1}


@pytest.mark.parametrize("wrap", [np.asarray, Torch])
def test_images_in_a_dictionary_are_refused_as_in_a_cell(make: Any, monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    """`pixel_values` of transformers: they became megabytes of JSON, in seconds of the scoring thread."""
    client = make()
    pixels = wrap(np.zeros((2, 3, 4, 4), "f4"))
    client.collect({"pixel_values": pixels, "id": [1, 2]})
    client.collect([{"pixel_values": pixels, "id": 1}])
    assert client.stats()["dropped"] == {"unsupported_media": 3}
    assert client.collect({"hidden": wrap(np.zeros((2, 3, 4)))}).rows == 2


def test_arrays_that_are_no_rows_are_not_copied_to_be_refused(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `predict_proba` of a model with several outputs returns, or a list of images."""
    client = make()
    monkeypatch.delattr(np, "stack")
    client.collect([np.ones((2, 3)), np.ones((2, 3))])
    assert client.stats()["dropped"] == {"unsupported_media": 2}


def test_rows_of_a_frame_keep_whole_numbers_beside_gaps(client: Client, daemon: FakeDaemon) -> None:
    """A frame made of them again has floats, which are another id."""
    frame = pd.DataFrame({"id": [2**53 + 1, None], "sure": [True, None], "s": ["a", "b"]}, dtype=object)
    client.collect([row for _, row in frame.iterrows()])
    client.collect([pd.Series({"id": 2**53 + 1}), pd.Series({"other": 7})])
    assert arrived(client, daemon) == [(2**53 + 1, True, "a"), (None, None, "b"), (2**53 + 1, None), (None, 7)]


def test_a_list_of_the_rows_of_a_frame_is_that_frame(make: Any, daemon: FakeDaemon) -> None:
    """`[row for _, row in frame.iterrows()]`: by the names that the frame has, and not a text of JSON each in one row."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, 1.5]}, index=["first", "second"])
    client = make()
    client.collect([row for _, row in frame.iterrows()])
    client.collect([column for _, column in frame[["a", "c"]].reset_index(drop=True).items()])
    assert arrived(client, daemon) == [(1, "x", 0.5), (2, None, 1.5), (1.0, 2.0), (0.5, 1.5)]
    assert [row.names for row in daemon.rows[:2]] == [("a", "b", "c")] * 2


def test_an_accident_of_ours_does_not_reach_the_scoring_script(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        __array__ = property(lambda self: 1 / 0)

    client = make()
    assert client.collect(Bad()).rows == 0
    assert client.stats()["dropped"] == {"internal_error": 1}


@hypothesis.given(st.lists(st.booleans(), max_size=70))
def test_bitmaps_are_arrows(mask: list[bool]) -> None:
    got = bitmap(bytes(mask))
    assert len(got) == (len(mask) + 7) // 8
    assert [bool(got[at // 8] >> (at % 8) & 1) for at in range(len(mask))] == mask


@hypothesis.given(st.lists(st.text(max_size=30), min_size=1, max_size=50), st.integers(40, 400))
def test_pieces_of_a_block_put_together_are_the_block(texts: list[str], page: int) -> None:
    from array import array

    encoded = [text.encode() for text in texts]
    numbers = struct.pack(f"<{len(texts)}q", *range(len(texts)))
    block = Block(
        None, (13, 5), len(texts), None,
        (Part(b"".join(encoded), array("i", map(len, encoded)), bytes(len(texts))), Part(numbers)),
    )  # fmt: skip
    pieces = block.cut(page)
    assert [at for at, _ in pieces] == [sum(p.rows for _, p in pieces[:k]) for k in range(len(pieces))]
    assert b"".join(p.parts[0].data for _, p in pieces) == block.parts[0].data
    assert b"".join(p.parts[1].data for _, p in pieces) == numbers
    assert sum(p.rows for _, p in pieces) == len(texts)
    assert all(p.rows == 1 or p.size <= 2 * page for _, p in pieces)


def test_large_and_small_calls_share_a_page_and_buffers_are_used_again(client: Client, daemon: FakeDaemon) -> None:
    """Large arrays go into a pooled buffer: nothing of an earlier page may shine through."""
    bound = client.collector("inputs")
    expected: list[tuple[float, ...]] = []
    random = np.random.default_rng(2)
    for rows in [1, 2000, 1, 3, 1500, 9000, 2, 700, 1] * 3:
        data = random.random((rows, 4))
        bound.collect(data if rows % 2 else np.asfortranarray(data))
        data_rows = [tuple(row) for row in data.tolist()]
        data[:] = -1
        expected += data_rows
    assert arrived(client, daemon) == expected


@pytest.mark.parametrize("library", ["numpy", "pandas", "pyarrow"])
def test_while_another_thread_imports_a_library(
    client: Client, daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """It is among the loaded modules and has no attributes yet: rows were dropped for an internal error, or counted as if."""
    given: list[Any] = [[[1.0, 2.0]], {"a": 1.0, "b": 2.0}, (1.0, 2.0), pl.DataFrame({"a": [1.0], "b": [2.0]})]
    if library != "numpy":
        given.append(np.array([[1.0, 2.0]]))
    if library == "pyarrow":
        given.append(pd.DataFrame({"a": [1.0], "b": [2.0]}))

    def collect() -> None:
        for data in given:
            client.collect(data, feature_names=["a", "b"])

    # What stands in the module runs while it is being imported.
    (tmp_path / f"{library}.py").write_text("import meanwhile\nmeanwhile.collect()\n")
    monkeypatch.setitem(sys.modules, "meanwhile", SimpleNamespace(collect=collect))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, library)
    importlib.import_module(library)
    monkeypatch.undo()
    assert arrived(client, daemon) == [(1.0, 2.0)] * len(given)
    assert client.stats()["dropped"] == {}
