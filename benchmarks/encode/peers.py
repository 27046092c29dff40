"""CSV text of the same rows by ours and by its peers: pyarrow, polars and DuckDB, each with one thread.

Data sets: A 6 float64 and the 8 correlation columns; B 2 float64 likewise; C 200 float32; D 3 columns of text with quotes,
commas, newlines, unicode and nulls, 2 int64, 1 bool. As many rows as make a frame of about 1 MiB.

A peer gets every column as the type that suits it: ids and constants as text, the scoring time as an instant in UTC
(`timestamp[us, UTC]`), which pyarrow writes slowly; under the names with `naive` it has no zone, and that is the quickest that a
peer can be given. Where a peer can reuse its output's memory, it does. Making tables is not timed.

`ENCODERS[who](name)` gives what is to be called, after its text was read back and found to hold the values of the set.
"""

from __future__ import annotations

import atexit
import csv
import io
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv

from collectord.encode._csv import RowWriter
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.fields import TIME
from collectord.encode.frame import FrameEncoder
from collectord.model import ColumnType, FrameTag, IdLayout, Schema
from tests.encode import batches, oracle

ROWS = {"A": 4_000, "B": 6_000, "C": 500, "D": 12_000}
Text = bytes | memoryview
Write = Callable[[], Text]
BOUNDARY = 1440
SAMPLE = 100
"""Rows that are compared with the oracle, byte by byte."""
FEATURES = {"A": 6, "B": 2}
"""Columns before those of the correlation, in the sets that have them."""
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
def scored(name: str) -> tuple[Schema, pa.RecordBatch]:
    """A and B as the daemon has them: a tensor, and ids as bytes."""
    width, count = FEATURES[name], ROWS[name]
    plan = batches.schema(*[ColumnType.FLOAT64] * width, tensor=True, request=IdLayout.UUID)
    return plan, batches.tensor(plan, np.random.default_rng(1).normal(size=(count, width)))


@cache
def table(name: str, zone: str | None = None) -> pa.Table:
    """The same values as columns that every peer can take."""
    random = np.random.default_rng(1)
    count = ROWS[name]
    if name == "C":
        columns = [pa.array(random.normal(size=count).astype(np.float32)) for _ in range(200)]
    elif name == "D":
        columns = [pa.array([WORDS[i] for i in random.integers(0, len(WORDS), count)]) for _ in range(3)]
        columns += [pa.array(random.integers(-(10**9), 10**9, count)) for _ in range(2)]
        columns.append(pa.array(random.integers(0, 2, count).astype(bool)))
    else:
        plan, batch = scored(name)
        lists, correlation, time, request, row = batch.columns
        values = lists.flatten().to_numpy().reshape(count, -1)
        ids = [pa.array([oracle.id_text(value) for value in column.to_pylist()]) for column in (correlation, request)]
        constants = [pa.array([text] * count) for text in oracle.constants(plan, BOUNDARY, False)]
        time = time.cast(pa.timestamp("us", zone), safe=False)
        columns = [pa.array(np.ascontiguousarray(column)) for column in values.T]
        columns += [ids[0], time, *constants, ids[1], row]
    return pa.table(columns, names=[f"c{i}" for i in range(len(columns))])


