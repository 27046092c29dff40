"""What people read blobs with finds every value again, floats bit for bit, whatever the codec."""

from __future__ import annotations

import csv
import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pytest
import zstandard

from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import CODECS, FrameEncoder
from collectord.encode.ways import TRIAL_TEXT
from collectord.model import ColumnType, FrameIds, FrameTag, IdLayout
from tests.encode import batches

ROWS = 6000
FRAME_ROWS = 2000
"""So many that zstd is given what rows have in common."""
PLAN = batches.schema(
    ColumnType.FLOAT64,
    ColumnType.FLOAT32,
    ColumnType.INT64,
    ColumnType.STRING,
    ColumnType.BOOL,
    names=["double", "float", "whole", "text, and more", "flag"],
    request=IdLayout.TEXT,
    sampled=True,
)
TEXTS = [
    "plain",
    "",
    None,
    'a "quoted" word',
    "comma, comma",
    "two\nlines",
    "carriage\r\nreturn",
    "é漢😀",
    " spaces ",
    "NaN",
    "12",
]


def rows() -> pa.RecordBatch:
    """Random bits, so that every exponent occurs, and everything that a reader could take for something else."""
    random = np.random.default_rng(3)
    doubles = random.integers(0, 2**64, ROWS, dtype=np.uint64).view(np.float64)
    doubles[~np.isfinite(doubles)] = 0.1
    floats = random.integers(0, 2**32, ROWS, dtype=np.uint32)
    floats[0] = 0x15AE43FD
    floats = floats.view(np.float32)
    floats[~np.isfinite(floats)] = 0.1
    doubles[:5] = [-0.0, np.inf, -np.inf, 5e-324, 1.7976931348623157e308]
    wholes = random.integers(-(2**63), 2**63 - 1, ROWS).tolist()
    wholes[:3] = [2**63 - 1, -(2**63), None]
    texts = [TEXTS[i // 20 % len(TEXTS)] for i in range(ROWS)]
    return batches.columns(PLAN, [doubles, floats, wholes, texts, [None if i % 7 == 0 else i % 2 for i in range(ROWS)]])


INDEXES: list[FrameIds | None] = [
    FrameIds(IdLayout.TEXT, 1, 0, bytes(range(256)) * 64), None, FrameIds(IdLayout.UUID, 0, 1, b"")
]  # fmt: skip
"""The largest that an index can be; none, as an earlier version wrote; the smallest."""


@pytest.fixture(scope="module", params=CODECS)
def blob(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A header frame and three data frames with their tags and indexes, as an uploader would have appended them."""
    encoder, plan, out, batch = FrameEncoder(request.param), CsvPlan(PLAN, 1440), TextBuffer(), rows()
    path = tmp_path_factory.mktemp("blobs") / f"data.csv{encoder.suffix}"
    with path.open("wb") as file:
        file.write(encoder.header_frame(plan.header))
        for i, start in enumerate(range(0, ROWS, FRAME_ROWS)):
            assert encoder.wants_matches(b"a stream") == (encoder.name != "none")
            text = plan.encode(batch, out, start, start + FRAME_ROWS, encoder.wants_matches(b"a stream"))
            assert len(text) > TRIAL_TEXT
            file.write(
                encoder.data_frame(text, FrameTag(bytes(16), i, FRAME_ROWS), INDEXES[i], b"a stream", out.matches)
            )
    return path


Table = dict[str, list[Any]]
"""Columns by name; null is None."""

TYPES: dict[str, Any] = {
    "double": "float64",
    "float": "float32",
    "whole": "int64",
    "text, and more": "str",
    "flag": "bool",
}


EXACT: dict[str, Any] = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}
"""pandas 3 reads floats to the bit by itself."""


def read_pandas(path: Path) -> Table:
    types = {**TYPES, "whole": "Int64", "flag": "boolean", "text, and more": object}
    frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"whole": [""], "flag": [""]}, **EXACT)
    return {name: [None if value is pd.NA else value for value in frame[name].tolist()] for name in frame}


def read_pyarrow(path: Path) -> Table:
    types = {
        "double": pa.float64(),
        "float": pa.float32(),
        "whole": pa.int64(),
        "text, and more": pa.utf8(),
        "flag": pa.bool_(),
    }
    options = pa.csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    return dict(pa.csv.read_csv(path, parse_options=parse, convert_options=options).to_pydict())


def read_polars(path: Path) -> Table:
    types = {
        "double": pl.Float64,
        "float": pl.Float32,
        "whole": pl.Int64,
        "text, and more": pl.String,
        "flag": pl.Boolean,
    }
    return pl.read_csv(path, schema_overrides=types).to_dict(as_series=False)


def read_duckdb(path: Path) -> Table:
    types = {"double": "DOUBLE", "float": "FLOAT", "whole": "BIGINT", "text, and more": "VARCHAR", "flag": "BOOLEAN"}
    connection = duckdb.connect()
    relation = connection.execute(
        "SELECT * FROM read_csv(?, header=true, delim=',', quote='\"', escape='\"', types=?, nullstr='', allow_quoted_nulls=false)",
        [str(path), types],
    )
    names = [column[0] for column in relation.description]
    return dict(zip(names, map(list, zip(*relation.fetchall(), strict=True)), strict=True))


def read_csv_module(path: Path) -> Table:
    blob = path.read_bytes()
    if path.suffix == ".gz":
        blob = gzip.decompress(blob)
    elif path.suffix == ".zst":
        with zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True) as reader:
            blob = reader.read()
    with io.StringIO(blob.decode(), newline="") as text:
        names, *lines = csv.reader(text)
    table: Table = dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))
    parse: dict[str, Callable[[str], Any]] = {
        "double": float,
        "float": lambda x: np.float32(float(x)),
        "whole": int,
        "flag": {"true": True, "false": False}.get,
    }
    for name, read in parse.items():
        table[name] = [None if value == "" else read(value) for value in table[name]]
    return table


def same_bits(values: list[Any], expected: list[Any], code: str) -> bool:
    return [struct.pack(code, value) for value in values] == [struct.pack(code, value) for value in expected]


@pytest.mark.parametrize("read", [read_pandas, read_pyarrow, read_polars, read_duckdb, read_csv_module])
def test_every_value_is_read_back(read: Callable[[Path], Table], blob: Path) -> None:
    """Null and the empty string stay apart, where the reader knows the difference at all."""
    batch = rows()
    found = read(blob)
    assert list(found)[:5] == list(TYPES)
    assert len(found["double"]) == ROWS
    assert same_bits(found["double"], batch.column(0).to_pylist(), "<d")
    assert same_bits(found["float"], batch.column(1).to_pylist(), "<f")
    assert found["whole"] == batch.column(2).to_pylist()
    texts = batch.column(3).to_pylist()
    if read in (read_pandas, read_csv_module):
        texts = [text or "" for text in texts]
    assert found["text, and more"] == texts
    assert found["flag"] == [None if flag is None else bool(flag) for flag in batch.column(4).to_pylist()]
    assert [str(value) for value in found["$aml_request_id"]] == batch.column(7).to_pylist()
    assert [int(value) for value in found["$aml_dc_row"]] == batch.column(8).to_pylist()
    assert {float(value) for value in found["$aml_dc_sampling"]} == {0.25}
    assert {str(value) for value in found["$aml_workspace"]} == {"sub/rg/Ws"}
