"""Batches as text, for people who watch rows arrive: the same plans that write blobs, one batch at a time.

Threads: any.
"""

from __future__ import annotations

from collectord.buffer.assemble import assemble
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.jsonl import JsonlPlan
from collectord.encode.telemetry import TelemetryPlan
from collectord.model import Buffer, Entry, FrameTag, Schema, StreamKind
from collectord.pipeline.known import Kept

PLANS = 64
_TAG = FrameTag(bytes(16), 0, 0)

_csv = Kept[tuple[bytes, int, bool], CsvPlan](PLANS)


def csv_of(entry: Entry, *, lowercase_workspace: bool = False) -> tuple[bytes, bytes]:
    """The header row and the rows of a batch. Raises ValueError if it is not one that passed the door."""
    assert entry.schema is not None
    assert entry.partition is not None
    key = (entry.schema.id, entry.partition.boundary_minutes, lowercase_workspace)
    plan = _csv.get(key)
    if plan is None:
        plan = CsvPlan(entry.schema, entry.partition.boundary_minutes, lowercase_workspace=lowercase_workspace)
        _csv.put(key, plan)
    batch = assemble(entry.schema, [(entry.payload, 0, entry.rows)])
    return plan.header, bytes(plan.encode(batch, TextBuffer()))


def jsonl_of(entry: Entry) -> bytes:
    """The rows as lines of JSON: events as `_collectord/telemetry/` has them, others as docs/formats/mdc-jsonl.md says."""
    assert entry.schema is not None
    if entry.schema.stream.kind is not StreamKind.ROWS:
        return events_of(entry.schema, entry.payload, entry.rows)
    plan = JsonlPlan(entry.schema)
    return plan.encode(assemble(entry.schema, [(entry.payload, 0, entry.rows)]), _TAG)


def events_of(schema: Schema, payload: Buffer, rows: int) -> bytes:
    """The events of a serialized `Batch` that passed `batch.check`, as the lines that land. Raises as `csv_of`."""
    return TelemetryPlan(schema).encode(assemble(schema, [(payload, 0, rows)]), _TAG)
