"""The kernel writes exactly what the oracle writes; each line is JSON whatever its event holds."""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectord.encode.telemetry import TelemetryPlan
from collectord.kinds import EVENTS
from collectord.model import Column, ColumnType, FrameTag, Schema, StreamKind
from tests.encode import batches, telemetry_oracle
from tests.encode.test_csv import VALUES

TAG = FrameTag(bytes(16), 1, 1)


def event_schema(kind: StreamKind, *more: Column, sampled: bool = False) -> Schema:
    plan = batches.schema(sampled=sampled, stream=replace(batches.STREAM, kind=kind))
    return replace(plan, columns=(*EVENTS[kind].columns, *more))


def lines_of(plan: Schema, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    text = TelemetryPlan(plan).encode(batch, TAG)
    assert text.endswith(b"\n") or not text
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in text.split(b"\n")[:-1]]


def traces(*dimensions: str | None) -> pa.RecordBatch:
    plan = event_schema(StreamKind.TRACE)
    columns = [[None] * len(dimensions) for _ in plan.columns]
    columns[[column.name for column in plan.columns].index("customDimensions")] = list(dimensions)
    return batches.columns(plan, columns)


def test_a_line_is_the_event_without_what_it_does_not_have() -> None:
    """The order of the fields is that of the format, and what is null, or no number, is not there."""
    plan = event_schema(StreamKind.REQUEST, sampled=True)
    values: dict[str, list[Any]] = {
        "operation_Id": ["a" * 32, None], "operation_ParentId": [None, None], "operation_Name": ["POST /score", ""],
        "cloud_RoleInstance": ["pod\n1", None], "customDimensions": ['{"Request Id": "r",\n"Contents": {"a": [1]}}', "{1}"],
        "id": [None, "b" * 16], "name": ["é\u2028", None], "url": [None, None], "duration": [12.5, math.nan],
        "resultCode": ["200", None], "success": [1, None],
    }  # fmt: skip
    first, second = lines_of(plan, batches.columns(plan, [values[column.name] for column in plan.columns]))
    head = ["itemId", "itemType", "timestamp", "cloud_RoleName", "workspace", "model", "modelVersion", "samplingRate"]
    assert list(first) == [
        *head, "operation_Id", "operation_Name", "cloud_RoleInstance", "customDimensions", "name", "duration",
        "resultCode", "success",
    ]  # fmt: skip
    assert list(second) == [*head, "operation_Name", "customDimensions", "id"]
    assert first["customDimensions"] == {"Request Id": "r", "Contents": {"a": [1]}}
    assert second["customDimensions"] == "{1}"
    assert (first["duration"], first["success"], first["name"]) == (12.5, True, "é\u2028")
    assert first["itemId"] == str(uuid.uuid5(uuid.NAMESPACE_URL, "0"))
    assert (first["itemType"], first["timestamp"]) == ("request", "2018-12-31T23:59:59.123456Z")
    assert [first[name] for name in head[3:]] == ["svc", "Ws", "model", "10", 0.25]


@st.composite
def event_batches(draw: st.DrawFn) -> tuple[Schema, pa.RecordBatch]:
    more = [Column(f"more {kind.name}", kind) for kind in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))]
    plan = event_schema(draw(st.sampled_from(sorted(EVENTS))), *more, sampled=draw(st.booleans()))
    rows = draw(st.integers(0, 5))
    columns = []
    for column in plan.columns:
        values = st.none() | VALUES[column.type]
        if column.name == "customDimensions":
            values = st.none() | DIMENSIONS
        columns.append(draw(st.lists(values, min_size=rows, max_size=rows)))
    return plan, batches.columns(plan, columns)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
DIMENSIONS = st.one_of(
    st.dictionaries(st.text(max_size=20), JSON, max_size=5).map(lambda value: json.dumps(value, indent=1)),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), JSON, max_size=3).map(json.dumps),
    JSON.map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text('{}[]",:0123456789eE+-.\\utrfalsn \n\t', max_size=40),
)


@settings(max_examples=100, deadline=None)
@given(event_batches(), st.data())
def test_any_event_has_the_oracles_bytes(case: tuple[Schema, pa.RecordBatch], data: st.DataObject) -> None:
    """All kinds, types of later columns, nulls, escapes; whole and sliced by Arrow (offsets)."""
    plan, batch = case
    compiled = TelemetryPlan(plan)
    text = compiled.encode(batch, TAG)
    assert text == telemetry_oracle.encode(plan, batch)
    start = data.draw(st.integers(0, batch.num_rows))
    piece = batch.slice(start, data.draw(st.integers(start, batch.num_rows)) - start)
    assert compiled.encode(piece, TAG) == telemetry_oracle.encode(plan, piece)
    assert len(lines_of(plan, batch)) == batch.num_rows


