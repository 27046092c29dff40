"""CSV text, and text + zstd, beside pyarrow's writer on the same rows in the same run. Run with `--benchmark-enable`.

Data sets as in the design's measurements: A 6 float64 and the correlation columns; B 2 float64 likewise; C a tensor of
200 float32; D text with quotes, commas, newlines, unicode and nulls, 2 int64, 1 bool. The bytes are compared with the
oracle before anything is timed. pyarrow gets the constant columns as columns, ids and booleans as the text that a CSV
needs; making them is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import zstandard

from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import FrameEncoder
from collectord.model import ColumnType, FrameTag, IdLayout, Schema
from tests.encode import batches, oracle

ROWS = {"A": 20_000, "B": 20_000, "C": 1_000, "D": 20_000}
WORDS = [
    "plain words",
    'a "quoted" word',
    "comma, comma",
    "two\nlines",
    "",
    None,
    "é漢😀",
    "a longer text without anything special",
]


@cache
def data(name: str) -> tuple[Schema, pa.RecordBatch]:
    random = np.random.default_rng(1)
    count = ROWS[name]
    if name == "D":
        kinds = [ColumnType.STRING] * 3 + [ColumnType.INT64] * 2 + [ColumnType.BOOL]
        plan = batches.schema(*kinds, request=IdLayout.UUID)
        texts = [[WORDS[i] for i in random.integers(0, len(WORDS), count)] for _ in range(3)]
        return plan, batches.columns(
            plan, [*texts, *random.integers(-(10**9), 10**9, (2, count)), np.arange(count) % 2]
        )
    width, kind = {"A": (6, ColumnType.FLOAT64), "B": (2, ColumnType.FLOAT64), "C": (200, ColumnType.FLOAT32)}[name]
    plan = batches.schema(*[kind] * width, tensor=True, request=IdLayout.UUID)
    values = random.normal(size=(count, width)).astype(np.float32 if name == "C" else np.float64)
    return plan, batches.tensor(plan, values)


def ours(name: str) -> Callable[[], memoryview]:
    plan, batch = data(name)
    compiled, out = CsvPlan(plan, 1440), TextBuffer()
    sample = batch.slice(len(batch) // 2, 100)
    assert bytes(compiled.encode(sample, out)) == oracle.encode(plan, sample, 1440)
    return lambda: compiled.encode(batch, out)


def arrows(name: str) -> Callable[[], pa.Buffer]:
    """pyarrow.csv.write_csv of the same columns into one reused-size sink."""
    plan, batch = data(name)
    count = len(batch)
    names = list(batch.schema.names)
    user = batch.columns[:1] if plan.tensor else batch.columns[: len(plan.columns)]
    if plan.tensor:
        width = len(plan.columns)
        flat = user[0].flatten().to_numpy().reshape(count, width)
        user = [pa.array(np.ascontiguousarray(flat[:, i])) for i in range(width)]
    elif name == "D":
        user[-1] = user[-1].cast(pa.bool_())
    correlation, time, request, row = batch.columns[len(names) - 4 :]
    ids = [pa.array([oracle.id_text(value) for value in column.to_pylist()]) for column in (correlation, request)]
    fixed = [pa.array([text] * count) for text in oracle.constants(plan, 1440, False)]
    columns = [*user, ids[0], time.cast(pa.timestamp("us"), safe=False), *fixed, ids[1], row]
    table = pa.table(columns, names=[f"c{i}" for i in range(len(columns))])
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")

    def write() -> pa.Buffer:
        sink = pa.BufferOutputStream()
        pa.csv.write_csv(table, sink, options)
        return sink.getvalue()

    return write


ENCODERS = {"collectord": ours, "pyarrow": arrows}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", ROWS)
def test_text(benchmark: Any, name: str, encoder: str) -> None:
    """Rows to CSV text."""
    benchmark.group = f"text {name}"
    benchmark.extra_info["rows"] = ROWS[name]
    text = benchmark(ENCODERS[encoder](name))
    assert bytes(text).count(b"2018-12-31") == ROWS[name]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", ROWS)
def test_text_and_zstd(benchmark: Any, name: str, encoder: str) -> None:
    """Rows to CSV text to zstd level 1 with checksum, one frame."""
    benchmark.group = f"text + zstd {name}"
    benchmark.extra_info["rows"] = ROWS[name]
    write = ENCODERS[encoder](name)
    compressor = FrameEncoder("zstd")
    tag = FrameTag(bytes(16), 1, ROWS[name])
    frame = benchmark(lambda: compressor.data_frame(memoryview(write()), tag))
    assert zstandard.frame_content_size(frame) > 0
