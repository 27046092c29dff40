"""Column rules: what they name does not leave the process as it was, whatever it comes in."""

from __future__ import annotations

import datetime
import hmac
import json
import logging
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from collectord_client import Client, CollectError
from collectord_client.azureml.printing import landing
from collectord_client.block import Part
from collectord_client.cells import cells
from collectord_client.core import NO_SHAPE

from collectord.ingest.columns import covers
from collectord.ingest.records import read
from collectord.model import ColumnType
from tests.client.fakedaemon import FakeDaemon, Row
from tests.encode import oracle

KEY = b"a key of the tests"


def hashed(text: str) -> str:
    return hmac.new(KEY, text.encode(), "sha256").hexdigest()


def rows(client: Client, daemon: FakeDaemon) -> list[Row]:
    assert client.flush(10)
    return daemon.rows


RULES = {"ssn": "drop", "email": "mask", "customer": "hmac"}
NAMES = ("x", "ssn", "email", "customer")
VALUES = [[1.5, 111, "a@b.c", "seven"], [2.5, 222, None, None], [3.5, 333, "", "seven"]]
LEFT = [(1.5, "***", hashed("seven")), (2.5, None, None), (3.5, "***", hashed("seven"))]


@pytest.mark.parametrize(
    "data",
    [
        VALUES,
        [dict(zip(NAMES, row, strict=True)) for row in VALUES],
        pd.DataFrame(VALUES, columns=list(NAMES)),
        pa.table({name: [row[at] for row in VALUES] for at, name in enumerate(NAMES)}),
        pl.DataFrame(VALUES, schema=list(NAMES), orient="row"),
    ],
    ids=["lists", "dictionaries", "pandas", "arrow", "polars"],
)
def test_drop_mask_and_hmac(make: Any, daemon: FakeDaemon, data: Any) -> None:
    client = make(strict=True, columns=RULES, columns_key=KEY)
    client.collect(data, feature_names=NAMES)
    got = rows(client, daemon)
    assert [row.names for row in got] == [("x", "email", "customer")] * 3
    # pandas has no empty text of its own beside null in this column, the others do.
    assert [row.values for row in got] == LEFT
    assert {row.types for row in got} == {(12, 13, 13)}
    assert client.stats()["unmatched_rules"] == []
    assert client.stats()["notes"] == {}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["seven", "", None, "a,b", 'q"', "é\n漢"], ["seven", "", None, "a,b", 'q"', "é\n漢"]),
        ([1, -20, 0], ["1", "-20", "0"]),
        ([-(1 << 63), (1 << 63) - 1], ["-9223372036854775808", "9223372036854775807"]),
        ([1.5, 2.0, -0.0, 0.1, 1e16, 1e300, 5e-324], ["1.5", "2.0", "-0.0", "0.1", "1e+16", "1e+300", "5e-324"]),
        ([True, False, None], ["true", "false", None]),
    ],
    ids=["texts", "integers", "large integers", "floats", "bools"],
)
@pytest.mark.parametrize(
    ("action", "left"),
    [("drop", None), ("mask", lambda text: "***"), ("hmac", hashed)],
    ids=["drop", "mask", "hmac"],
)
def test_a_value_becomes_the_same_in_a_client_and_at_the_v2_door(
    make: Any, daemon: FakeDaemon, values: list[Any], texts: list[str | None], action: str, left: Any
) -> None:
    """One table for both, so that a value has one HMAC whichever way it came."""
    records = [{"x": value, "other": at} for at, value in enumerate(values)]
    client = make(strict=True, columns={"x": action}, columns_key=KEY)
    client.collect(records)
    got = rows(client, daemon)
    count, columns = read(json.dumps(records).encode(), covers({"x": action}, KEY))
    assert count == len(got) == len(texts)
    if left is None:
        assert [column.name for column in columns] == ["other"]
        assert [row.names for row in got] == [("other",)] * count
        return
    expected = [None if text is None else left(text) for text in texts]
    assert [row.values[0] for row in got] == expected
    covered = columns[0]
    ends = memoryview(covered.offsets).cast("i")
    valid = covered.validity or b"\xff" * count
    assert [
        covered.data[ends[at] : ends[at + 1]].decode() if valid[at // 8] >> at % 8 & 1 else None for at in range(count)
    ] == expected


@pytest.mark.parametrize("rows_", [1, 3, 1000])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "?"])
def test_arrays(make: Any, daemon: FakeDaemon, dtype: str, rows_: int) -> None:
    """The second call, too: what is remembered of an array's kind must not be a way around the rules."""
    client = make(strict=True, columns={"b": "drop", "c": "hmac", "d": "mask"}, columns_key=KEY)
    collector = client.collector("inputs", list("abcde"))
    data = (np.arange(5.0 * rows_) % 7 - 2).reshape(rows_, 5).astype(dtype)
    for _ in range(2):
        collector.collect(data)
    assert collector._shape is NO_SHAPE
    got = rows(client, daemon)
    assert {row.names for row in got} == {("a", "c", "d", "e")}
    expected = [
        (a, hashed(oracle.value_text(ColumnType(_kind(dtype)), c)), "***", e) for a, _, c, _, e in data.tolist() * 2
    ]
    assert [row.values for row in got] == expected


