"""A node is lost in one moment, with its pods: its spool is found again, or gone for ever."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.fleet.conftest import CLAIM_INTERVAL, Fleet
from tests.fleet.figures import Figures, seconds
from tests.fleet.scorers import Scorer, told_by
from tests.fleet.settling import Settled, lost, settle

FLUSH = 8.0
DEFAULT_FLUSH = 60.0
JITTER = 0.8
"""The share of the flush interval after which the first rows may land."""


def _lose(node: Daemon, pods: list[Scorer]) -> float:
    """The node's processes are gone at once; returns when."""
    when = time.monotonic()
    for pod in pods:
        pod.process.kill()
    node.kill9()
    for pod in pods:
        pod.kill9()
    return when


def _seconds_lost(pods: list[Scorer], settled: dict[tuple[int, str], Settled], when: float) -> float:
    """How old the oldest lost row was."""
    began = []
    for pod in pods:
        first = min((one.lost[0] for key, one in settled.items() if key[0] == pod.who and len(one.lost)), default=None)
        if first is not None:
            account = pod.account()
            # It was collected after this look, the first of all if need be.
            began.append(max((line[0] for line in account if line[1] <= first), default=account[0][0]))
    return when - min(began)


def test_a_lost_node_costs_what_had_not_landed_and_nothing_once_its_spool_is_adopted(
    fleet: Fleet, figures: Figures, folder: Path
) -> None:
    """What is missing meanwhile is what was acknowledged last, without a gap. Another node takes the name and goes on in the
    same blobs; the stranded spool is finished from somewhere else afterwards."""
    node = fleet.node("a", flush_interval=FLUSH, claim_interval=CLAIM_INTERVAL).start()
    pods = [fleet.scorer(node) for _ in range(2)]
    eventually(lambda: sum(book.landed for book in node.books().values()), "some rows have landed")
    landed = time.monotonic()
    eventually(lambda: time.monotonic() - landed > 0.6 * FLUSH * JITTER, "more rows wait")
    when = _lose(node, pods)
    told = told_by(pods)
    before = settle(fleet.landed(), told)
    missing = lost(before)
    assert missing > 1000
    age = _seconds_lost(pods, before, when)

    successor = fleet.node("a", flush_interval=1, claim_interval=CLAIM_INTERVAL).start()
    more = [fleet.scorer(successor)]
    eventually(lambda: more[0].acknowledged() > 500, "the successor takes in")
    stranded = Path(shutil.move(node.spool, folder / "stranded"))
    rows, took = fleet.adopt(node, stranded)
    for pod in more:
        pod.finish().wait()
    assert successor.terminate() == 0
    after = settle(fleet.landed(), told | told_by(more))
    assert not lost(after)
    # Rows that were durable when their client was killed, before it heard so, land too.
    unheard = sum(max(0, one.landed - one.acknowledged) for one in after.values())
    assert rows == missing + unheard
    event = f"node loss, flush_interval {FLUSH:.0f}"
    figures.tell(event, "acknowledged and not landed at that moment", f"{missing:,} rows, of the last {seconds(age)}")
    figures.tell(
        event,
        "`collectord adopt`, claim_interval 2 (watches for 5 s; by default 150 s)",
        f"{seconds(took)}, {rows:,} rows",
    )
    figures.tell(event, "acknowledged rows lost, doubled, afterwards", "0, 0")


def test_a_spool_that_is_gone_for_ever_costs_less_than_the_flush_interval(fleet: Fleet, figures: Figures) -> None:
    """With the default one, killed shortly before the first rows would land: about the worst moment."""
    node = fleet.node("a", flush_interval=DEFAULT_FLUSH).start()
    pods = [fleet.scorer(node, rate=20.0) for _ in range(2)]
    worst = JITTER * DEFAULT_FLUSH - 2.0
    eventually(lambda: (node.status()["waiting"]["oldest_seconds"] or 0.0) > worst, "rows are old", DEFAULT_FLUSH, 0.2)
    books = node.books().values()
    when = _lose(node, pods)
    shutil.rmtree(node.spool)
    told = told_by(pods)
    settled = settle(fleet.landed(), told)
    acknowledged = sum(one.acknowledged for one in told.values())
    missing = lost(settled)
    assert missing == acknowledged - sum(one.landed for one in settled.values()) > 1000
    # Nobody needs to tell the successor anything: its books begin at nothing.
    successor = fleet.node("a", flush_interval=1).start()
    assert successor.books() == {}
    more = [fleet.scorer(successor)]
    eventually(lambda: more[0].acknowledged() > 500, "the successor takes in")
    for pod in more:
        pod.finish().wait()
    assert successor.terminate() == 0
    after = settle(fleet.landed(), told | told_by(more))
    assert lost(after) == missing
    age = _seconds_lost(pods, settled, when)
    assert age <= DEFAULT_FLUSH
    event = "node and spool gone, flush_interval 60 (the default)"
    figures.tell(
        event, "acknowledged rows lost for good", f"{missing:,}: all of the last {seconds(age)}, nothing older"
    )
    waiting = sum(book.in_log for book in books)
    figures.tell(event, "what the last look at the metrics said was waiting", f"{waiting:,} rows")
