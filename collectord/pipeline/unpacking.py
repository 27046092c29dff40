"""Rows of the log become events."""

from __future__ import annotations

import uuid
from typing import Any

from collectord.buffer.assemble import assemble
from collectord.model import Buffer, ColumnType, IdLayout, Schema
from collectord.telemetry.event import Event


def events_of(schema: Schema, payload: Buffer, start: int, stop: int) -> list[Event]:
    """Rows [start, stop) of a batch of this schema, whose stream is one of events."""
    batch: Any = assemble(schema, [(payload, start, stop)])
    names = [column.name for column in schema.columns]
    bools = {column.name for column in schema.columns if column.type is ColumnType.BOOL}
    columns = [batch.column(at).to_pylist() for at in range(len(names))]
    ids = batch.column("correlation_id").to_pylist()
    if schema.correlation is IdLayout.UUID:
        ids = [str(uuid.UUID(bytes=one)) for one in ids]
    times = batch.column("time").cast("int64").to_pylist()
    sampling = batch.column("sampling").to_pylist() if schema.sampled else [1.0] * len(ids)
    events = []
    for at, (item_id, time_ns, fraction) in enumerate(zip(ids, times, sampling, strict=True)):
        values = {name: column[at] for name, column in zip(names, columns, strict=True) if column[at] is not None}
        for name in bools & values.keys():
            values[name] = bool(values[name])
        events.append(Event(schema.stream.kind, schema.stream, item_id, time_ns, values, fraction))
    return events