def _kind(dtype: str) -> int:
    return {"f8": 12, "f4": 11, "i2": 3, "?": 1}[dtype]


def test_drop_alone_keeps_an_array_an_array(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, columns={"b": "drop"})
    for _ in range(2):
        client.collect(np.arange(6.0).reshape(2, 3), feature_names=list("abc"))
    assert [row.values for row in rows(client, daemon)] == [(0.0, 2.0), (3.0, 5.0)] * 2
    assert all(batch.tensor for batch in daemon.batches)


def test_a_designation_without_such_a_column_keeps_the_short_way(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, columns={"ssn": "drop"})
    collector = client.collector("predictions", ["p"])
    for _ in range(2):
        collector.collect(np.ones((2, 1)))
    assert collector._shape is not NO_SHAPE
    assert len(rows(client, daemon)) == 4


SCALARS: list[tuple[int, Any, str]] = [
    (1, True, "true"), (1, False, "false"), (5, -(1 << 63), "-9223372036854775808"), (5, 7, "7"),
    (9, (1 << 64) - 1, "18446744073709551615"), (2, -128, "-128"),
    (12, 7.0, "7.0"), (12, 0.1, "0.1"), (12, 1e16, "1e+16"), (12, 1e-5, "1e-05"), (12, -0.0, "-0.0"),
    (12, math.nan, "NaN"), (12, math.inf, "Inf"), (12, -math.inf, "-Inf"),
    (11, 0.1, "0.1"), (11, 16777216.0, "16777216.0"), (11, 7.0385307e-26, "7.0385307e-26"), (10, 0.1, "0.1"),
    (13, "a,\"b\"\n", "a,\"b\"\n"), (13, "", ""), (13, "Ärger", "Ärger"), (13, "7", "7"),
    (14, 1_546_300_799_123_456_000, "2018-12-31T23:59:59.123456"),
    (14, 1_546_300_799_123_456_789, "2018-12-31T23:59:59.123456789"),
    (15, 1_546_300_799_000_000_000, "2018-12-31T23:59:59.000000Z"), (14, -1, "1969-12-31T23:59:59.999999999"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "shown"), SCALARS, ids=lambda one: repr(one)[:30])
