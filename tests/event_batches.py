"""Telemetry events as a client sends them, made from plain values: for tests that need some and have no client."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from collectord._pb import collector_pb2 as pb
from collectord.kinds import EVENTS
from collectord.model import ColumnType, Schema, StreamKind
from collectord.schema import parse_schema
from tests.reference_batch import Request, Values, build

_PACKED = {ColumnType.FLOAT64: "<d", ColumnType.INT64: "<q", ColumnType.BOOL: "<?"}


def event_schema(kind: StreamKind, sampled: bool = False, **stream: str) -> Schema:
    """The schema of a kind's events. `stream`: names of its parts, as `pb.Stream` has them."""
    named = {"webservice": "svc", "model": "best", "version": "1", "designation": EVENTS[kind].table} | stream
    message = pb.Schema(
        stream=pb.Stream(kind=int(kind), **named),  # type: ignore[arg-type]
        columns=[pb.Column(name=column.name, type=int(column.type)) for column in EVENTS[kind].columns],  # type: ignore[arg-type]
        layout=pb.LAYOUT_COLUMNS,
        correlation=pb.ID_LAYOUT_UUID,
        sampled=sampled,
    )
    return parse_schema(message.SerializeToString())


def event_batch(
    schema: Schema,
    events: Sequence[Mapping[str, Any]],
    ids: Sequence[uuid.UUID],
    times: Sequence[int],
    sequence: int = 1,
) -> pb.Batch:
    """A batch of events; what one of them does not name is null."""
    columns = [[_raw(column.type, event.get(column.name)) for event in events] for column in schema.columns]
    requests = [Request(time=time, correlation=one.bytes) for one, time in zip(ids, times, strict=True)]
    return build(schema, Values(columns, requests), sequence)


def _raw(kind: ColumnType, value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if kind is ColumnType.STRING else struct.pack(_PACKED[kind], value)  # type: ignore[no-any-return]
