"""How long after SIGTERM rows still land, and in which day's blobs: when a job may read yesterday's."""

from __future__ import annotations

import time

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e.waiting import eventually
from tests.fleet.conftest import Fleet
from tests.fleet.figures import Figures, seconds
from tests.fleet.scorers import fill, told_by
from tests.fleet.settling import lost, settle

SLOW = 0.4
DEADLINE = 3.0
OVER = 4.0
"""Seconds beyond the deadline that an append under way has, twice two."""
MODELS, CALLS = 12, 2


def test_after_sigterm_rows_land_in_the_day_of_their_scoring_until_the_deadline_and_the_rest_with_the_next_start(
    fleet: Fleet, figures: Figures, azurite: Azurite
) -> None:
    """Half of the rows were scored yesterday. `read` looks that each one is in its own day's blob."""
    with FaultProxy(azurite.port, faults=("slow",), delay=SLOW) as proxy:
        node = fleet.node("a", proxy.port, flush_interval=3600, drain_deadline=DEADLINE).start()
        pods = [fleet.scorer(node, ago=ago) for ago in (0, 1)]
        older = fill(node, MODELS, CALLS, ago=1)
        told = fill(node, MODELS, CALLS) | older
        eventually(lambda: all(pod.acknowledged() > 500 for pod in pods), "all score")
        for pod in pods:
            pod.terminate().wait()
        waiting = node.status()["waiting"]["rows"]
        proxy.rate = 1.0
        began = time.monotonic()
        assert node.terminate() == 0
        ended = time.monotonic()
        left = node.events("stopped")[0]["rows_left_in_log"]
        assert 0 < left < waiting, "the deadline did not cut the drain short"
        assert left == waiting - sum(map(len, fleet.landed().values()))
        window = [one.at - began for one in proxy.seen() if one.operation == "append" and one.at >= began]
        assert window, "nothing landed after SIGTERM"
        assert max(window) + SLOW <= DEADLINE + OVER
        told |= told_by(pods)
        before = fleet.landed()
        eventually(lambda: time.monotonic() - ended > 3 * SLOW, "whatever was under way has arrived")
        assert sum(map(len, fleet.landed().values())) == sum(map(len, before.values())), "rows landed after its end"
        missing = settle(before, told)
        assert lost(missing) == left
        proxy.rate = 0.0
        node.start()
        # What a job asks before it reads yesterday's.
        past = node.metrics()["collectord_past_records"]
        assert past == sum(len(missing[key].lost) for key in (*older, *pods[1].told())) > 0
        node.flush()
        assert node.metrics()["collectord_past_records"] == 0
        assert node.terminate() == 0
        after = fleet.landed()
    assert not lost(settle(after, told))
    event = f"late rows: drain_deadline {DEADLINE:.0f} s, each request {SLOW} s"
    figures.tell(event, "waited at SIGTERM; left in the log at the end", f"{waiting:,} rows; {left:,}")
    figures.tell(
        event, "last append after SIGTERM; the daemon's end", f"{seconds(max(window))}; {seconds(ended - began)}"
    )
    figures.tell(event, "rows that landed between its end and the next start", "0")
    figures.tell(event, "`collectord_past_records` after that start; after a flush", f"{past:,.0f} (yesterday's); 0")