@settings(max_examples=150, deadline=None)
@given(st.lists(DIMENSIONS, max_size=8), st.integers(0, 60), st.sampled_from(list('{}[]",:0e.\\ux \n')))
@example(['{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}', '{"a":"\\ud83d\\ude00"}', '{"a":"\\uD83D\\u0041"}'], 60, "x")
@example(['{"a":01}', '{"a":-}', '{"a":1.}', '{"a":.5}', '{"a":1e}', '{"a":-0}', '{"a":0e0}', '{"a":+1}'], 60, "x")
@example(['{"a":1e309}', '{"a":1e307}', '{"a":1e308}', '{"a":1e-999}', '{"a":10E+306}', '{"a":1e-308}'], 60, "x")
@example([f'{{"a":{2**63 - 1}}}', f'{{"a":{2**63}}}', f'{{"a":-{2**63}}}', f'{{"a":{10**40}}}'], 60, "x")
@example(['{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":nul}', '{"a":truex}', '{"a":true'], 60, "x")
@example(
    ["{}", " {} ", "\ufeff{}", "{}{}", "{},", "[]", "{]", '{"a"}', '{"a":}', '{"a":1,}', "{,}", '{"a":[1,]}', "{"],
    60,
    "x",
)
@example(
    ['{"a":"\x1f"}', '{"a":"\x7f"}', '{"a":"\\x"}', '{"a":"\\u12g4"}', '{"a":"\\', '{"a":"\\u12', '{"\\u0000":1}'],
    60,
    "x",
)
def test_dimensions_are_an_object_exactly_where_they_are_one(texts: list[str], at: int, changed: str) -> None:
    """Else they stay the text that they are; one character of each is changed too."""
    plan, texts = event_schema(StreamKind.TRACE), [*texts, *(text[:at] + changed + text[at + 1 :] for text in texts)]
    text = TelemetryPlan(plan).encode(traces(*texts), TAG)
    assert text == telemetry_oracle.encode(plan, traces(*texts))
    for given_text, event in zip(texts, lines_of(plan, traces(*texts)), strict=True):
        found = event["customDimensions"]
        assert found == (json.loads(given_text) if isinstance(found, dict) else given_text)
        assert isinstance(found, dict) == telemetry_oracle.is_object(given_text)


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_nesting_is_bounded(opening: str, closing: str) -> None:
    """An outermost object counts."""
    plan = event_schema(StreamKind.TRACE)
    for depth in (63, 64, 100_000):
        text = '{"a":' + opening * depth + "1" + closing * depth + "}"
        (found,) = (event["customDimensions"] for event in lines_of(plan, traces(text)))
        assert isinstance(found, dict) == (depth < 64)


def test_no_more_is_written_than_was_asked_for() -> None:
    plan = event_schema(StreamKind.TRACE)
    batch = traces(*["x" * 1000] * 5000)
    compiled = TelemetryPlan(plan)
    whole = compiled.encode(batch, TAG)
    assert compiled.encode(batch, TAG, len(whole)) == whole
    assert 1_000_000 < len(compiled.encode(batch, TAG, 1_000_000)) <= 1_000_000 + 2000


def test_what_could_lead_out_of_a_buffer_is_refused() -> None:
    plan, good = event_schema(StreamKind.TRACE), traces("a", "bc", "d")
    bad = pa.Array.from_buffers(
        pa.utf8(), 3, [None, pa.py_buffer(np.array([0, 3, 1, 4], np.int32).tobytes()), pa.py_buffer(b"abcd")]
    )
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        TelemetryPlan(plan).encode(batches.batch_of([bad, *good.columns[1:]]), TAG)
    for wrong in (good.remove_column(0), batches.batch_of([pa.array([1, 2, 3]), *good.columns[1:]])):
        with pytest.raises(ValueError, match="field"):
            TelemetryPlan(plan).encode(wrong, TAG)
    columns = list(good.columns)
    columns[len(plan.columns)] = pa.array([bytes(16), None, bytes(16)], pa.binary(16))
    with pytest.raises(ValueError, match="nulls"):
        TelemetryPlan(plan).encode(batches.batch_of(columns), TAG)


def test_rows_of_a_model_are_no_events() -> None:
    with pytest.raises(KeyError):
        TelemetryPlan(batches.schema(ColumnType.FLOAT64))
