"""Which batches are accepted, and where they go."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.errors import Rejected
from collectord.ingest import validate
from collectord.ingest.validate import DAY_NS, Declared, Judged, Refusal, Shared, Window, counted_drops, weight
from collectord.model import HOUR_NS, ColumnType, Reason, Schema
from tests.reference_batch import NOW, make_schema, schema_message, simple

SCHEMA = make_schema(ColumnType.INT8)
DAILY = Window(35 * DAY_NS, DAY_NS, 1440)


def judged(
    declared: Declared, schema: Schema = SCHEMA, time: int = NOW, window: Window = DAILY, now: int = NOW
) -> Judged:
    payload = simple(schema, 2, time=time).SerializeToString()
    return declared.judge(payload, batch.find(payload), window, now)


def declaring(*schemas: Schema) -> Declared:
    declared = Declared(Shared())
    for schema in schemas or (SCHEMA,):
        assert declared.declare(schema.raw) is None
    return declared


@pytest.mark.parametrize("minutes", [1440, 60])
def test_a_batch_goes_into_the_partition_of_its_scoring_time(minutes: int) -> None:
    answer = judged(declaring(), window=Window(DAY_NS, DAY_NS, minutes))
    hours = minutes // 60
    assert (answer.schema, answer.rows) == (SCHEMA, 2)
    assert answer.partition.start_hour == NOW // HOUR_NS // hours * hours
    assert answer.partition.boundary_minutes == minutes


@pytest.mark.parametrize(
    ("time", "fits"),
    [
        (NOW - 35 * DAY_NS, True),
        (NOW - 35 * DAY_NS - 1, False),
        (NOW + DAY_NS, True),
        (NOW + DAY_NS + 1, False),
        (0, False),
        (-1, False),
        (4_070_908_800_000_000_000, False),
        ((1 << 63) - 1, False),
    ],
)
def test_the_window_includes_its_edges_and_nothing_else(time: int, fits: bool) -> None:
    if fits:
        assert judged(declaring(), time=time)
        return
    with pytest.raises(Rejected) as refused:
        judged(declaring(), time=time)
    assert refused.value.reason is Reason.TIME_OUT_OF_WINDOW
    # Whoever reads it has a clock that is wrong, so it says the time, and the times that would be right, as people do.
    said = [np.datetime_as_string(np.datetime64(at // 10**9, "s")) for at in (time, NOW - 35 * DAY_NS, NOW + DAY_NS)]
    assert "the scoring time {}Z is not between {}Z and {}Z".format(*said) in refused.value.detail


def test_a_window_that_reaches_before_1970_begins_there() -> None:
    """On a machine whose clock was never set."""
    assert judged(declaring(), time=0, now=5)
    with pytest.raises(Rejected):
        judged(declaring(), time=-1, now=5)


def test_a_schema_that_was_not_declared_on_this_stream_is_unknown() -> None:
    with pytest.raises(Rejected) as refused:
        judged(Declared(Shared()))
    assert refused.value.reason is Reason.UNKNOWN_SCHEMA
    assert SCHEMA.id.hex() in refused.value.detail


def test_a_refused_schema_is_remembered_with_its_reason() -> None:
    raw = schema_message(ColumnType.INT8, names=[""]).SerializeToString()
    declared = Declared(Shared())
    refusal = declared.declare(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.BAD_NAME
    assert declared.declare(raw) is None, "told once"
    message = simple(SCHEMA)
    message.schema_id = validate.schema_id(raw)
    payload = message.SerializeToString()
    for _ in range(2):
        with pytest.raises(Rejected) as refused:
            declared.judge(payload, batch.find(payload), DAILY, NOW)
        assert refused.value.reason is Reason.BAD_NAME
    assert declared.schema(validate.schema_id(raw)) is None


def test_one_schema_more_than_allowed_is_refused_and_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "MAX_SCHEMAS_PER_CLIENT", 1)
    declared = declaring()
    late = make_schema(ColumnType.INT64)
    refusal = declared.declare(late.raw)
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_SCHEMAS
    with pytest.raises(Rejected) as refused:
        judged(declared, late)
    assert refused.value.reason is Reason.TOO_MANY_SCHEMAS
    assert judged(declared), "the others go on"


def test_the_columns_of_all_schemas_of_a_client_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "MAX_COLUMNS_PER_CLIENT", 3)
    declared = declaring(make_schema(ColumnType.INT8, ColumnType.INT8))
    refusal = declared.declare(make_schema(ColumnType.INT64, ColumnType.INT8).raw)
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_SCHEMAS
    assert declared.declare(SCHEMA.raw) is None


def test_clients_share_a_schema_and_it_goes_with_the_last_of_them() -> None:
    """A hundred pods with 10,000 columns each need one list of names, and it is counted once."""
    shared = Shared()
    first, second = Declared(shared), Declared(shared)
    for declared in (first, second, second):
        declared.declare(SCHEMA.raw)
    assert first.schema(SCHEMA.id) is second.schema(SCHEMA.id)
    assert shared.get(SCHEMA.id) is not None
    assert first.bytes == second.bytes == shared.bytes == weight(SCHEMA)
    first.close()
    first.close()
    assert (len(shared), shared.bytes, first.bytes) == (1, weight(SCHEMA), 0)
    second.close()
    assert (len(shared), shared.bytes) == (0, 0)


def test_the_memory_for_all_schemas_of_a_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "MAX_SCHEMA_BYTES_PER_CLIENT", 2 * weight(SCHEMA))
    shared = Shared()
    declared = Declared(shared)
    assert declared.declare(SCHEMA.raw) is None
    wide = make_schema(*[ColumnType.INT8] * 1000)
    refusal = declared.declare(wide.raw)
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_SCHEMAS
    assert "bytes together" in refusal.detail
    assert shared.bytes == weight(SCHEMA), "what was refused costs nothing"
    assert judged(declared), "the others go on"


@pytest.mark.parametrize("columns", [1, 50, 5000])
def test_a_schema_needs_no_more_memory_than_is_planned_for_it(columns: int) -> None:
    """Measured, with names of different lengths."""
    raws = [
        schema_message(
            *[ColumnType.FLOAT32] * columns, names=[f"{n}-{at}" for at in range(columns)]
        ).SerializeToString()
        for n in range(max(3, 2000 // columns))
    ]
    shared = Shared()
    declared = Declared(shared)
    gc.collect()
    tracemalloc.start()
    try:
        for raw in raws[:1000]:
            assert declared.declare(bytes(raw)) is None
        gc.collect()
        needed, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert shared.bytes / 3 < needed <= shared.bytes


def test_reports_of_drops_keep_what_is_possible() -> None:
    good = pb.DropCount(stream=pb.Stream(model="m"), reason="r", rows=1)
    bad = pb.DropCount(stream=pb.Stream(model="a\n"), rows=2)
    event = pb.DropCount(stream=pb.Stream(kind=99), rows=3)  # type: ignore[arg-type]
    assert counted_drops(pb.Dropped(counts=[good])) == (pb.Dropped(counts=[good]).SerializeToString(), 0)
    assert counted_drops(pb.Dropped(counts=[bad, good, event])) == (pb.Dropped(counts=[good]).SerializeToString(), 2)
    kept, left_out = counted_drops(pb.Dropped(counts=[good] * 1005))
    assert (len(pb.Dropped.FromString(kept).counts), left_out) == (1000, 5)
