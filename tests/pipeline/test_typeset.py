"""Batches as text for people: what the blobs would have."""

from __future__ import annotations

import csv
import io
import json

from collectord.model import ColumnType, Entry, EntryKind, Partition, StreamKind
from collectord.pipeline.typeset import csv_of, jsonl_of
from collectord.schema import parse_schema
from tests.reference_batch import NOW, make_schema, simple
from tests.sent_events import batch_of, schema_of


def entry_of(schema_raw: bytes, payload: bytes, rows: int) -> Entry:
    schema = parse_schema(schema_raw)
    return Entry(EntryKind.BATCH, b"c" * 16, 1, rows, payload, schema, Partition.of(schema.id, NOW, 1440))


def test_rows_are_csv_under_their_header() -> None:
    schema = make_schema(ColumnType.INT64, ColumnType.STRING)
    for _ in range(2):
        header, text = csv_of(entry_of(schema.raw, simple(schema, 3, 1, NOW).SerializeToString(), 3))
        rows = list(csv.DictReader(io.StringIO((header + text).decode())))
        assert len(rows) == 3
        assert set(rows[0]) >= {schema.columns[0].name, "$aml_dc_correlation_id"}


def test_rows_are_json_as_in_azure_mls_blobs_and_events_as_in_ours() -> None:
    schema = make_schema(ColumnType.INT64)
    (line,) = jsonl_of(entry_of(schema.raw, simple(schema, 1, 1, NOW).SerializeToString(), 1)).splitlines()
    assert set(json.loads(line)["data"][0]) >= {schema.columns[0].name}
    traces = schema_of(StreamKind.TRACE)
    batch = batch_of(traces, [{"message": "a\nb"}, {"message": "ä"}])
    lines = jsonl_of(entry_of(traces.raw, batch.SerializeToString(), 2)).splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["a\nb", "ä"]
