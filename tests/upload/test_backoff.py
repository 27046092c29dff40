"""Waiting grows, has jitter and a bound, and honours what the store asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectord.upload.backoff import (
    BLOCKED_FIRST,
    BLOCKED_MOST,
    RETRY_AFTER_MOST,
    UNKNOWN_FIRST,
    UNKNOWN_MOST,
    after_blocked,
    after_unknown,
)

CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**9), CHANCES)
def test_no_wait_is_longer_than_its_bound(failures: int, chance: float) -> None:
    assert 0 <= after_unknown(failures, None, chance) <= UNKNOWN_MOST
    assert BLOCKED_FIRST / 2 <= after_blocked(failures, chance) <= BLOCKED_MOST


def test_the_span_doubles_from_failure_to_failure() -> None:
    assert [after_unknown(n, None, 0.5) for n in (1, 2, 3)] == [UNKNOWN_FIRST / 2 * 2**n for n in (0, 1, 2)]
    assert [after_blocked(n, 0.0) for n in (1, 2, 3)] == [BLOCKED_FIRST / 2 * 2**n for n in (0, 1, 2)]


@given(st.integers(1, 100), st.floats(0, 1e9), CHANCES)
def test_retry_after_is_a_floor_up_to_an_hour(failures: int, asked: float, chance: float) -> None:
    wait = after_unknown(failures, asked, chance)
    assert min(asked, RETRY_AFTER_MOST) <= wait <= RETRY_AFTER_MOST + UNKNOWN_MOST


def test_a_negative_retry_after_does_not_shorten_the_wait() -> None:
    assert after_unknown(1, -5.0, 0.5) == UNKNOWN_FIRST / 2
