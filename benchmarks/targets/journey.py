"""Target 6: from the socket to appended bytes in a directory, durable; and what the daemon takes in memory.

pyarrow stands beside it twice: with the rows of kind A as in target 2, the scoring time as an instant in UTC; and with rows that have
landed, everything that is no number given as text, which is the least work that it can be given.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from benchmarks.daemon import daemon
from benchmarks.encode.peers import ROWS, framed
from benchmarks.growth.load import PAGE_ROWS, Load
from benchmarks.journey.peer import Peer, landed_rows
from benchmarks.pairs import FEWEST, interval, ratio
from benchmarks.targets.figure import Figure, Measured, at_least, at_most
from benchmarks.targets.machine import ROOT
from collectord.testing.azurite import running as azurite_running
from collectord.testing.ingestion import Ingestion

PAGES = 600
PEER_FRAMES = 5
"""Of which the median is taken."""
SETTLED = 1.0
"""Seconds after which an idle daemon has what it has."""


def measure(pairs: int) -> Measured:
    return Measured([*_full_speed(pairs), *_idle(max(FEWEST, pairs // 2))])


def _full_speed(pairs: int) -> list[Figure]:
    """Two clients as fast as they are let, and between their rounds the text and zstd of pyarrow alone."""
    frame = framed("pyarrow", "A")
    ours, typed, texts, speed, peak = [], [], [], [], []
    with daemon("--flush-interval", "5") as running:
        load = Load(running, clients=2)
        load.send(PAGES)
        landed = Peer(running.folder / "store")
        for _ in range(pairs):
            running.forget_peak()
            spent = load.send(PAGES)
            peak.append(running.peak_rss() / 2**20)
            ours.append(spent.cpu)
            speed.append(1e-6 / spent.wall)
            typed.append(statistics.median(_thread_seconds(frame) / ROWS["A"] for _ in range(PEER_FRAMES)))
            texts.append(statistics.median(landed.seconds() for _ in range(PEER_FRAMES)))
        assert landed_rows(running.folder / "store") == (pairs + 1) * PAGES * PAGE_ROWS
        load.close()

    def told(peer: list[float]) -> str:
        return f"{interval(ours).middle * 1e6:.2f} µs and {interval(peer).middle * 1e6:.2f} µs per record"

    return [
        Figure("daemon CPU / pyarrow's text + zstd", "×", ratio(ours, typed), at_most(0.55), told(typed)),
        Figure("daemon CPU / pyarrow's from texts", "×", ratio(ours, texts), None, told(texts)),
        Figure("records/s of two clients", "million", interval(speed), at_least(1.0)),
        Figure("RSS at full speed", "MiB", interval(peak), at_most(256.0)),
    ]


def _thread_seconds(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def _idle(starts: int) -> list[Figure]:
    """Fresh daemons that nobody has sent anything to."""
    figures = [Figure("RSS idle, directory store", "MiB", interval([_rss() for _ in range(starts)]), at_most(120.0))]
    with azurite_running(ROOT) as azurite, Ingestion() as telemetry:
        os.environ["COLLECTORD_AZURE_CONNECTION_STRING"] = azurite.connection_string()
        os.environ["COLLECTORD_APP_INSIGHTS"] = telemetry.connection_string
        samples = [_rss("--store", "az://bench") for _ in range(starts)]
    return [*figures, Figure("RSS idle, Azure and Application Insights", "MiB", interval(samples), at_most(160.0))]


def _rss(*options: str) -> float:
    with daemon(*options) as running:
        time.sleep(SETTLED)
        return running.rss() / 2**20
