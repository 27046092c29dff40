"""The limit of open partitions, while some are on their way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectord.ingest.openings import Openings
from collectord.model import Partition

PARTITIONS = [Partition.of(bytes([n]) * 16, 0, 1440) for n in range(8)]
A, B, C = PARTITIONS[:3]


def test_what_is_on_its_way_counts_before_the_index_shows_it() -> None:
    index: set[Partition] = set()
    openings = Openings(2, index)
    assert openings.let_in(A)
    assert openings.let_in(B)
    assert not openings.let_in(C), "nothing is in the index yet, and still there is no room"
    assert openings.let_in(A), "a partition that opens takes as much as there is"


def test_a_partition_that_is_in_the_index_and_on_its_way_counts_once() -> None:
    index = {A}
    openings = Openings(2, index)
    assert openings.let_in(A)
    assert openings.let_in(B)
    assert not openings.let_in(C)


def test_a_batch_that_did_not_get_into_the_log_leaves_its_place() -> None:
    openings = Openings(1, set())
    assert openings.let_in(A)
    openings.gave_up(A)
    assert openings.let_in(B)


def test_what_an_earlier_daemon_let_in_is_no_surprise() -> None:
    openings = Openings(1, set())
    openings.seen(A)
    assert openings.let_in(B)
    assert not openings.let_in(A)


@given(
    st.lists(st.tuples(st.sampled_from(["let in", "seen", "gave up", "landed"]), st.sampled_from(PARTITIONS))),
    st.integers(1, 4),
)
def test_whatever_happens_no_more_are_open_than_allowed(steps: list[tuple[str, Partition]], limit: int) -> None:
    index: set[Partition] = set()
    on_their_way: list[Partition] = []
    openings = Openings(limit, index)
    for what, partition in steps:
        if what == "let in":
            may = openings.let_in(partition)
            assert may == (len({*index, *on_their_way} - {partition}) < limit), "neither too strict nor too lax"
            if may:
                on_their_way.append(partition)
        elif what == "seen" and partition in on_their_way:
            index.add(partition)
            openings.seen(partition)
            on_their_way.remove(partition)
        elif what == "gave up" and partition in on_their_way:
            openings.gave_up(partition)
            on_their_way.remove(partition)
        elif what == "landed":
            index.discard(partition)
        assert len({*index, *on_their_way}) <= limit