def test_the_text_that_is_hashed_is_that_of_the_csv(
    make: Any, daemon: FakeDaemon, kind: int, value: Any, shown: str
) -> None:
    """Before it is quoted; the oracle is the one that the daemon's encoder is tested with."""
    exact = oracle.value_text(ColumnType(kind), value)
    assert exact == shown
    arrow = [pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
             pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")]  # fmt: skip
    given = np.float16(value) if kind == 10 else value
    client = make(strict=True, columns={"c": "hmac"}, columns_key=KEY)
    client.collect(pa.table({"c": pa.array([given, None], arrow[kind - 1])}))
    assert [row.values for row in rows(client, daemon)] == [(hashed(shown),), (None,)]


@hypothesis.given(st.floats(width=32), st.floats(width=16))
@hypothesis.example(2.0**-126, 2.0**-14)
@hypothesis.example(2.0**25, 65504.0)
@hypothesis.example(9.5367431640625e-07, 2.0**-24)
@hypothesis.settings(max_examples=300, deadline=None)
def test_narrow_floats(single: float, half: float) -> None:
    for kind, value, dtype in ((ColumnType.FLOAT32, single, "f4"), (ColumnType.FLOAT16, half, "f2")):
        assert cells(int(kind), Part(np.array([value], dtype).tobytes())) == [oracle.value_text(kind, value)]


def test_powers_of_two_as_narrow_floats() -> None:
    """Around them the gaps between floats differ to both sides."""
    with np.errstate(over="ignore"):
        values = np.ldexp(np.float32(1), np.arange(-149, 128)).astype("f4")
        values = np.concatenate([values, np.nextafter(values, np.float32(0)), np.nextafter(values, np.float32(np.inf))])
    expected = [oracle.value_text(ColumnType.FLOAT32, value) for value in values]
    assert cells(11, Part(values.tobytes())) == expected
    halves = np.arange(0x7C00, dtype="u2").view("f2")
    assert cells(10, Part(halves.tobytes())) == [oracle.value_text(ColumnType.FLOAT16, value) for value in halves]


def test_python_values_are_hashed_as_they_land(make: Any, daemon: FakeDaemon) -> None:
    """What stands in one column has one type: so 7 beside 0.5 is 7.0, as it is without a rule."""
    given = [datetime.datetime(2024, 2, 29, 1, 2, 3), Decimal("1.50"), datetime.date(2024, 2, 29), "t", 7, True]
    plain, ruled = make(strict=True), make(strict=True, columns={"c": "hmac"}, columns_key=KEY)
    for table in [[[value]] for value in given] + [[[7], [0.5]], [[7], ["t"], [None]]]:
        plain.collect(table, "plain", ["c"])
        ruled.collect(table, "ruled", ["c"])
    assert plain.flush(10)
    assert ruled.flush(10)
    texts = [
        None
        if row.values[0] is None
        else row.values[0]
        if row.types == (13,)
        else oracle.value_text(ColumnType(row.types[0]), row.values[0])
        for row in sorted((r for r in daemon.rows if r.designation == "plain"), key=lambda r: (r.time_ns, r.row))
    ]
    got = [
        row.values[0]
        for row in sorted((r for r in daemon.rows if r.designation == "ruled"), key=lambda r: (r.time_ns, r.row))
    ]
    assert got == [None if text is None else hashed(text) for text in texts]
    assert len(got) == 11


def test_names_that_land_otherwise(make: Any, daemon: FakeDaemon) -> None:
    """A rule is for the name that lands, for the data's own, and for repeated ones."""
    client = make(strict=True, columns={"ssn": "drop", "email": "mask", "v.2": "mask"})
    frame = pd.DataFrame([[1, 2, "m", 3]], columns=["ssn", "ssn", "email", "x"])
    client.collect(frame, "repeated")
    client.collect(pd.DataFrame({"ssn": [1], "x": [2]}), "renamed", ["one", "two"])
    client.collect(pd.DataFrame({"x": [2], "ssn": [1], "y": [3]}), "reordered", ["y", "ssn", "x"])
    client.collect([[1, 2]], "positions", ["ssn.1", "b"])
    client.collect(pd.DataFrame({"v.2": [1]}), "numbered", ["w"])
    got = {row.designation: dict(zip(row.names, row.values, strict=True)) for row in rows(client, daemon)}
    assert got == {
        "repeated": {"email": "***", "x": 3},
        "renamed": {"two": 2},
        "reordered": {"y": 3, "x": 2},
        "positions": {"b": 2},
        "numbered": {"w": "***"},
    }


UNCOLLECTABLE = [object(), b"\xff\xd8"]
"""What would refuse the whole call."""
BESIDE: dict[str, Any] = {
    "pandas": pd.DataFrame({"photo": UNCOLLECTABLE, "x": [1.5, 2.5]}),
    "lists in a dictionary": {"photo": UNCOLLECTABLE, "x": [1.5, 2.5]},
    "arrays in a dictionary": {"photo": np.zeros((7, 2), complex), "x": np.array([1.5, 2.5])},
    "no list in a dictionary": {"photo": UNCOLLECTABLE[0], "x": [1.5, 2.5]},
    "dictionaries": [{"photo": UNCOLLECTABLE[0], "x": 1.5}, {"photo": UNCOLLECTABLE[1], "x": 2.5}],
    "rows of a frame": [row for _, row in pd.DataFrame({"photo": UNCOLLECTABLE, "x": [1.5, 2.5]}).iterrows()],
    "arrow": pa.table({"photo": [b"", b"\xff"], "x": [1.5, 2.5]}),
    "polars": pl.DataFrame({"photo": [b"", b"\xff"], "x": [1.5, 2.5]}),
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("names", [None, ["photo", "x"], ["x"], ["image", "x"], ["image", "value"]], ids=str)
def test_what_stands_in_a_dropped_column_is_not_looked_at(
    make: Any, daemon: FakeDaemon, kind: str, names: list[str] | None
) -> None:
    """Photos and audio are what such a rule is for; with them, the rows beside them were refused."""
    client = make(strict=True, columns={"photo": "drop", "z": "mask"})
    for _ in range(2):
        client.collect(BESIDE[kind], feature_names=names)
    left = ("x",) if names is None else (names[-1],)
    assert [(row.names, row.values) for row in rows(client, daemon)] == [(left, (1.5,)), (left, (2.5,))] * 2
    shown, _ = landing(BESIDE[kind], None if names is None else tuple(names), 0, client._rules)
    assert shown == left


def test_nor_is_what_stands_in_the_only_row(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, columns={"photo": "drop"})
    client.collect({"x": 1.5, "photo": UNCOLLECTABLE[1]})
    assert [(row.names, row.values) for row in rows(client, daemon)] == [(("x",), (1.5,))]


def test_polars_without_pyarrow_does_not_look_either(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(strict=True, columns={"photo": "drop"})
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "pyarrow")
        client.collect(BESIDE["polars"])
    assert [(row.names, row.values) for row in rows(client, daemon)] == [(("x",), (1.5,)), (("x",), (2.5,))]


def test_what_only_photos_are_left_of_is_counted_by_its_rows(make: Any) -> None:
    client = make(columns={"photo": "drop"})
    client.collect({"photo": b"\xff" * 1000})
    client.collect(pd.DataFrame({"photo": UNCOLLECTABLE}))
    client.collect({"photo": UNCOLLECTABLE})
    assert client.stats()["dropped"] == {"no_columns": 5}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("names", [None, ["label"]], ids=str)
@pytest.mark.parametrize("kind", ["pandas", "polars", "polars alone"])
def test_the_name_of_a_series(
    make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, kind: str, names: list[str] | None, count: int
) -> None:
    """It is a column's, also of a single value, however the collector calls that column."""
    if kind == "polars alone":
        monkeypatch.delitem(sys.modules, "pyarrow")
    values = ["111-22", "333-44"][:count]
    given = pd.Series(values, name="ssn") if kind == "pandas" else pl.Series("ssn", values)
    client = make(columns={"ssn": "drop"})
    client.collect(given, "labels", names)
    masked = make(strict=True, columns={"ssn": "mask"})
    masked.collect(given, "labels", names)
    monkeypatch.undo()
    assert client.stats()["dropped"] == {"no_columns": count}
    landed = ("ssn",) if names is None else ("label",)
    assert [(row.names, row.values) for row in rows(masked, daemon)] == [(landed, ("***",))] * count


def test_a_rule_for_a_name_that_is_never_there_is_told_once(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = make(model="told once", columns={"sssn": "drop", "a": "mask", "error_message": "drop"})
    with caplog.at_level(logging.WARNING, "collectord_client"):
        for names in (["a", "b"], ["a", "c"], ["a", "d"]):
            client.collect([[1, 2]], feature_names=names)
            client.collect([[1]], "predictions", ["p"])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "'sssn'" in told[0]
    assert client.stats()["unmatched_rules"] == ["error_message", "sssn"]


def test_nothing_is_left(make: Any) -> None:
    client = make(columns={"a": "drop", "b": "drop"})
    for _ in range(2):
        client.collect([[1, 2], [3, 4]], feature_names=["a", "b"])
    assert client.stats()["dropped"] == {"no_columns": 4}


SECRET = "secret-4711"


def test_masked_values_stay_nowhere(make: Any, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the client's pages, not in its logs, also where the call is refused."""
    daemon.hold_acks = True
    client = make(columns={"a": "mask", "b": "hmac", "c": "drop"}, columns_key=KEY, linger=600)
    with caplog.at_level(logging.DEBUG, "collectord_client"):
        for data in ([[SECRET, SECRET, SECRET, 1]], pd.DataFrame([[SECRET] * 3 + [1.5]], columns=list("abcd"))):
            client.collect(data, feature_names=list("abcd"))
        client.collect([[SECRET, SECRET, SECRET, b"raw"]], feature_names=list("abcd"))
    pages = list(client._outbox._open)
    assert len(pages) == 2
    for page in pages:
        assert SECRET.encode() not in page.body()
        assert hashed(SECRET).encode() in page.body()
    assert SECRET not in caplog.text
    assert KEY.decode() not in repr(vars(client)) + caplog.text


def test_ids_of_the_user(make: Any, daemon: FakeDaemon) -> None:
    """The same hash everywhere, so that what belongs together still joins; generated ids tell nothing and stay."""
    rules = {"$aml_dc_correlation_id": "hmac", "$aml_request_id": "hmac"}
    client = make(strict=True, columns=rules, columns_key=KEY)
    context = client.collect(np.ones((2, 2)), correlation_id="loan-7", request_id="r-7")
    client.collect(np.ones(2), "predictions", ["p"])
    client.collect([[1]], "labels", correlation_id=["loan-7"], request_id=["r-7"])
    generated = client.collect([[1.0]])
    client.collect([[1], [2]], "labels", correlation_id=[generated.correlation, "loan-7"])
    assert (context.correlation, context.request_id) == ("loan-7", "r-7")
    got = rows(client, daemon)
    mine, plain = hashed("loan-7"), str(generated.correlation)
    assert [(r.designation, r.correlation, r.row) for r in sorted(got, key=lambda r: (r.designation, r.correlation, r.row))] == sorted(
        [("inputs", mine, 0), ("inputs", mine, 1), ("inputs", plain, 0), ("predictions", mine, 0), ("predictions", mine, 1),
         ("labels", mine, 0), ("labels", mine, 1), ("labels", plain, 0)]
    )  # fmt: skip
    assert {r.request for r in got if r.correlation == mine} == {hashed("r-7"), None}


def test_request_ids_may_be_dropped(make: Any, daemon: FakeDaemon) -> None:
    client = make(strict=True, columns={"$aml_request_id": "drop"})
    client.collect([[1]], request_id="r-7")
    client.collect([[1], [2]], request_id=["r-7", "r-8"])
    assert {row.request for row in rows(client, daemon)} == {None}


def test_sampling_goes_by_the_id_before_it_is_hashed(make: Any, daemon: FakeDaemon) -> None:
    ids = [f"loan-{at}" for at in range(40)]
    for options in ({}, {"columns": {"$aml_dc_correlation_id": "hmac"}, "columns_key": KEY}):
        client = make(strict=True, sampling=0.5, **options)
        client.collect([[at] for at in range(40)], correlation_id=ids)
        assert client.flush(10)
    half = len(daemon.rows) // 2
    assert [row.values for row in daemon.rows[:half]] == [row.values for row in daemon.rows[half:]]
    assert [row.correlation for row in daemon.rows[half:]] == [hashed(row.correlation) for row in daemon.rows[:half]]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_keys_of_any_length(make: Any, daemon: FakeDaemon, size: int) -> None:
    key = bytes(range(size))
    client = make(strict=True, columns={"a": "hmac"}, columns_key=key)
    client.collect([["x"], [""]], feature_names=["a"])
    expected = [(hmac.new(key, text.encode(), "sha256").hexdigest(),) for text in ("x", "")]
    assert [row.values for row in rows(client, daemon)] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"a": "hmac"}}, "pass columns_key, or set COLLECTORD_COLUMNS_KEY"),
        ({"columns": {"a": "hmac"}, "columns_key": b""}, "there is no key"),
        ({"columns": {"a": "hide"}}, "'hide' of 'a'"),
        ({"columns": {"": "drop"}}, "not empty"),
        ({"columns": ["a"]}, "not list"),
        ({"columns": {"a": "hmac"}, "columns_key": 7}, "columns_key is bytes, not int"),
        ({"columns": {"$aml_dc_correlation_id": "drop"}}, "that can only be hmac"),
        ({"columns": {"$aml_request_id": "mask"}}, "hmac or drop"),
        ({"columns": {"$aml_dc_row": "drop"}}, "no rule reaches it"),
    ],
)
def test_arguments_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", "\\(").replace("$", "\\$")):
        Client(model="m", **options)


def test_the_environment_says_it(
    monkeypatch: pytest.MonkeyPatch, make: Any, daemon: FakeDaemon, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLLECTORD_COLUMNS", "ssn=drop, a=b=mask ,customer=hmac")
    with pytest.raises(ValueError, match="COLLECTORD_COLUMNS asks for hmac"):
        Client(model="m")
    monkeypatch.setenv("COLLECTORD_COLUMNS_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"COLLECTORD_COLUMNS_KEY_FILE names .* cannot be read"):
        Client(model="m")
    (tmp_path / "key").write_bytes(KEY + b"\n")
    monkeypatch.setenv("COLLECTORD_COLUMNS_KEY_FILE", str(tmp_path / "key"))
    make(strict=True).collect([[1, 2, 3]], feature_names=["ssn", "a=b", "customer"])
    monkeypatch.setenv("COLLECTORD_COLUMNS_KEY", KEY.decode())
    monkeypatch.setenv("COLLECTORD_COLUMNS_KEY_FILE", "")
    make(strict=True).collect([[1, 2, 3]], feature_names=["ssn", "a=b", "customer"])
    make(strict=True, columns={}).collect([[1, 2, 3]], feature_names=["ssn", "a=b", "customer"])
    assert daemon.wait(lambda: len(daemon.rows) == 3)
    assert sorted([row.values for row in daemon.rows], key=len) == [("***", hashed("3"))] * 2 + [(1, 2, 3)]
    monkeypatch.setenv("COLLECTORD_COLUMNS_KEY_FILE", "somewhere")
    with pytest.raises(ValueError, match="both set"):
        Client(model="m")


@pytest.mark.parametrize(
    ("told", "message"),
    [("ssn", "no rule such as"), ("=drop", "no rule"), ("a=", "no rule"), ("a=drop,a=mask", "two rules for 'a'"), ("a=b", "'b' of 'a'"),
     ("a=drop;b=mask", "commas stand between"), ("a=hmac b=mask", "commas stand between")],
)  # fmt: skip
def test_an_environment_that_cannot_work(monkeypatch: pytest.MonkeyPatch, told: str, message: str) -> None:
    monkeypatch.setenv("COLLECTORD_COLUMNS", told)
    with pytest.raises(ValueError, match=f"COLLECTORD_COLUMNS .*{message}"):
        Client(model="m")


def test_refused_rows_are_refused_as_ever(make: Any) -> None:
    client = make(strict=True, columns={"a": "mask"})
    with pytest.raises(CollectError, match="invalid_utf8"):
        client.collect([["\ud800"]], feature_names=["a"])
