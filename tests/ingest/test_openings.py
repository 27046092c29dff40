"""The limit of open partitions, while some are on their way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectord.ingest.openings import FULL, Openings
from collectord.model import Partition

PARTITIONS = [Partition.of(bytes([n]) * 16, 0, 1440) for n in range(8)]
A, B, C = PARTITIONS[:3]


class Index(set[Partition]):
    """What is open; of whom, `of` says."""

    of: str = ""

    def held(self, whose: str) -> tuple[int, int]:
        return (len(self) if whose == self.of else 0), 0


def test_one_of_many_opens_no_more_than_its_share_of_what_the_others_leave() -> None:
    """Beyond it only its own are refused, and one that it has open goes on; when some are closed there is room again."""
    index = Index()
    index.of = "red"
    openings = Openings(8, index, 0.5)
    index |= set(PARTITIONS[:2])
    assert [bool(openings.let_in(one, "red")) for one in PARTITIONS[:5]] == [False] * 4 + [True]
    assert "share of the red" in openings.let_in(PARTITIONS[4], "red")
    assert openings.whose(PARTITIONS[2]) == "red"
    assert [bool(openings.let_in(one, "blue")) for one in PARTITIONS[5:8]] == [False, False, True]
    index.discard(A)
    openings.gave_up(A)
    assert openings.let_in(PARTITIONS[4], "red"), "now the others leave less"
    openings.gave_up(C)
    assert not openings.let_in(PARTITIONS[4], "red")


def test_what_is_on_its_way_counts_before_the_index_shows_it() -> None:
    openings = Openings(2, Index())
    assert not openings.let_in(A)
    assert not openings.let_in(B)
    assert openings.let_in(C) == FULL, "nothing is in the index yet, and still there is no room"
    assert not openings.let_in(A), "a partition that opens takes as much as there is"


def test_a_partition_that_is_in_the_index_and_on_its_way_counts_once() -> None:
    openings = Openings(2, Index({A}))
    assert not openings.let_in(A)
    assert not openings.let_in(B)
    assert openings.let_in(C) == FULL


def test_a_batch_that_did_not_get_into_the_log_leaves_its_place() -> None:
    openings = Openings(1, Index())
    assert not openings.let_in(A)
    openings.gave_up(A)
    assert not openings.let_in(B)


def test_what_an_earlier_daemon_let_in_is_no_surprise() -> None:
    openings = Openings(1, Index())
    openings.seen(A)
    assert not openings.let_in(B)
    assert openings.let_in(A) == FULL


@given(
    st.lists(st.tuples(st.sampled_from(["let in", "seen", "gave up", "landed"]), st.sampled_from(PARTITIONS))),
    st.integers(1, 4),
)
def test_whatever_happens_no_more_are_open_than_allowed(steps: list[tuple[str, Partition]], limit: int) -> None:
    index = Index()
    on_their_way: list[Partition] = []
    openings = Openings(limit, index)
    for what, partition in steps:
        if what == "let in":
            may = not openings.let_in(partition)
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
