"""Target 3: what `collect()` costs the thread that scores."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from benchmarks.client.measure import TARGETS, Round, collect_rounds, spread
from benchmarks.pairs import interval
from benchmarks.targets.figure import Figure, Measured, at_most

CASES = {
    "labels": "1 × 6 float64, labels",
    "inputs": "1 × 6 float64, inputs",
    "inputs in a request": "1 × 6 float64, inputs in a request",
    "client.collect": "1 × 6 float64, client.collect",
    "v1 dictionary": "1 × 6 float64 with the v1 dictionary",
    "v1 dictionary in a request": "the same in a request",
    "frame": "DataFrame of one numeric row",
    "100 x 200 float32": "100 × 200 float32",
}
"""Of `benchmarks.client.measure`, what belongs to this target."""


OF_A_ROUND: dict[str, Callable[[Round], float]] = {
    "ratio": lambda one: statistics.median(one[1]) / statistics.median(one[0]),
    "spread": lambda one: spread(one[1]),
    "ns": lambda one: statistics.median(one[1]),
    "floor": lambda one: spread(one[0]),
}
SAID = {"ratio": ("/ deque.append(a.tobytes())", "×"), "spread": ("p99 / p50 of groups", "×"), "ns": ("a call", "ns")}


def measure(pairs: int) -> Measured:
    """Ratios to the floor that took turns with the case, group by group."""
    # The first round of each finds memory that nobody has used before.
    found = {key: rounds[1:] for key, rounds in collect_rounds(pairs + 1, tuple(CASES)).items()}
    figures = []
    for case, name in CASES.items():
        asked = TARGETS[case] or [("compiled", "ratio", None)]
        for core, what, most in asked:
            said, unit = SAID[what]
            rounds = found[case, core]
            told = f"{interval([OF_A_ROUND['ns'](one) for one in rounds]).middle:,.0f} ns a call" if unit == "×" else ""
            if what == "spread":
                told += f"; of deque.append alone {interval([OF_A_ROUND['floor'](one) for one in rounds]).middle:.2f}"
            figures.append(
                Figure(
                    f"{name}{', in Python' if core == 'pure' else ''}: {said}", unit,
                    interval([OF_A_ROUND[what](one) for one in rounds]), None if most is None else at_most(most), told,
                )
            )  # fmt: skip
    return Measured(figures)
