"""What was collected is what is read: by joins, in every type, by every reader, with every codec."""

from __future__ import annotations

import csv
import datetime
import io
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
from collectord_client import Client
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon

# Since its version 3 pandas reads every float to the bit by itself, and the argument is on its way out.
EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
CODECS = ("zstd", "gzip", "none")
DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip


def _file(folder: Path, part: str) -> Path:
    """The one blob of a store whose name contains `part`."""
    found = [path for path in folder.rglob("data*") if part in path.as_posix()]
    assert len(found) == 1, found
    return found[0]


def _text(path: Path) -> str:
    return landed.decode(path.name, path.read_bytes())


def test_inputs_and_predictions_join_to_exactly_what_the_model_said(make_daemon: MakeDaemon) -> None:
    """On correlation id and row, for requests of one and of many rows, over several frames: the inputs of the join give
    the model's prediction bit for bit, and each row of one has one of the other."""
    data, target = load_diabetes(return_X_y=True)
    model = Ridge(alpha=0.1).fit(data, target)
    names = [f"feat{at}" for at in range(data.shape[1])]
    daemon = make_daemon(flush_interval=0.1, flush_bytes=4096).start()
    said = []
    with Client(model="m", endpoint=daemon.endpoint, linger=0.01, strict=True) as client:
        inputs = client.collector("inputs", names)
        predictions = client.collector("predictions", ["prediction"])
        at = 0
        while at < len(data):
            rows = data[at : at + 1 + at % 6]
            context = inputs.collect(rows)
            result = model.predict(rows)
            predictions.collect(result, context=context)
            said += [(str(context.correlation), row, value) for row, value in enumerate(result)]
            at += len(rows)
        assert client.flush()
    daemon.flush()
    assert daemon.metrics()["collectord_frames_landed_total"] > 2
    tables = {
        designation: pd.read_csv(io.StringIO(_text(_file(daemon.folder / "store", f"/{designation}/"))), **EXACT)
        for designation in ("inputs", "predictions")
    }
    keys = ["$aml_dc_correlation_id", "$aml_dc_row"]
    joined = tables["inputs"].merge(tables["predictions"], on=keys, validate="one_to_one", suffixes=("", "_p"))
    assert len(joined) == len(data) == len(tables["inputs"]) == len(tables["predictions"])
    np.testing.assert_array_equal(joined[names].to_numpy(), data)
    assert [(*key, value) for *key, value in joined[[*keys, "prediction"]].itertuples(index=False)] == [
        (id, row, value) for id, row, value in said
    ]
    again = np.concatenate(
        [model.predict(np.ascontiguousarray(group[names])) for _, group in joined.groupby(keys[0], sort=False)]
    )
    assert again.tobytes() == joined["prediction"].to_numpy().tobytes()
    assert (joined["$aml_dc_scoring_timestamp"] == joined["$aml_dc_scoring_timestamp_p"]).all()


