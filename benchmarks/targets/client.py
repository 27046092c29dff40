"""Target 4: what the client costs its process in all, and whether a request notices it."""

from __future__ import annotations

import math

from benchmarks.client.measure import IDLE_TARGET, RECORD_TARGETS, scoring
from benchmarks.pairs import interval
from benchmarks.targets.figure import Figure, Measured, at_most


def measure(pairs: int) -> Measured:
    """A scoring process that collects for a real daemon, beside one that does not."""
    with scoring() as running:
        by_rate: dict[int, list[float]] = {rate: [] for rate in RECORD_TARGETS}
        idle, slower, apart = [], [], []
        for _ in range(pairs):
            for rate, samples in by_rate.items():
                samples.append(running.record_us(rate))
            idle.append(running.idle_ms())
            before, between, after = (running.request_us(collecting)["p99"] for collecting in (False, True, False))
            slower.append(between / math.sqrt(before * after))
            apart.append(max(before, after) / min(before, after))
    spread = interval(apart)
    figures = [
        Figure(
            f"{rate:,} records/s: CPU per record, collecting and sending", "µs", interval(by_rate[rate]), at_most(most)
        )
        for rate, most in RECORD_TARGETS.items()
    ]
    return Measured(
        [
            *figures,
            Figure("idle: CPU per second", "ms", interval(idle), at_most(IDLE_TARGET)),
            Figure(
                "10,000 requests/s: p99 with collecting / without", "×", interval(slower), at_most(spread.high),
                f"two runs without it lie {spread.middle:.2f} apart, {spread.low:.2f} to {spread.high:.2f}",
            ),
        ]
    )  # fmt: skip
