"""Declared schemas: refused with a reason, or good for everything that is done with one later."""

from __future__ import annotations

import csv
import io

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.encode.csv import CsvPlan, header_of
from collectord.errors import Rejected
from collectord.model import SYSTEM_COLUMNS, Partition
from collectord.schema import MAX_HEADER_TEXT, parse_schema, schema_id
from collectord.upload.naming import Layout
from collectord.upload.template import MAX_LEVEL, MAX_NAME
from fuzz.target import Target
from tests.encode import oracle
from tests.reference_batch import NOW, schema_message
from tests.reference_batch import ColumnType as T
from tests.reference_batch import IdLayout as Ids

LAYOUTS = [Layout(template, suffix=".zst") for template in ("documented", "sdk-v1")]


def target() -> Target:
    return Target(one, seeds())


def one(data: bytes) -> None:
    try:
        schema = parse_schema(data)
        batch.Rules.of(schema)
    except Rejected as rejected:
        assert rejected.detail
        return
    assert (schema.raw, schema.id) == (data, schema_id(data))
    assert parse_schema(data) == schema
    header = CsvPlan(schema, 1440).header
    assert header == header_of(schema) == oracle.header(schema)
    assert len(header) <= MAX_HEADER_TEXT
    # CR alone ends a line for csv.reader, and NUL is no text to it.
    (names,) = csv.reader(io.StringIO(header.decode().removesuffix("\n"), newline=""))
    own = [column.name for column in schema.columns]
    assert names == [*own, *SYSTEM_COLUMNS[: 10 if schema.sampled else 9]]
    assert len(set(names)) == len(names)
    partition = Partition.of(schema.id, NOW, 1440)
    for layout in LAYOUTS:
        blob = layout.blob(layout.base(schema.stream, partition), 1)
        assert len(blob.encode()) <= MAX_NAME
        levels = blob.split("/")
        assert all(0 < len(level.encode()) <= MAX_LEVEL and level not in (".", "..") for level in levels), blob


def seeds() -> list[bytes]:
    made = [
        schema_message(T.FLOAT64),
        schema_message(T.INT8, T.INT8, tensor=True, sampled=True),
        schema_message(T.STRING, T.BOOL, T.TIMESTAMP_UTC, names=['a"b', "x,y", "näher"], correlation=Ids.TEXT, request=Ids.UUID),
        schema_message(T.FLOAT32, model="m", webservice="../é", version="1.2", designation=".", collection="a/b"),
        schema_message(T.UINT64, request=Ids.TEXT, subscription="s" * 255, workspace="漢" * 80, resource_group="%2f"),
        pb.Schema(columns=[pb.Column(name="$aml_dc_row", type=pb.COLUMN_TYPE_INT8)], layout=pb.LAYOUT_COLUMNS),
    ]  # fmt: skip
    return [message.SerializeToString() for message in made]
