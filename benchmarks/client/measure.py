"""What the client costs, as plain functions; `python -m benchmarks.client` and the tests beside this print it.

`core(name)` is a process with one core of `collect()`: its `groups(case)` are CPU nanoseconds of the calling thread per call,
of groups of 100 calls of the floor, `deque.append(a.tobytes())`, and of the case, which took turns. `scoring()` is a process
that collects under load and one that does not, with a real daemon: microseconds of CPU per record in all, by their
difference. What arrives is checked before anything is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.client.rounds import CHECK
from benchmarks.daemon import daemon
from tests.client.fakedaemon import FakeDaemon

ROOT = Path(__file__).resolve().parents[2]

Round = tuple[list[float], list[float]]
"""Nanoseconds per call: groups of the floor, groups of the case."""

TARGETS: dict[str, list[tuple[str, str, float]]] = {
    "labels": [("compiled", "ratio", 1.3), ("compiled", "spread", 2.0), ("pure", "ns", 2000.0)],
    "inputs": [("compiled", "ratio", 1.3), ("compiled", "spread", 2.0), ("pure", "ns", 2000.0)],
    "inputs in a request": [],
    "client.collect": [],
    "v1 dictionary": [("compiled", "ratio", 3.0)],
    "v1 dictionary in a request": [],
    "frame": [("compiled", "ns", 500.0)],
    "100 x 200 float32": [("compiled", "ratio", 0.25)],
    "inputs and predictions": [("compiled", "ns", 20_000.0)],
    "the same in Flask": [("compiled", "ns", 20_000.0)],
}
"""By case: the core, what is measured, at most how much."""
RECORD_TARGETS = {10_000: 0.6, 50_000: 0.35}
"""Microseconds of CPU per record, by records per second."""
IDLE_TARGET = 1.0
"""Milliseconds of CPU per second."""


class Process:
    """A process that answers lines with lines of JSON."""

    def __init__(self, inside: ExitStack, module: str, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")]), **environment},
        )  # fmt: skip
        inside.enter_context(self._process)
        self.core = self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())


class Core(Process):
    """A process with one core of the client, and a daemon that only answers."""

    def __init__(self, inside: ExitStack, directory: Path, name: str) -> None:
        self.daemon = FakeDaemon(f"unix:{directory}/{name}.sock")
        inside.callback(self.daemon.stop)
        super().__init__(
            inside, "benchmarks.client.rounds", self.daemon.endpoint,
            COLLECTORD_CLIENT_PURE="1" if name == "pure" else "",
            # glibc's defaults, held still: else what was freed before decides whether a copy's memory is fresh.
            MALLOC_MMAP_THRESHOLD_="131072", MALLOC_TRIM_THRESHOLD_="131072",
        )  # fmt: skip
        assert self.core == name
        got = [row.values for row in self.daemon.rows]
        assert np.array_equal(np.array(got[:4]), np.concatenate([np.asarray(data) for data in CHECK[:4]]))
        assert np.array_equal(np.array(got[4:], "f4"), np.concatenate(CHECK[4:]))
        # From here on nobody decodes: this is about the caller.
        self.daemon._batch = store_nothing  # type: ignore[method-assign]

    def groups(self, case: str) -> Round:
        floor, found = self.ask(case)
        return floor, found


def store_nothing(raw: bytes, batch: Any, schemas: Any, client_id: bytes, answers: Any) -> None:
    """A daemon's way to take a batch: it is acknowledged, and that is all."""
    from collectord_client._pb import collector_pb2 as pb

    answers.put(pb.ServerMessage(ack=pb.Ack(sequence=batch.sequence)).SerializeToString())


@contextmanager
def core(name: str = "compiled") -> Iterator[Core]:
    """A process with the core `name`, compiled or pure."""
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder, ExitStack() as inside:
        yield Core(inside, Path(folder), name)