def _array(dtype: str) -> npt.NDArray[Any]:
    """Two columns of a type, its extremes among them."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        values: Any = [True, False, False, True, True, True]
    elif kind.kind in "iu":
        info = np.iinfo(kind)
        values = [info.min, info.max, 0, 1, info.max - 1, 7]
    else:
        finfo = np.finfo(kind)
        values = [finfo.max, finfo.min, finfo.smallest_subnormal, -0.0, 0.1, 1 / 3]
    return np.array(values, dtype=kind).reshape(3, 2)


@pytest.mark.parametrize("codec", CODECS)
def test_arrays_of_every_dtype_read_back_bit_for_bit_in_every_reader(make_daemon: MakeDaemon, codec: str) -> None:
    """The extremes of each type, subnormal floats and the negative zero included, are the same bits in csv, pandas,
    pyarrow, polars and DuckDB."""
    daemon = make_daemon(codec=codec).start()
    with Client(endpoint=daemon.endpoint, linger=0.01, strict=True) as client:
        for dtype in DTYPES:
            collector = client.collector(dtype, ["a", "b"])
            collector.collect(_array(dtype))
            collector.collect(np.asfortranarray(_array(dtype)))
            collector.collect(_array(dtype).astype(np.dtype(dtype).newbyteorder(">")))
        assert client.flush()
    daemon.flush()
    for dtype in DTYPES:
        path = _file(daemon.folder / "store", f"/{dtype}/")
        expected = np.concatenate([_array(dtype)] * 3)
        for reader in (_by_csv, _by_pandas, _by_pyarrow, _by_polars, _by_duckdb):
            found = reader(path, dtype)
            assert found.dtype == expected.dtype, (dtype, reader.__name__)
            assert found.tobytes() == expected.tobytes(), (dtype, reader.__name__, found, expected)


def _by_csv(path: Path, dtype: str) -> npt.NDArray[Any]:
    rows = list(csv.DictReader(io.StringIO(_text(path), newline="")))
    made = {"b": {"true": True, "false": False}.__getitem__, "i": int, "u": int, "f": float}[np.dtype(dtype).kind]
    return np.array([[made(row["a"]), made(row["b"])] for row in rows], dtype=dtype)


def _by_pandas(path: Path, dtype: str) -> npt.NDArray[Any]:
    wide = "float64" if dtype.startswith("float") else dtype
    frame = pd.read_csv(path, usecols=["a", "b"], dtype=wide, **EXACT)
    return np.ascontiguousarray(frame.to_numpy().astype(dtype))


def _by_pyarrow(path: Path, dtype: str) -> npt.NDArray[Any]:
    wide = "float64" if dtype.startswith("float") else dtype
    kind = pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(wide)
    options = pyarrow.csv.ConvertOptions(include_columns=["a", "b"], column_types={"a": kind, "b": kind})
    table = pyarrow.csv.read_csv(io.BytesIO(_text(path).encode()), convert_options=options)
    return np.column_stack([table.column(name).to_numpy(zero_copy_only=False) for name in "ab"]).astype(dtype)


def _by_polars(path: Path, dtype: str) -> npt.NDArray[Any]:
    kind = {"bool": pl.Boolean, "float16": pl.Float64, "float32": pl.Float64, "float64": pl.Float64}.get(dtype)
    kind = kind or getattr(pl, {"i": "Int", "u": "UInt"}[dtype[0]] + "".join(c for c in dtype if c.isdigit()))
    frame = pl.read_csv(path, columns=["a", "b"], schema_overrides={"a": kind, "b": kind})
    return np.ascontiguousarray(frame.to_numpy().astype(dtype))


def _by_duckdb(path: Path, dtype: str) -> npt.NDArray[Any]:
    name = {"bool": "BOOLEAN", "float16": "DOUBLE", "float32": "DOUBLE", "float64": "DOUBLE"}.get(dtype)
    if name is None:
        size = {"8": "TINYINT", "16": "SMALLINT", "32": "INTEGER", "64": "BIGINT"}[
            "".join(c for c in dtype if c.isdigit())
        ]
        name = ("U" if dtype.startswith("u") else "") + size
    found = duckdb.sql(f"SELECT a, b FROM read_csv('{path}', types={{'a': '{name}', 'b': '{name}'}})").fetchnumpy()
    return np.column_stack([np.asarray(found["a"]), np.asarray(found["b"])]).astype(dtype)


TEXTS = [
    "plain",
    "",
    'quo"te',
    "comma,",
    "two\nlines",
    "cr\r\nlf",
    "ünï模型🙂",
    " blanks ",
    "null",
    "NaN",
    "0001",
    None,
]


def _frame() -> pd.DataFrame:
    number = len(TEXTS)
    naive = pd.date_range("2020-02-29T23:59:59.123456", periods=number, freq="36h").to_series(index=range(number))
    naive[3] = pd.NaT
    return pd.DataFrame(
        {
            "text": pd.Series(TEXTS, dtype=object),
            "whole": pd.Series([None, *range(number - 1)], dtype="Int64"),
            "real": [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1, 1e16, 1e-5, 123456789.123, 2.0, 1 / 3],
            "flag": pd.Series([True, None, False] * (number // 3), dtype="boolean"),
            "kind": pd.Categorical(["red", "green", None] * (number // 3)),
            "naive": naive,
            "aware": naive.dt.tz_localize("Europe/Berlin"),
        }
    )


@pytest.mark.parametrize("codec", CODECS)
def test_a_data_frame_reads_back_equal_in_every_reader(make_daemon: MakeDaemon, codec: str) -> None:
    """Text with everything that CSV finds hard, nulls beside empty text, whole numbers with nulls, special floats,
    categories and times with and without a zone come back as they were."""
    frame = _frame()
    daemon = make_daemon(codec=codec).start()
    with Client(endpoint=daemon.endpoint, linger=0.01, strict=True) as client:
        client.collect(frame)
        assert client.flush()
    daemon.flush()
    path = _file(daemon.folder / "store", "/inputs/")
    columns = list(frame.columns)

    by_csv = list(csv.DictReader(io.StringIO(_text(path), newline="")))
    assert [row["text"] for row in by_csv] == [text or "" for text in TEXTS]
    assert [row["whole"] for row in by_csv] == ["", *map(str, range(len(TEXTS) - 1))]
    assert by_csv[0]["naive"] == "2020-02-29T23:59:59.123456"
    assert by_csv[0]["aware"] == "2020-02-29T22:59:59.123456Z"
    assert by_csv[3]["naive"] == by_csv[3]["aware"] == ""
    assert [row["flag"] for row in by_csv[:3]] == ["true", "", "false"]
    for row, value in zip(by_csv, frame["real"], strict=True):
        found = float(row["real"])
        assert np.float64(found).tobytes() == np.float64(value).tobytes() or (math.isnan(found) and math.isnan(value))

    by_pandas = pd.read_csv(
        path, usecols=columns, dtype={"text": "string", "whole": "Int64", "flag": "boolean", "kind": "string"},
        parse_dates=["naive", "aware"], keep_default_na=False, na_values={name: ["", "NaN"] for name in columns if name != "text"},
        **EXACT,
    )  # fmt: skip
    assert list(by_pandas["text"]) == [text or "" for text in TEXTS]
    assert by_pandas["whole"].equals(frame["whole"])
    assert by_pandas["flag"].equals(frame["flag"])
    assert (by_pandas["naive"].dropna() == frame["naive"].dropna()).all()
    assert (by_pandas["aware"].dropna() == frame["aware"].dropna()).all()
    np.testing.assert_array_equal(by_pandas["real"].to_numpy(), frame["real"].to_numpy())
    assert (
        by_pandas["kind"].astype(object).where(by_pandas["kind"].notna(), None).tolist() == ["red", "green", None] * 4
    )

    options = pyarrow.csv.ConvertOptions(
        include_columns=columns, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""],
        column_types={
            "text": pa.string(), "whole": pa.int64(), "real": pa.float64(), "flag": pa.bool_(), "kind": pa.string(),
            "naive": pa.timestamp("us"), "aware": pa.timestamp("us", "UTC"),
        },
    )  # fmt: skip
    by_arrow = pyarrow.csv.read_csv(
        io.BytesIO(_text(path).encode()), convert_options=options, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )  # fmt: skip
    assert by_arrow.column("text").to_pylist() == TEXTS
    _check_rows(by_arrow.to_pylist(), frame)

    by_polars = pl.read_csv(
        path, columns=columns, try_parse_dates=True,
        schema_overrides={"text": pl.String, "whole": pl.Int64, "real": pl.Float64, "flag": pl.Boolean, "kind": pl.String},
    )  # fmt: skip
    assert by_polars["text"].to_list() == TEXTS
    _check_rows(by_polars.to_dicts(), frame)

    types = {"text": "VARCHAR", "whole": "BIGINT", "real": "DOUBLE", "flag": "BOOLEAN", "kind": "VARCHAR", "naive": "TIMESTAMP", "aware": "VARCHAR"}  # fmt: skip
    by_duckdb = duckdb.sql(
        f"SELECT {', '.join(columns)} FROM read_csv('{path}', header=true, types={types}, allow_quoted_nulls=false, "
        "parallel=false)"
    ).fetchall()
    found = [dict(zip(columns, row, strict=True)) for row in by_duckdb]
    assert [row["text"] for row in found] == TEXTS
    for row in found:
        row["aware"] = (
            None if row["aware"] is None else datetime.datetime.fromisoformat(row["aware"].replace("Z", "+00:00"))
        )
    _check_rows(found, frame)


def _check_rows(found: list[dict[str, Any]], frame: pd.DataFrame) -> None:
    for at, row in enumerate(found):
        expected = frame.iloc[at]
        for name in ("whole", "flag", "kind"):
            assert row[name] == (None if pd.isna(expected[name]) else expected[name]), (at, name)
        for name in ("naive", "aware"):
            if pd.isna(expected[name]):
                assert row[name] is None, (at, name)
            else:
                assert pd.Timestamp(row[name]) == expected[name], (at, name)
        if math.isnan(expected["real"]):
            assert row["real"] is None or math.isnan(row["real"])
        else:
            assert np.float64(row["real"]).tobytes() == np.float64(expected["real"]).tobytes(), at


def test_lists_and_mappings_read_back_as_they_were(make_daemon: MakeDaemon) -> None:
    """What comes out of JSON, without numpy: numbers, text, truth and null, in rows, dictionaries and scalars."""
    daemon = make_daemon(codec="none").start()
    with Client(endpoint=daemon.endpoint, linger=0.01, strict=True) as client:
        client.collector("rows", ["a", "b", "c", "d"]).collect([[1, 2.5, "x,y", True], [2, None, None, False]])
        client.collector("records").collect([{"age": 61, "name": "Ö"}, {"age": 7, "name": ""}])
        client.collector("columns").collect({"age": [61, 7], "big": [2**63, 1]})
        client.collector("scalar", ["p"]).collect(0.1 + 0.2)
        client.collector("flat").collect([1.0, 2.0, 3.0])
        assert client.flush()
    daemon.flush()
    store = daemon.folder / "store"

    def user(designation: str) -> list[list[str]]:
        rows = list(csv.reader(io.StringIO(_text(_file(store, f"/{designation}/")), newline="")))
        width = rows[0].index("$aml_dc_correlation_id")
        return [row[:width] for row in rows]

    assert user("rows") == [["a", "b", "c", "d"], ["1", "2.5", "x,y", "true"], ["2", "", "", "false"]]
    assert user("records") == [["age", "name"], ["61", "Ö"], ["7", ""]]
    assert user("columns") == [["age", "big"], ["61", str(2**63)], ["7", "1"]]
    assert user("scalar") == [["p"], ["0.30000000000000004"]]
    assert user("flat") == [["column_1", "column_2", "column_3"], ["1.0", "2.0", "3.0"]]
