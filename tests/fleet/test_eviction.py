"""A spot node is evicted: SIGTERM, and after the notice kill -9, while the store is too slow for the drain to end."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.fleet.conftest import CLAIM_INTERVAL, Fleet
from tests.fleet.figures import Figures, mib, seconds
from tests.fleet.scorers import fill, told_by
from tests.fleet.settling import lost, settle

NOTICE = 6.0
SLOW = 1.5
"""Seconds that each answer of the store takes."""
MODELS, CALLS = 16, 4


@pytest.mark.parametrize("afterwards", ["the node comes back", "another node adopts the spool"])
def test_what_an_eviction_leaves_in_the_spool_lands_once(
    fleet: Fleet, figures: Figures, azurite: Azurite, folder: Path, afterwards: str
) -> None:
    """Pods and daemon are told to end at once. The drain lands a part; the rest, and the appends that the kill met, are
    settled by whoever opens the spool next."""
    with FaultProxy(azurite.port, faults=("slow",), delay=SLOW) as proxy:
        node = fleet.node("spot", proxy.port, flush_interval=3600, claim_interval=CLAIM_INTERVAL).start()
        pods = [fleet.scorer(node) for _ in range(2)]
        wide = fill(node, MODELS, CALLS)
        eventually(lambda: all(pod.acknowledged() > 500 for pod in pods), "all score")
        proxy.rate = 1.0
        waiting, bytes_waiting = node.status()["waiting"]["rows"], node.metrics()["collectord_bytes_received_total"]
        for pod in pods:
            pod.terminate()
        began = time.monotonic()
        node.signal()
        # The notice is a time, whatever the daemon does in it.
        eventually(lambda: time.monotonic() - began >= NOTICE, "the notice is over")
        node.kill9()
        for pod in pods:
            pod.wait()
        assert proxy.injected(), "the store was never slow"
        assert not node.events("stopped"), "the drain ended; there is nothing to test"
        told = told_by(pods) | wide
        before = settle(fleet.landed(), told)
        missing = lost(before)
        assert 0 < missing < waiting
        proxy.rate = 0.0
        if afterwards == "the node comes back":
            took = _come_back(node)
        else:
            _, took = fleet.adopt(node, Path(shutil.move(node.spool, folder / "stranded")))
        after = settle(fleet.landed(), told)
    assert not lost(after)
    given_up = sum(len(one.taken) - one.acknowledged for one in told.values())
    assert given_up <= sum(sum(pod.dropped().values()) for pod in pods)
    event = f"spot eviction, {NOTICE:.0f} s of notice, each request {SLOW} s; {afterwards}"
    landed = sum(one.landed for one in before.values())
    figures.tell(event, "waited at SIGTERM", f"{waiting:,} rows, {mib(bytes_waiting)}, {MODELS + 2} blobs")
    figures.tell(event, "landed within the notice; left in the spool", f"{landed:,} rows; {missing:,}")
    figures.tell(event, "until the rest had landed", seconds(took))
    figures.tell(event, "acknowledged rows lost, doubled; given up by clients and counted", f"0, 0; {given_up:,}")


def _come_back(node: Daemon) -> float:
    """The same node with the same spool, as after a restart of the machine: seconds until all has landed."""
    began = time.monotonic()
    node.start()
    node.flush()
    took = time.monotonic() - began
    assert all(book.in_log == 0 for book in node.books().values())
    assert node.terminate() == 0
    return took
