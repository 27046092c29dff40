"""What the simulation must say whatever it assumes."""

from __future__ import annotations

from benchmarks.fleet.simulate import World, simulate

SHORT = 240.0


def test_a_node_alone_never_races() -> None:
    alone = simulate(1, World(), SHORT)
    assert (alone.races_per_append, alone.writes_per_append, alone.reads_per_append) == (0.0, 1.0, 0.0)
    # The flush interval is 60 s, less up to a fifth.
    assert 1 / 60 <= alone.appends_per_second <= 1 / 48 + 1 / SHORT


def test_each_append_among_others_loses_once_and_more_where_many_share() -> None:
    few, many = simulate(30, World(), SHORT), simulate(600, World(), SHORT)
    assert 0.95 < few.races_per_append < many.races_per_append
    # A lost race: the append, three looks, the append again.
    assert few.writes_per_append + few.reads_per_append == 1 + 4 * few.races_per_append
    assert many.dollars_per_month > 20 * few.dollars_per_month


def test_the_same_seed_gives_the_same_fleet() -> None:
    assert simulate(50, World(), SHORT) == simulate(50, World(), SHORT)
    assert simulate(50, World(), SHORT) != simulate(50, World(), SHORT, seed=2)
