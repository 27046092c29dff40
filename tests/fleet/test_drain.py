"""A node is drained: its pods end, then its daemon; or all are told to end at once."""

from __future__ import annotations

import time

from tests.e2e.waiting import eventually
from tests.fleet.conftest import Fleet
from tests.fleet.figures import Figures, mib, seconds
from tests.fleet.scorers import Scorer, fill, told_by
from tests.fleet.settling import lost, settle

MODELS, CALLS = 20, 9
WAITS = 3600.0
"""Seconds of flush interval: what was not uploaded before waits until the daemon stops."""


def test_a_node_whose_pods_end_first_loses_nothing(fleet: Fleet, figures: Figures) -> None:
    """As `kubectl drain` does it, which leaves DaemonSets alone: pods are evicted, then the machine goes, and the daemon with
    it. The other node of the fleet notices nothing."""
    node, other = fleet.node("a", flush_interval=WAITS).start(), fleet.node("b", flush_interval=1.0).start()
    pods, others = [fleet.scorer(node) for _ in range(2)], [fleet.scorer(other)]
    told = fill(node, MODELS, CALLS)
    eventually(lambda: all(pod.acknowledged() > 500 for pod in (*pods, *others)), "all score")
    for pod in pods:
        pod.terminate()
    for pod in pods:
        pod.wait()
    waiting, bytes_waiting = node.status()["waiting"]["rows"], node.metrics()["collectord_bytes_received_total"]
    assert waiting > MODELS * CALLS * 500, "hardly anything waits"
    began = time.monotonic()
    assert node.terminate() == 0
    took = time.monotonic() - began
    (stopped,) = node.events("stopped")
    assert (stopped["complete"], stopped["rows_left_in_log"]) == (True, 0)
    for pod in others:
        pod.finish().wait()
    assert other.terminate() == 0
    assert not any(pod.dropped() for pod in (*pods, *others))
    settled = settle(fleet.landed(), told_by([*pods, *others]) | told)
    assert not lost(settled)
    assert all(one.landed == one.acknowledged for one in settled.values())
    event = "drain: pods end, then the daemon"
    figures.tell(event, "waited at SIGTERM", f"{waiting:,} rows, {mib(bytes_waiting)}, {MODELS + 2} blobs")
    figures.tell(event, "SIGTERM until the daemon's end, all landed", seconds(took))
    figures.tell(event, "rows lost, doubled, dropped by clients", "0, 0, 0")


def test_pods_that_are_told_to_end_with_the_daemon_get_their_last_rows_in(fleet: Fleet, figures: Figures) -> None:
    """Nobody promises an order: an autoscaler or a spot node tells everybody at once, and a web server takes some seconds.
    Within the late window its rows are taken in, and the daemon ends when the last pod has gone."""
    node = fleet.node("a", flush_interval=WAITS, late_window=45.0).start()
    pods = [fleet.scorer(node) for _ in range(2)]
    eventually(lambda: all(pod.acknowledged() > 500 for pod in pods), "all score")
    began = time.monotonic()
    node.signal()
    collected = _go_on_scoring(pods)
    for pod in pods:
        pod.terminate()
    for pod in pods:
        pod.wait()
    pods_ended = time.monotonic()
    assert node.wait() == 0
    ended = time.monotonic()
    assert node.events("stopped")[0]["rows_left_in_log"] == 0
    assert not any(pod.dropped() for pod in pods), [pod.dropped() for pod in pods]
    settled = settle(fleet.landed(), told_by(pods))
    assert not lost(settled)
    event = "drain: daemon and pods told at once, late_window"
    figures.tell(
        event,
        "the pods went on for; the daemon's end after theirs",
        f"{seconds(pods_ended - began)}; {seconds(ended - pods_ended)}",
    )
    figures.tell(event, "rows collected after SIGTERM, landed; given up by clients", f"{collected:,}; 0")


def _go_on_scoring(pods: list[Scorer]) -> int:
    """Rows that they have collected since, at least so many each."""
    before = [pod.account()[-1][1] for pod in pods]
    eventually(
        lambda: all(pod.account()[-1][1] > rows + 500 for pod, rows in zip(pods, before, strict=True)),
        "they go on scoring",
    )
    return int(2 * sum(pod.account()[-1][1] - rows for pod, rows in zip(pods, before, strict=True)))


def test_pods_that_outlive_the_daemon_keep_their_rows_and_say_what_they_give_up(fleet: Fleet, figures: Figures) -> None:
    """Beyond the late window. Everything acknowledged lands. What is collected afterwards is held, and counted as given up
    when the pod ends."""
    node = fleet.node("a", flush_interval=WAITS, late_window=0).start()
    pods = [fleet.scorer(node) for _ in range(2)]
    eventually(lambda: all(pod.acknowledged() > 500 for pod in pods), "all score")
    began = time.monotonic()
    assert node.terminate() == 0
    ended = time.monotonic() - began
    assert node.events("stopped")[0]["rows_left_in_log"] == 0
    _go_on_scoring(pods)
    for pod in pods:
        pod.terminate()
    for pod in pods:
        pod.wait()
    told = told_by(pods)
    settled = settle(fleet.landed(), told)
    assert not lost(settled)
    given_up = sum(len(one.taken) - one.acknowledged for one in told.values())
    assert given_up > 2000
    assert sum(sum(pod.dropped().values()) for pod in pods) == given_up
    assert all(set(pod.dropped()) <= {"closed", "unconfirmed"} for pod in pods)
    assert all("rows unsent" in pod.said for pod in pods), [pod.said for pod in pods]
    event = "drain: the daemon first, no late window"
    last = max(pod.acknowledgements()[-1] for pod in pods)
    figures.tell(event, "SIGTERM until the daemon's end", seconds(ended))
    figures.tell(event, "last acknowledgement after SIGTERM", seconds(max(0.0, last - began)))
    figures.tell(
        event,
        "what clients say",
        f"`{pods[0].end['errors'][-1][1]}`".replace(str(node.socket), "/run/collectord/collectord.sock"),
    )
    reasons = {reason for pod in pods for reason in pod.dropped()}
    figures.tell(
        event,
        "acknowledged rows lost; given up by clients and counted",
        f"0; {given_up:,} ({', '.join(sorted(reasons))})",
    )
