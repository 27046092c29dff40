"""Events as clients send them, made from plain values: for tests that need some and have no client."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from collectord._pb import collector_pb2 as pb
from collectord.kinds import EVENTS
from collectord.model import Column, ColumnType, IdLayout, Schema, StreamKind
from collectord.schema import parse_schema
from tests.reference_batch import Request, Values, build

_PACK = {ColumnType.FLOAT64: "<d", ColumnType.INT64: "<q", ColumnType.BOOL: "<B"}


def schema_of(kind: StreamKind, *more: Column, sampled: bool = False, **stream: str) -> Schema:
    """The schema of a kind's events; `more`: columns of a later client. `stream`: parts of its name."""
    named = {"webservice": "svc", "model": "m", "version": "1", "designation": EVENTS[kind].table} | stream
    message = pb.Schema(
        stream=pb.Stream(kind=int(kind), **named),  # type: ignore[arg-type]
        columns=[pb.Column(name=one.name, type=int(one.type)) for one in (*EVENTS[kind].columns, *more)],  # type: ignore[arg-type]
        layout=pb.LAYOUT_COLUMNS,
        correlation=int(IdLayout.UUID),  # type: ignore[arg-type]
        sampled=sampled,
    )
    return parse_schema(message.SerializeToString())


def batch_of(
    schema: Schema, events: Sequence[Mapping[str, Any]], sequence: int = 1, *, ids: Sequence[str] = (),
    times: Sequence[int] = (), sampling: float = 0.5,
) -> pb.Batch:  # fmt: skip
    """Events with these values, of now and with ids of their own, if nothing is said of it. What one of them does not name
    is null."""
    moments = times or [time.time_ns()] * len(events)
    names = ids or [str(uuid.uuid4()) for _ in events]
    columns = [[_raw(column, one.get(column.name)) for one in events] for column in schema.columns]
    requests = [
        Request(time=at, correlation=uuid.UUID(one).bytes, sampling=sampling)
        for at, one in zip(moments, names, strict=True)
    ]
    return build(schema, Values(columns, requests), sequence)


def traces(number: int, start: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """So many different traces, with their ids."""
    events = [{"message": f"m{one}", "severityLevel": 1} for one in range(start, start + number)]
    return events, [str(uuid.UUID(int=one + 1)) for one in range(start, start + number)]


def _raw(column: Column, value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if column.type is ColumnType.STRING else struct.pack(_PACK[column.type], value)
