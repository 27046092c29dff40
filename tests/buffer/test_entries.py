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
    assert list(reversed(entries)) == model[::-1]


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


def test_ranges_of_positions_are_found_also_when_the_oldest_have_left() -> None:
    """What is parked, what is before, what is behind: by position, whatever has left the queue."""
    entries = Entries()
    for at in range(3000):
        entries.append(Lsn(10 * at), 7, at, 0.0)
    for _ in range(2000):
        entries.leave()
    assert [(place.lsn, rows) for place, rows in entries.between(Lsn(19_985), Lsn(20_020))] == [
        (20_000, 2000), (20_010, 2001),
    ]  # fmt: skip
    assert list(entries.between(Lsn(0), Lsn(20_000))) == []
    assert entries.first_from(Lsn(20_001)) == 20_010 and entries.first_from(Lsn(0)) == 20_000
    assert entries.first_from(Lsn(29_991)) is None
    assert entries.rows_before(Lsn(20_020)) == 2000 + 2001
    assert entries.bytes_from(Lsn(29_970)) == (3, 21)
