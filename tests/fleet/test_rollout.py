"""A new version is rolled out, node by node, while pods score."""

from __future__ import annotations

import itertools
import time

from tests.e2e.waiting import eventually
from tests.fleet.conftest import Fleet
from tests.fleet.figures import Figures, quantile, seconds
from tests.fleet.scorers import Scorer, told_by
from tests.fleet.settling import lost, settle

NODES, PODS, RATE = 3, 2, 50.0
PAUSE = 3.0
"""Seconds between the old pod's end and the new one's first instruction: what a kubelet may need."""
STEADY = 5.0
SAID = "another daemon runs on the spool"


def _go_on(pods: list[Scorer], rows: int) -> None:
    """Everybody's rows are acknowledged again, and more come."""
    known = [pod.acknowledged() for pod in pods]
    eventually(lambda: all(pod.acknowledged() >= one + rows for pod, one in zip(pods, known, strict=True)), "all score")


def test_a_rolling_rollout_loses_doubles_and_drops_nothing(fleet: Fleet, figures: Figures) -> None:
    """With `maxUnavailable: 1`: a node's new daemon starts when the old one has ended, on its spool."""
    # Their clients stay, so the late window lasts as long as it may.
    nodes = [fleet.node(f"n{number}", flush_interval=2.0, late_window=1.0).start() for number in range(NODES)]
    pods = [[fleet.scorer(node, rate=RATE) for _ in range(PODS)] for node in nodes]
    every = [pod for ours in pods for pod in ours]
    _go_on(every, int(STEADY * RATE * 6))
    began, away = time.monotonic(), []
    for node, ours in zip(nodes, pods, strict=True):
        told = time.monotonic()
        assert node.terminate() == 0
        assert node.events("stopped")[-1]["complete"] is True
        ended = time.monotonic()
        eventually(lambda ended=ended: time.monotonic() - ended >= PAUSE, "the kubelet is ready")
        node.start()
        away.append(time.monotonic() - told)
        _go_on(ours, 300)
    over = time.monotonic()
    _go_on(every, int(STEADY * RATE * 6))
    for pod in every:
        pod.finish()
    for pod in every:
        pod.wait()
    for node in nodes:
        node.flush()
    received = sum(book.received for node in nodes for book in node.books().values())
    landed = sum(book.landed for node in nodes for book in node.books().values())
    assert not any(book.dropped_by_clients for node in nodes for book in node.books().values())
    for node in nodes:
        assert node.terminate() == 0
    assert not any(pod.dropped() for pod in every), [pod.dropped() for pod in every]
    assert all(stats["reconnects"] for pod in every for stats in pod.end["stats"].values())
    assert not any(stats["resent_elsewhere"] for pod in every for stats in pod.end["stats"].values())
    settled = settle(fleet.landed(), told_by(every))
    assert not lost(settled)
    rows = sum(one.landed for one in settled.values())
    assert received == landed == rows == sum(one.acknowledged for one in settled.values())
    gaps = [
        max(after - before for before, after in itertools.pairwise(pod.acknowledgements())) for pod in every
    ]  # fmt: skip
    costs = [
        (began <= at <= over, took, worked)
        for pod in every for at, took, worked in zip(*(pod.end[name] for name in ("calls", "took", "worked")), strict=True)
    ]  # fmt: skip
    event = f"rollout of {NODES} nodes, maxUnavailable 1, {NODES * PODS * RATE:.0f} requests/s"
    figures.tell(event, "rows acknowledged and landed; lost, doubled, dropped by clients", f"{rows:,}; 0, 0, 0")
    figures.tell(
        event, f"SIGTERM until the next daemon is ready (1 s of late window, {PAUSE:.0f} s for the kubelet)",
        f"at most {seconds(max(away))}",
    )  # fmt: skip
    figures.tell(event, "longest gap in acknowledgements of a pod", seconds(max(gaps)))
    for what, rolling in (("before and after", False), ("during the rollout", True)):
        took = [cost for during, cost, _ in costs if during is rolling]
        worked = [cost for during, _, cost in costs if during is rolling]
        figures.tell(
            event, f"both `collect()` of a request, {what}: p50, p99, CPU of p99",
            ", ".join(f"{1e6 * cost:.0f} µs" for cost in (quantile(took, 0.5), quantile(took, 0.99), quantile(worked, 0.99))),
        )  # fmt: skip


def test_a_second_daemon_of_a_node_ends_and_says_why_and_the_first_goes_on(fleet: Fleet, figures: Figures) -> None:
    """What `maxSurge` would do: the spool's lock belongs to one. The kubelet tries again, and once the first has ended, the
    second is let in."""
    node = fleet.node("a", flush_interval=1.0, late_window=0.5).start()
    pods = [fleet.scorer(node)]
    surge = fleet.node("a", flush_interval=1.0, late_window=0.5, spool=node.spool, listen=node.endpoint)
    _go_on(pods, 300)
    assert surge.spawn().wait() == 2
    assert SAID in surge.said()
    _go_on(pods, 300)
    node.signal()
    while True:
        surge.spawn()
        assert surge.process is not None
        eventually(lambda: surge.process.poll() is not None or surge.is_ready(), "it ends or is let in")  # type: ignore[union-attr]
        if surge.running:
            break
        assert surge.process.returncode == 2
    assert node.wait() == 0
    _go_on(pods, 300)
    for pod in pods:
        pod.finish().wait()
    assert surge.terminate() == 0
    settled = settle(fleet.landed(), told_by(pods))
    assert not lost(settled)
    assert not any(pod.dropped() for pod in pods)
    event = "two daemons on one spool (what maxSurge would do)"
    figures.tell(event, "the second ends with 2 and says", f"`{SAID} /…/spool`")
    figures.tell(event, "rows lost, doubled, dropped by clients", "0, 0, 0")
