"""A client that takes too much of a request's time thins itself, by the hash that sampling uses, and says so."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from collectord_client import Client, notices
from collectord_client.budget import EASY, LEAST, SETTLING, Budget
from collectord_client.sampling import place

from tests.client.fakedaemon import FakeDaemon


class Clock:
    """Each collected call takes `cost` microseconds: it is read when a call begins and when it ends."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.now = 0

    def __call__(self) -> int:
        self.now += int(self.cost * 1000)
        return self.now


@pytest.fixture
def timed(make: Callable[..., Client]) -> Callable[..., tuple[Client, Clock]]:
    def build(cost: float, **options: Any) -> tuple[Client, Clock]:
        client, clock = make(strict=True, **options), Clock(cost)
        assert client._budget is not None
        client._budget.clock = clock
        return client, clock

    return build


def spend(budget: Budget, us: float, calls: int) -> float:
    for _ in range(calls):
        budget.spent(int(us * 1000))
    return budget.factor


def test_the_fraction_is_what_the_budget_allows() -> None:
    """The largest power of two with which the average over all calls stays within it."""
    for cost, expected in ((40, 1.0), (50, 1.0), (51, 0.5), (100, 0.5), (101, 0.25), (399, 0.125), (799, 1 / 16)):
        assert spend(Budget(50.0), cost, 500) == expected, cost


def test_it_goes_down_and_comes_back_by_steps_of_two() -> None:
    budget = Budget(50.0)
    seen = [spend(budget, cost, 1) for cost, calls in ((300, 400), (10, 400)) for _ in range(calls)]
    steps = [factor for factor, _ in itertools.groupby(seen)]
    assert steps == [1.0, 0.5, 0.25, 0.125, 0.25, 0.5, 1.0]
    changes = [at for at in range(1, len(seen)) if seen[at] != seen[at - 1]]
    assert all(later - earlier >= SETTLING for earlier, later in itertools.pairwise(changes))


def test_it_does_not_go_to_and_fro() -> None:
    """Between what is too much for one fraction and easy for the next, it stays where it is."""
    budget = Budget(50.0)
    spend(budget, 120, 300)
    assert budget.factor == 0.25
    low, high = 2 * 50 * EASY, 4 * 50
    for cost in (low + 1, high - 1, low + 1, 110):
        assert spend(budget, cost, 300) == 0.25
    assert spend(budget, low - 1, 300) == 0.5


def test_one_long_pause_is_no_reason() -> None:
    budget = Budget(50.0)
    spend(budget, 20, 100)
    assert spend(budget, 1e6, 1) == 1.0
    assert spend(budget, 20, 100) == 1.0


def test_the_first_calls_are_not_counted() -> None:
    budget = Budget(50.0)
    spend(budget, 5000, SETTLING)
    assert spend(budget, 20, 100) == 1.0
    assert budget.mean == 20


def test_there_is_always_something_left() -> None:
    budget = Budget(1.0)
    assert spend(budget, 1e6, 1000) == LEAST == 2.0**-10
    assert spend(budget, 0.1, 1000) == 1.0


