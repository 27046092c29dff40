"""Batches of telemetry events come to a few sums, whatever their senders say."""

from __future__ import annotations

import pytest

from collectord.buffer.event_totals import HEAVIEST, LONGEST, MILLISECONDS, event_totals
from collectord.model import Schema, StreamKind
from tests.reference_batch import NOW
from tests.sent_events import batch_of, schema_of


def payload(schema: Schema, events: list[tuple[float | None, bool | None]], sampling: float = 1.0) -> bytes:
    """Events with these durations in milliseconds and outcomes; all else is null."""
    told = [{"duration": took, "success": well} for took, well in events]
    return batch_of(schema, told, times=[NOW] * len(told), sampling=sampling).SerializeToString()


def test_requests_are_counted_with_their_times_and_failures() -> None:
    schema = schema_of(StreamKind.REQUEST)
    events: list[tuple[float | None, bool | None]] = [(3.0, True), (7.0, False), (40_000.0, True), (None, None)]
    totals = event_totals(schema, payload(schema, events), len(events))
    assert (totals.count, totals.failed, totals.timed, totals.milliseconds) == (4, 1, 3, 40_010)
    assert sum(totals.buckets) == 3


@pytest.mark.parametrize(
    ("took", "bound"),
    [(0.0, 1), (0.3, 1), (1.0, 1), (1.001, 2), (2.0, 2), (4.0, 4), (4.5, 8), (131_072.0, 131_072), (131_073.0, None)],
)
def test_a_duration_is_counted_below_the_next_bound(took: float, bound: int | None) -> None:
    schema = schema_of(StreamKind.REQUEST)
    buckets = event_totals(schema, payload(schema, [(took, True)]), 1).buckets
    assert buckets.index(1.0) == (len(MILLISECONDS) if bound is None else MILLISECONDS.index(bound))
    assert sum(buckets) == 1


def test_an_event_that_was_sampled_counts_for_those_that_were_not_kept() -> None:
    schema = schema_of(StreamKind.DEPENDENCY, sampled=True)
    totals = event_totals(schema, payload(schema, [(10.0, False), (20.0, True)], sampling=0.25), 2)
    assert (totals.count, totals.failed, totals.milliseconds) == (8, 4, 120)


@pytest.mark.parametrize("kind", [StreamKind.EXCEPTION, StreamKind.TRACE])
def test_exceptions_and_traces_have_a_number_only(kind: StreamKind) -> None:
    schema = schema_of(kind, sampled=True)
    totals = event_totals(schema, payload(schema, [(None, None)] * 3, sampling=0.5), 3)
    assert (totals.count, totals.failed, totals.timed) == (6, 0, 0)


def test_no_sender_can_make_the_sums_anything_but_numbers() -> None:
    """Neither endless times nor next to no sampling; JSON knows no infinity."""
    schema = schema_of(StreamKind.REQUEST, sampled=True)
    times = (float("inf"), float("-inf"), float("nan"), -5.0, 1e308)
    totals = event_totals(schema, payload(schema, [(took, True) for took in times], sampling=5e-324), len(times))
    assert totals.count == len(times) * HEAVIEST
    assert totals.timed == HEAVIEST
    assert totals.milliseconds == HEAVIEST * LONGEST
    assert totals.buckets[-1] == HEAVIEST
