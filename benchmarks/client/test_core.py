"""`collect()` by both cores, compiled and Python, against the least that keeping a copy costs.

Each core has a process of its own; they take turns, and in each the floor, `deque.append(a.tobytes())`, takes turns with the
case in groups of 100 calls. The ratio of a round is that of its medians. What arrived is checked before anything is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.client.rounds import CHECK
from benchmarks.client.test_collect import ROOT, _store_nothing
from tests.client.fakedaemon import FakeDaemon

ROUNDS = 25
TARGETS: dict[str, list[tuple[str, str, float]]] = {
    "labels": [("compiled", "ratio", 1.3), ("compiled", "spread", 2.0), ("pure", "ns", 2000.0)],
    "inputs": [("compiled", "ratio", 1.3), ("compiled", "spread", 2.0), ("pure", "ns", 2000.0)],
    "inputs in a request": [],
    "client.collect": [],
    "v1 dictionary": [("compiled", "ratio", 3.0)],
    "frame": [("compiled", "ns", 500.0)],
    "100 x 200 float32": [("compiled", "ratio", 0.25)],
    "inputs and predictions": [("compiled", "ns", 20_000.0)],
    "the same in Flask": [("compiled", "ns", 20_000.0)],
}
"""By case: the core, what is measured, at most how much. `spread` is p99 by p50 of the groups."""


class Worker:
    """A process with one core."""

    def __init__(self, inside: ExitStack, directory: Path, core: str) -> None:
        self.daemon = FakeDaemon(f"unix:{directory}/{core}.sock")
        inside.callback(self.daemon.stop)
        environment = {
            **os.environ, "COLLECTORD_CLIENT_PURE": "1" if core == "pure" else "",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]),
            # glibc's defaults, held still: else what was freed before decides whether a copy's memory is fresh.
            "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072",
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.client.rounds", self.daemon.endpoint]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        inside.enter_context(self.process)
        assert self._read() == core
        got = [row.values for row in self.daemon.rows]
        assert np.array_equal(np.array(got[:4]), np.concatenate([np.asarray(data) for data in CHECK[:4]]))
        assert np.array_equal(np.array(got[4:], "f4"), np.concatenate(CHECK[4:]))
        # From here on nobody decodes: this is about the caller.
        self.daemon._batch = _store_nothing  # type: ignore[method-assign]

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def round(self, case: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return json.loads(self._read())


@pytest.mark.benchmark(group="both cores")
def test_both_cores(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[tuple[str, str], list[Any]] = {}

    def measure() -> None:
        with ExitStack() as inside:
            workers = {core: Worker(inside, tmp_path, core) for core in ("compiled", "pure")}
            # Flask stays loaded: what is measured without it comes first.
            for cases in (
                [case for case in TARGETS if "Flask" not in case],
                [case for case in TARGETS if "Flask" in case],
            ):
                for _ in range(ROUNDS):
                    for case in cases:
                        for core, worker in workers.items():
                            found.setdefault((case, core), []).append(worker.round(case))

    benchmark.pedantic(measure, rounds=1)
    lines = [f"{'':24}{'core':10}{'floor':>8}{'ns':>9}{'ratio':>8}  {'95 %':14}{'p99/p50':>8}"]
    for (case, core), rounds in found.items():
        told = figures(rounds)
        benchmark.extra_info[f"{case}, {core}"] = told
        low, high = told["interval"]
        verdict = [
            f"{what} <= {most:g}: {'met' if told[what] <= most else 'missed'}"
            for whose, what, most in TARGETS[case] if whose == core
        ]  # fmt: skip
        lines.append(
            f"{case:24}{core:10}{told['floor']:8.1f}{told['ns']:9.1f}{told['ratio']:8.2f}"
            f"  {low:5.2f} – {high:<6.2f}{told['spread']:8.2f}  {', '.join(verdict)}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def figures(rounds: list[tuple[list[float], list[float]]]) -> dict[str, Any]:
    """Medians over rounds; the interval of the median ratio by order statistics."""
    ratios = sorted(statistics.median(case) / statistics.median(floor) for floor, case in rounds)
    count = len(ratios)
    reach = 0.98 * count**0.5
    groups = sorted(one for _, case in rounds for one in case)
    return {
        "floor": statistics.median(statistics.median(floor) for floor, _ in rounds),
        "ns": statistics.median(statistics.median(case) for _, case in rounds),
        "ratio": statistics.median(ratios),
        "interval": (ratios[max(0, int(count / 2 - reach))], ratios[min(count - 1, int(count / 2 + reach))]),
        "spread": groups[len(groups) * 99 // 100] / groups[len(groups) // 2],
    }