def collect_rounds(rounds: int, cases: Sequence[str] = tuple(TARGETS)) -> dict[tuple[str, str], list[Round]]:
    """By case and core, so many rounds of both; all of them take turns."""
    found: dict[tuple[str, str], list[Round]] = {}
    with core("compiled") as compiled, core("pure") as pure:
        # Flask stays loaded: what is measured without it comes first.
        for part in (
            [case for case in cases if "Flask" not in case],
            [case for case in cases if "Flask" in case],
        ):
            for _ in range(rounds):
                for case in part:
                    for one in (compiled, pure):
                        found.setdefault((case, one.core), []).append(one.groups(case))
    return found


def spread(groups: Sequence[float]) -> float:
    """The p99 of groups, in times of their p50."""
    return sorted(groups)[-(-99 * len(groups) // 100) - 1] / statistics.median(groups)


def figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians over rounds; the interval of the median ratio by order statistics.

    `spread` is what the p99 of a round's groups is of their p50. `overall` is the same of the groups of all
    rounds, in which a machine that changes its speed between rounds shows as well.
    """
    ratios = sorted(statistics.median(case) / statistics.median(floor) for floor, case in rounds)
    count = len(ratios)
    reach = 0.98 * count**0.5
    groups = sorted(one for _, case in rounds for one in case)
    return {
        "floor": statistics.median(statistics.median(floor) for floor, _ in rounds),
        "ns": statistics.median(statistics.median(case) for _, case in rounds),
        "ratio": statistics.median(ratios),
        "interval": (ratios[max(0, int(count / 2 - reach))], ratios[min(count - 1, int(count / 2 + reach))]),
        "spread": statistics.median(spread(case) for _, case in rounds),
        "overall": groups[len(groups) * 99 // 100] / groups[len(groups) // 2],
    }


class Scoring:
    """Two processes under the same load, one of which collects; they are asked in turn."""

    def __init__(self, inside: ExitStack, linger: float) -> None:
        running = inside.enter_context(daemon("--flush-interval", "5"))
        self._collects = Process(inside, "benchmarks.client.load", f"unix:{running.socket}", str(linger))
        self._scores = Process(inside, "benchmarks.client.load")
        assert self._collects.core == self._scores.core == "compiled"
        self._ask(self._collects, "burst", rate=1000, seconds=0.5)

    def _ask(self, process: Process, do: str, **more: float) -> Any:
        found = process.ask(json.dumps({"do": do, **more}))
        stats = found.get("stats")
        if stats is not None:
            assert stats["acknowledged"] == stats["collected"] > 0 and not stats["dropped"], stats
        return found

    def record_us(self, rate: int, seconds: float = 2.0) -> float:
        """Microseconds of CPU per record, collecting and sending."""
        with_it = self._ask(self._collects, "burst", rate=rate, seconds=seconds)
        without = self._ask(self._scores, "burst", rate=rate, seconds=seconds)
        return float((with_it["cpu"] - without["cpu"]) / with_it["records"] * 1e6)

    def idle_ms(self, seconds: float = 2.0) -> float:
        """Milliseconds of CPU per second of a connected client, beside a process without one."""
        with_it, without = (self._ask(process, "idle", seconds=seconds) for process in (self._collects, self._scores))
        return float((with_it["cpu"] - without["cpu"]) / seconds * 1e3)

    def request_us(self, collecting: bool, rate: int = 10_000, seconds: float = 1.0) -> dict[str, float]:
        """What a request of one record takes, p50, p99 and p99.9."""
        found = self._ask(self._collects if collecting else self._scores, "pace", rate=rate, seconds=seconds)
        return {name: found[name] for name in ("p50", "p99", "p99.9")}


@contextmanager
def scoring(linger: float = 1.0) -> Iterator[Scoring]:
    """A daemon, and scoring processes with a client and without one."""
    with ExitStack() as inside:
        yield Scoring(inside, linger)