def test_the_data_and_the_stats_say_so(
    timed: Any, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row has the fraction that its request was decided with; the rows left out are counted; it is told."""
    monkeypatch.setattr(notices, "_last", {})
    client, clock = timed(100.0, max_us_per_call=30.0)
    inputs = client.collector("inputs", ["a", "b"])
    asked: list[tuple[str, float]] = []
    with caplog.at_level(logging.WARNING, "collectord_client"):
        for cost in (100.0, 1.0):
            clock.cost = cost
            for _ in range(2500):
                factor = client.stats()["fraction"]
                asked.append((str(inputs.collect(np.ones((2, 2))).correlation), factor))
    assert client.flush(10)
    factors = [factor for factor, _ in itertools.groupby(factor for _, factor in asked)]
    assert factors == [1.0, 0.5, 0.25, 0.5, 1.0]
    expected = [(id, row, factor) for id, factor in asked if place(id) < factor * 2**64 for row in (0, 1)]
    assert [(row.correlation, row.row, row.sampling) for row in daemon.rows] == expected
    stats = client.stats()
    assert stats["thinned_out"] == 2 * len(asked) - len(expected) > 1000
    assert stats["sampled_out"] == 0
    assert stats["fraction"] == 1.0
    assert stats["us_per_call"] == pytest.approx(1.0, abs=0.5)
    assert stats["dropped"] == {}
    told = [record.getMessage() for record in caplog.records]
    assert any("the budget is 30: one request in 2" in line for line in told)


def test_predictions_go_by_what_was_decided_for_their_inputs(timed: Any, daemon: FakeDaemon) -> None:
    """Though the fraction changes in between, and for labels of the same request as well."""
    client, _ = timed(0.0, max_us_per_call=30.0)
    budget = client._budget
    for at in range(200):
        budget.factor = 2.0 ** -(at % 4)
        context = client.collect([[1.0]])
        budget.factor = 2.0 ** -((at + 1) % 4)
        client.collect([[2.0]], "predictions", ["p"])
        client.collect([[3.0]], "labels", ["l"], context=context)
    assert client.flush(10)
    got = [{(r.correlation, r.sampling) for r in daemon.rows if r.designation == name}
           for name in ("inputs", "predictions", "labels")]  # fmt: skip
    assert got[0] == got[1] == got[2]
    assert {share for _, share in got[0]} == {1.0, 0.5, 0.25, 0.125}
    assert client.stats()["notes"] == {}


def test_labels_that_name_their_request_are_not_thinned(timed: Any, daemon: FakeDaemon) -> None:
    """Their inputs were decided on in another process, with whatever time there was."""
    client, _ = timed(0.0, max_us_per_call=30.0)
    client._budget.factor = LEAST
    client.collect([[at] for at in range(50)], "labels", correlation_id=[f"id-{at}" for at in range(50)])
    for at in range(50):
        client.collect([[at]], "labels", correlation_id=f"id-{at}")
    assert client.flush(10)
    assert len(daemon.rows) == 100
    assert {row.sampling for row in daemon.rows} == {1.0}


def test_together_with_sampling(timed: Any, daemon: FakeDaemon) -> None:
    """The fraction in the data is the product; each row that is missing is counted once, by its reason."""
    client, _ = timed(100.0, max_us_per_call=30.0, sampling=0.5)
    client._budget.factor = 0.25
    places = [place(client.collect([[1.0]]).correlation.bytes) / 2**64 for _ in range(400)]
    assert client.flush(10)
    assert {row.sampling for row in daemon.rows} == {0.125}
    stats = client.stats()
    assert stats["collected"] == len(daemon.rows) == sum(at < 0.125 for at in places)
    assert stats["thinned_out"] == sum(0.125 <= at < 0.5 for at in places)
    assert stats["sampled_out"] == sum(at >= 0.5 for at in places)


def test_the_real_clock_measures_calls(make: Any, daemon: FakeDaemon) -> None:
    """A call of this size takes some microseconds, and less than a second."""
    client = make(strict=True, max_us_per_call=1e6)
    for _ in range(50):
        client.collect(np.ones((10, 3)))
    assert 1 < client.stats()["us_per_call"] < 1e6
    assert client.stats()["fraction"] == 1.0
    assert client.flush(10)
    assert {row.sampling for row in daemon.rows} == {1.0}, "the header is the same before and after thinning"


def test_threads_share_a_budget(timed: Any, daemon: FakeDaemon) -> None:
    client, _ = timed(50.0, max_us_per_call=30.0)
    collector = client.collector("inputs")
    threads = [threading.Thread(target=lambda: [collector.collect([[1.0]]) for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(10)
    stats = client.stats()
    assert stats["collected"] + stats["thinned_out"] == 1200
    assert {row.sampling for row in daemon.rows} <= {2.0**-power for power in range(11)}


@pytest.mark.parametrize("given", [0, -1, math.nan, True, "50"])
def test_arguments_that_cannot_work(given: Any) -> None:
    with pytest.raises(ValueError, match="max_us_per_call is a number of microseconds above 0"):
        Client(model="m", max_us_per_call=given)


def test_the_environment_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_MAX_US_PER_CALL", "50")
    budget = Client(model="m")._budget
    assert budget is not None
    assert budget.limit == 50
    assert Client(model="m", max_us_per_call=math.inf)._budget is None
    monkeypatch.setenv("COLLECTORD_MAX_US_PER_CALL", "fast")
    with pytest.raises(ValueError, match="COLLECTORD_MAX_US_PER_CALL"):
        Client(model="m")
    monkeypatch.setenv("COLLECTORD_MAX_US_PER_CALL", "")
    assert Client(model="m")._budget is None
    assert Client(model="m").stats()["us_per_call"] is None