def ours(name: str, out: TextBuffer | None = None, matches: bool = False) -> Write:
    """As the daemon writes: the constants of a stream are known, tensors are not taken apart."""
    if name == "D":
        return plain(name, out, matches)
    out = out or TextBuffer()
    if name == "C":
        values = np.stack([column.to_numpy() for column in table(name).columns], axis=1)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        batch = batches.batch_of([lists])
        writer = RowWriter([(b"", int(ColumnType.FLOAT32), values.shape[1])], b"\n")
        return partial(writer.encode, batch, out, 0, len(batch), matches)
    plan, batch = scored(name)
    sample = batch.slice(len(batch) // 2, SAMPLE)
    compiled = CsvPlan(plan, BOUNDARY)
    assert bytes(compiled.encode(sample, out)) == oracle.encode(plan, sample, BOUNDARY)
    return partial(compiled.encode, batch, out, matches=matches)


KINDS = {
    pa.float64(): int(ColumnType.FLOAT64),
    pa.float32(): int(ColumnType.FLOAT32),
    pa.int64(): int(ColumnType.INT64),
    pa.uint32(): int(ColumnType.UINT32),
    pa.bool_(): int(ColumnType.BOOL),
    pa.string(): int(ColumnType.STRING),
    pa.timestamp("ns"): TIME,
}


def plain(name: str, out: TextBuffer | None = None, matches: bool = False) -> Write:
    """Like for like: from the columns that the peers get, knowing nothing of them."""
    columns = [column.combine_chunks() for column in table(name).columns]
    columns = [column.cast(pa.timestamp("ns")) if pa.types.is_timestamp(column.type) else column for column in columns]
    batch = batches.batch_of(columns)
    writer = RowWriter([(b"," if i else b"", KINDS[column.type], 0) for i, column in enumerate(columns)], b"\n")
    return partial(writer.encode, batch, out or TextBuffer(), 0, len(batch), matches)


def by_pyarrow(zone: str | None, name: str) -> Write:
    data = table(name, zone)
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    memory = pa.allocate_buffer(4 * len(ours(name)()))
    memory_view = memoryview(memory)

    def write() -> memoryview:
        with pa.FixedSizeBufferWriter(memory) as sink:
            pa.csv.write_csv(data, sink, options)
            return memory_view[: sink.tell()]

    return write


def by_polars(zone: str | None, name: str) -> Write:
    frame = polars.DataFrame(table(name, zone)).rechunk()
    out = io.BytesIO()

    def write() -> memoryview:
        out.seek(0)
        frame.write_csv(out, include_header=False)
        return memoryview(out.getbuffer()[: out.tell()].toreadonly())

    return write


def by_duckdb(name: str) -> Write:
    """Into a file in memory; it has no other way. Reading it is part of that."""
    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", table(name))
    connection.execute("CREATE TABLE rows AS SELECT * FROM given")
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "rows.csv"
    copy = f"COPY rows TO '{path}' (FORMAT csv, HEADER false)"

    def write() -> bytes:
        connection.execute(copy)
        return path.read_bytes()

    return write


def read_back(text: Text, types: list[pa.DataType]) -> list[list[Any]]:
    """What a CSV says, null and the empty text alike, whatever the writer's taste in quotes, times and digits."""

    def value(kind: pa.DataType, cell: str) -> Any:
        if pa.types.is_timestamp(kind):
            return np.datetime64(cell[:26].replace(" ", "T"))
        if pa.types.is_floating(kind):
            return kind.to_pandas_dtype()(cell)
        if pa.types.is_integer(kind):
            return int(cell)
        return cell == "true" if pa.types.is_boolean(kind) else cell

    rows = csv.reader(io.StringIO(bytes(text).decode(), newline=""))
    return [[value(kind, cell) for kind, cell in zip(types, row, strict=True)] for row in rows]


@cache
def values(name: str) -> list[list[Any]]:
    """What each of them has to say."""
    data = table(name)
    columns = [
        list(column.to_numpy()) if pa.types.is_timestamp(column.type) else column.to_pylist() for column in data.columns
    ]
    return [["" if cell is None else cell for cell in row] for row in zip(*columns, strict=True)]


def checked(make: Callable[[str], Write], name: str) -> Write:
    """The writer, if what it writes is right."""
    write = make(name)
    found = read_back(write(), table(name).schema.types)
    assert len(found) == ROWS[name]
    for row, expected in zip(found, values(name), strict=True):
        assert row == expected
    return write


ENCODERS: dict[str, Callable[[str], Write]] = {
    "collectord": partial(checked, ours),
    "pyarrow": partial(checked, partial(by_pyarrow, "UTC")),
    "polars": partial(checked, partial(by_polars, "UTC")),
    "duckdb": partial(checked, by_duckdb),
}
LIKE_FOR_LIKE: dict[str, Callable[[str], Write]] = {"collectord-plain": partial(checked, plain)}
NAIVE: dict[str, Callable[[str], Write]] = {
    "pyarrow-naive": partial(checked, partial(by_pyarrow, None)),
    "polars-naive": partial(checked, partial(by_polars, None)),
}
EVERY = ENCODERS | LIKE_FOR_LIKE | NAIVE


def framed(who: str, name: str, codec: str = "zstd", matches: bool = True) -> Write:
    """The text as a frame, whoever wrote it: one compressor, one setting. Ours gives the codec the matches that it wrote, where
    the daemon would; with `matches` false zstd or ISA-L searches for them."""
    write, encoder = EVERY[who](name), FrameEncoder(codec)
    tag, stream = FrameTag(bytes(16), 1, ROWS[name]), name.encode()
    if who != "collectord" or not matches:
        return lambda: encoder.data_frame(write(), tag, None, stream)
    out = TextBuffer()
    writers = {wanted: ours(name, out, wanted) for wanted in (False, True)}

    def frame() -> bytes:
        text = writers[encoder.wants_matches(stream)]()
        return encoder.data_frame(text, tag, None, stream, out.matches)

    return frame
