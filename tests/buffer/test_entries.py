"""A queue of numbers: first in, first out, and small."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from collectord.buffer.entries import BYTES_PER_ENTRY, Entries
from collectord.model import Lsn, Place


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_it_is_a_queue(steps: list[int]) -> None:
    """Against a plain list, through many entries coming and going, so that its arrays are shortened."""
    entries = Entries()
    model: list[tuple[Place, int]] = []
    lsn = 0
    for number, step in enumerate(steps):
        if number % 2 == 0:
            for _ in range(step):
                lsn += 7
                entries.append(Lsn(lsn), lsn % 1000, lsn % 50 + 1, float(lsn))
                model.append((Place(Lsn(lsn), lsn % 1000), lsn % 50 + 1))
        else:
            for _ in range(min(step, len(model))):
                place, rows = model.pop(0)
                assert (entries.lsn, entries.length, entries.rows) == (place.lsn, place.length, rows)
                assert entries.came == float(place.lsn)
                entries.leave()
        assert len(entries) == len(model)
    assert list(entries) == model


def test_a_million_waiting_entries_need_a_few_megabytes() -> None:
    """Memory stays flat in an outage: what waits costs its few numbers, and what left costs nothing."""
    tracemalloc.start()
    try:
        entries = Entries()
        for lsn in range(1_000_000):
            entries.append(Lsn(lsn), 100, 1, 0.0)
        assert tracemalloc.get_traced_memory()[0] < 1.3 * BYTES_PER_ENTRY * 1_000_000
        for _ in range(999_000):
            entries.leave()
        assert tracemalloc.get_traced_memory()[0] < BYTES_PER_ENTRY * 100_000
    finally:
        tracemalloc.stop()
