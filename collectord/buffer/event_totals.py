"""What one batch of telemetry events comes to: how many, how many failed, how long they took. No names and no messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from collectord.buffer.assemble import assemble
from collectord.model import Buffer, Schema

MILLISECONDS: Final = tuple(2**power for power in range(18))
"""Upper bounds of the buckets of durations, of which the last has none: powers of two, so that a logarithm finds the bucket."""
HEAVIEST = 1e6
"""Events that one stands for, whatever fraction of them its sender says he has kept."""
LONGEST = 1e9
"""Milliseconds; no event takes longer, whatever its sender says."""


@dataclass(frozen=True, slots=True)
class EventTotals:
    """Sums of events; one that was sampled counts for those that were not kept."""

    count: float
    failed: float = 0.0
    timed: float = 0.0
    """Those with a duration."""
    milliseconds: float = 0.0
    """Of all these together."""
    buckets: tuple[float, ...] = (0.0,) * (len(MILLISECONDS) + 1)
    """Where a batch was sampled at several rates, each of its events has their mean here."""


def event_totals(schema: Schema, payload: Buffer, rows: int) -> EventTotals:
    """Those of the `rows` events of a serialized `Batch` that passed `batch.check`."""
    batch = assemble(schema, [(payload, 0, rows)])
    weights: pa.Array[Any] | None = None
    if schema.sampled:
        weights = pc.min_element_wise(pc.divide(pa.scalar(1.0), batch.column("sampling")), pa.scalar(HEAVIEST))
    count = float(rows) if weights is None else _sum(weights)
    places = {column.name: f"c{place}" for place, column in enumerate(schema.columns)}
    failed = 0.0
    if "success" in places:
        failed = _number(pc.equal(batch.column(places["success"]), pa.scalar(0, pa.uint8())), weights)
    if "duration" not in places:
        return EventTotals(count, failed)
    took: pa.Array[Any] = batch.column(places["duration"])
    is_time = pc.and_(pc.is_finite(took), pc.greater_equal(took, pa.scalar(0.0)))
    timed = _number(is_time, weights)
    if not timed:
        return EventTotals(count, failed)
    times = pc.min_element_wise(took.filter(is_time), pa.scalar(LONGEST))
    milliseconds = _sum(times if weights is None else pc.multiply(times, weights.filter(is_time)))
    buckets = [0.0] * (len(MILLISECONDS) + 1)
    # Below the first bound, 0 too, whose logarithm is none.
    powers = pc.ceil(pc.log2(pc.max_element_wise(times, pa.scalar(1.0))))
    for found in pc.value_counts(powers):
        place = min(int(found["values"].as_py()), len(MILLISECONDS))
        buckets[place] += found["counts"].as_py() * timed / len(times)
    return EventTotals(count, failed, timed, milliseconds, tuple(buckets))


def _number(where: pa.Array[Any], weights: pa.Array[Any] | None) -> float:
    """How many there are for which `where` says yes; null is no."""
    return _sum(where) if weights is None else _sum(weights.filter(where))


def _sum(values: pa.Array[Any]) -> float:
    return float(pc.sum(values).as_py() or 0.0)
