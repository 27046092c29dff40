"""The kernel writes exactly what the oracle writes, and what any JSON reader reads back as the rows that were given."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.encode.jsonl import MAX_LINE, JsonlPlan, source_of
from collectord.model import ColumnType, FrameTag, IdLayout, Schema, Stream
from tests.encode import batches, jsonl_oracle
from tests.encode.test_csv import column_batches, tensor_batches

TAG = FrameTag(bytes(range(16)), 42, 7)
WRITER = "000102030405060708090a0b0c0d0e0f"


def lines_of(plan: Schema, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    text = JsonlPlan(plan).encode(batch, TAG)
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def rows_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for event in events for row in event["data"]]


@settings(max_examples=200, deadline=None)
@given(column_batches() | tensor_batches(), st.data())
def test_any_batch_has_the_oracles_bytes(case: tuple[Schema, pa.RecordBatch], data: st.DataObject) -> None:
    """All types, nulls, escapes, unicode; whole and sliced by Arrow (offsets)."""
    plan, batch = case
    compiled = JsonlPlan(plan)
    text = compiled.encode(batch, TAG)
    assert text == jsonl_oracle.encode(plan, batch, TAG)
    start = data.draw(st.integers(0, batch.num_rows))
    piece = batch.slice(start, data.draw(st.integers(start, batch.num_rows)) - start)
    assert compiled.encode(piece, TAG) == jsonl_oracle.encode(plan, piece, TAG)
    assert text.count(b"\n") == len([json.loads(line) for line in text.split(b"\n")[:-1]])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats()), max_size=12))
def test_any_text_and_double_is_read_back_from_json(values: list[tuple[str, float]]) -> None:
    plan = batches.schema(ColumnType.STRING, ColumnType.FLOAT64, names=['t"\\\n\x01', "ü"])
    batch = batches.columns(plan, [[text for text, _ in values], [value for _, value in values]])
    found = [(row['t"\\\n\x01'], row["ü"]) for row in rows_of(lines_of(plan, batch))]
    assert repr(found) == repr([(text, value if math.isfinite(value) else None) for text, value in values])


def test_a_line_is_the_request_as_azure_ml_writes_it() -> None:
    stream = Stream("sub", "rg", "ws", "svc", "best", "10", "inputs", "model_inputs")
    plan = batches.schema(
        ColumnType.FLOAT64,
        ColumnType.STRING,
        request=IdLayout.TEXT,
        correlation=IdLayout.TEXT,
        sampled=True,
        stream=stream,
    )
    batch = batches.batch_of(
        [
            pa.array([1.0, math.nan, 3.5]), pa.array(["a", None, "c"]), pa.array(["r", "r", "s"]),
            pa.array([batches.NOON] * 3, pa.timestamp("ns")), pa.array(["x", "x", "y"]), pa.array([0, 1, 0], pa.uint32()),
            pa.array([0.25] * 3),
        ]
    )  # fmt: skip
    first, second = lines_of(plan, batch)
    assert list(first) == [
        "specversion", "id", "source", "type", "datacontenttype", "time", "correlationid", "xrequestid", "modelversion",
        "collectdatatype", "agent", "samplingrate", "data", "contentrange",
    ]  # fmt: skip
    assert first["data"] == [{"feat1": 1.0, "feat2": "a"}, {"feat1": None, "feat2": None}]
    assert (first["id"], second["id"]) == (f"{WRITER}-42-0", f"{WRITER}-42-1")
    assert (first["correlationid"], first["xrequestid"], first["modelversion"]) == ("r", "x", "10")
    assert (first["type"], first["time"]) == ("azureml.inference.model_inputs", "2018-12-31T23:59:59.123456Z")
    assert (first["contentrange"], second["contentrange"]) == ("rows 0-1/*", "rows 0-0/*")
    assert first["source"] == source_of(stream)
    assert first["source"].endswith("/workspaces/ws/onlineEndpoints/svc/deployments/best")
    assert first["samplingrate"] == 0.25


def request(plan: Schema, rows: int, text: str, first: int = 0, time: int = batches.NOON) -> pa.RecordBatch:
    """The rows of one request from `first` on."""
    return batches.batch_of(
        [
            pa.array([text] * rows), pa.array([bytes(16)] * rows, pa.binary(16)),
            pa.array([time] * rows, pa.timestamp("ns")), pa.array(range(first, first + rows), pa.uint32()),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("length", [10, 997, 998, 999, 1000, 1001, 300_000])
def test_a_request_is_split_so_that_its_lines_stay_short(length: int) -> None:
    """Each line says which rows it has; a row that is too long by itself has its line alone."""
    plan = batches.schema(ColumnType.STRING)
    batch = request(plan, 900, "é" + "x" * length) if length < 300_000 else request(plan, 3, "x" * length)
    text = JsonlPlan(plan).encode(batch, TAG)
    assert text == jsonl_oracle.encode(plan, batch, TAG)
    lines = text.splitlines(keepends=True)
    assert all(len(line) <= MAX_LINE for line in lines) == (length < 300_000)
    assert len(lines) == (1 if length == 10 else 4 if length < 300_000 else 3)
    ranges = [json.loads(line)["contentrange"] for line in lines]
    at = 0
    for found, line in zip(ranges, lines, strict=True):
        count = len(json.loads(line)["data"])
        assert found == f"rows {at}-{at + count - 1}/*"
        at += count
    assert at == batch.num_rows


def test_a_line_may_be_exactly_as_long_as_allowed() -> None:
    plan = batches.schema(ColumnType.STRING)
    one = len(JsonlPlan(plan).encode(request(plan, 1, ""), TAG))
    two = len(JsonlPlan(plan).encode(request(plan, 2, ""), TAG))
    rest = MAX_LINE - two
    assert one < two
    for length, lines in ((rest // 2, 1), (rest // 2 + 1, 2)):
        text = JsonlPlan(plan).encode(request(plan, 2, "x" * length), TAG)
        assert text.count(b"\n") == lines
        assert rest % 2 or lines == 2 or len(text) == MAX_LINE


@pytest.mark.parametrize("change", ["correlation", "time", "request", "row", "sampling"])
def test_rows_of_two_requests_never_share_a_line(change: str) -> None:
    plan = batches.schema(ColumnType.INT64, correlation=IdLayout.TEXT, request=IdLayout.TEXT, sampled=True)
    other = {"correlation": "rs", "time": 1, "request": "xy", "row": 2, "sampling": 0.5}
    same = {"correlation": "r", "time": 0, "request": "x", "row": 1, "sampling": 0.25} | {change: other[change]}

    def batch(second: dict[str, Any]) -> pa.RecordBatch:
        return batches.batch_of(
            [
                pa.array([1, 2], pa.int64()), pa.array(["r", second["correlation"]]),
                pa.array([0, second["time"]], pa.timestamp("ns")), pa.array(["x", second["request"]]),
                pa.array([0, second["row"]], pa.uint32()), pa.array([0.25, second["sampling"]]),
            ]
        )  # fmt: skip

    assert len(lines_of(plan, batch(same))) == 2
    same[change] = {"correlation": "r", "time": 0, "request": "x", "row": 1, "sampling": 0.25}[change]
    assert len(lines_of(plan, batch(same))) == 1


def test_no_more_is_written_than_was_asked_for() -> None:
    """What is over the bound is over it by a line at most; what is within it is whole."""
    plan = batches.schema(ColumnType.STRING)
    batch = request(plan, 10_000, "x" * 1000)
    compiled = JsonlPlan(plan)
    whole = compiled.encode(batch, TAG)
    assert compiled.encode(batch, TAG, len(whole)) == whole
    assert 1_000_000 < len(compiled.encode(batch, TAG, 1_000_000)) <= 1_000_000 + MAX_LINE


def test_what_could_lead_out_of_a_buffer_is_refused() -> None:
    plan = batches.schema(ColumnType.STRING, correlation=IdLayout.TEXT)
    good = batches.columns(plan, [["a", "bc", "d"]])
    bad = pa.Array.from_buffers(
        pa.utf8(), 3, [None, pa.py_buffer(np.array([0, 3, 1, 4], np.int32).tobytes()), pa.py_buffer(b"abcd")]
    )
    for place in (0, 1):
        columns = list(good.columns)
        columns[place] = bad
        with pytest.raises((ValueError, pa.ArrowInvalid)):
            JsonlPlan(plan).encode(batches.batch_of(columns), TAG)
    for wrong in (good.remove_column(0), batches.columns(batches.schema(ColumnType.INT64), [[1]])):
        with pytest.raises(ValueError, match="field"):
            JsonlPlan(plan).encode(wrong, TAG)
    columns = list(good.columns)
    columns[1] = pa.array(["a", None, "b"])
    with pytest.raises(ValueError, match="nulls"):
        JsonlPlan(plan).encode(batches.batch_of(columns), TAG)
