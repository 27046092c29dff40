"""When waiting rows become a frame."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.buffer.seal import MAX_FRAME_ROWS, Cause, SealRules, age_limit, cause, wanted
from collectord.model import Partition

RULES = SealRules(flush_bytes=1000, frame_payload=10_000, flush_interval=60.0, salt=b"a")


@given(st.binary(min_size=16, max_size=16), st.integers(-(1 << 40), 1 << 40), st.binary(max_size=16))
def test_no_row_waits_longer_than_the_interval_nor_less_than_four_fifths(schema: bytes, hour: int, salt: bytes) -> None:
    rules = SealRules(1000, 10_000, 60.0, salt)
    assert 48.0 <= age_limit(rules, Partition(schema, hour, 1440)) <= 60.0


def test_partitions_and_daemons_do_not_march_in_step() -> None:
    """The same partition on many daemons, and many partitions of one daemon, spread over the fifth."""
    fleet = {age_limit(SealRules(1000, 10_000, 60.0, bytes([at])), Partition(bytes(16), 0, 1440)) for at in range(50)}
    streams = {age_limit(RULES, Partition(bytes([at]) * 16, 0, 1440)) for at in range(50)}
    for limits in (fleet, streams):
        assert len(limits) == 50
        assert max(limits) - min(limits) > 6


def test_how_much_of_the_log_makes_a_frame_follows_how_well_it_compresses() -> None:
    assert wanted(RULES, 1.0) == 1000
    assert wanted(RULES, 0.5) == 2000
    assert wanted(RULES, 0.001) == RULES.frame_payload, "but memory is bounded"
    assert wanted(RULES, 4.0) == 250


@pytest.mark.parametrize(
    ("payload", "rows", "overdue", "flush", "why"),
    [
        (1999, 1, False, False, None),
        (2000, 1, False, False, Cause.BYTES),
        (1, MAX_FRAME_ROWS - 1, False, False, None),
        (1, MAX_FRAME_ROWS, False, False, Cause.BYTES),
        (1, 1, True, False, Cause.AGE),
        (1, 1, False, True, Cause.FLUSH),
        (1, 1, True, True, Cause.FLUSH),
        (2000, 1, True, True, Cause.BYTES),
    ],
)
def test_a_frame_is_due_by_bytes_by_rows_by_age_and_on_demand(
    payload: int, rows: int, overdue: bool, flush: bool, why: Cause | None
) -> None:
    assert cause(RULES, payload, rows, 0.5, overdue, flush) is why
