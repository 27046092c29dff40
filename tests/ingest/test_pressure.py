"""When streams end for want of memory, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.ingest.pressure import HARMLESS, Pressure, allocated, to_end


@pytest.mark.parametrize(
    ("grown", "allowed", "streams", "ended"),
    [
        (100, 100, 50, 0),
        (-10, 100, 50, 0),
        (101, 100, 50, 26),
        (200, 100, 50, 38),
        (10**9, 100, 50, 50 - HARMLESS),
        (10**9, 100, HARMLESS, 0),
        (10**9, 100, 0, 0),
    ],
)
def test_the_share_that_holds_too_much_ends_and_a_handful_never_does(
    grown: int, allowed: int, streams: int, ended: int
) -> None:
    assert to_end(grown, allowed, streams) == ended


@given(st.integers(1, 2000), st.integers(0, 2000), st.integers(1, 10**6))
def test_after_a_few_looks_the_memory_is_small_again_whoever_holds_it(torn: int, idle: int, each: int) -> None:
    """Even if those with nothing in their hands have been silent for longest and go first."""
    allowed = max(1, HARMLESS * each)
    looks = 0
    while each * torn > allowed:
        ended = to_end(each * torn, allowed, torn + idle)
        assert ended > 0
        idle, torn = max(0, idle - ended), torn - max(0, ended - idle)
        looks += 1
    assert looks <= 12


def test_what_is_allocated_and_freed_again_is_seen() -> None:
    before = allocated()
    pressure = Pressure.from_now(20 << 20)
    held = bytes(64 << 20)
    assert allocated() - before > 60 << 20
    assert pressure.excess(100) == 100 * 54 // 64 + 1
    del held
    assert allocated() - before < 4 << 20
    assert pressure.excess(100) == 0
