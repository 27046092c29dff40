"""Scoring pods beside a node's daemon: started, ended in one of three ways, and what they say of their rows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from collectord.testing.child import bound
from tests.e2e.process import Daemon, environment
from tests.fleet.settling import Key, Told

SCRIPT = Path(__file__).with_name("scorer.py")
WIDE = Path(__file__).with_name("wide.py")
WIDE_ROWS = 500
DESIGNATIONS = ("inputs", "predictions")
ROWS = 3

_numbers = itertools.count(1)


class Scorer:
    """One process of `scorer.py`. Its number is its own in the whole run."""

    def __init__(self, daemon: Daemon, rate: float = 50.0, ago: int = 0) -> None:
        self.who = next(_numbers)
        self.path = daemon.folder / f"scorer{self.who}"
        settings = {
            "endpoint": daemon.endpoint, "who": self.who, "rate": rate, "rows": ROWS, "ago": ago,
            "account": str(self.path),
        }  # fmt: skip
        self.process = subprocess.Popen(
            bound([sys.executable, str(SCRIPT), json.dumps(settings)]), env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.said = ""
        """On stderr; known once it has ended."""

    # ------------------------------------------------------------------ its end

    def terminate(self) -> Scorer:
        """SIGTERM, as the kubelet sends it; `wait` waits for the end."""
        self.process.terminate()
        return self

    def finish(self) -> Scorer:
        """Lets it wait until everything is acknowledged; `wait` waits for the end."""
        assert self.process.stdin is not None
        self.process.stdin.write("finish\n")
        self.process.stdin.flush()
        return self

    def wait(self) -> Scorer:
        _, self.said = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.said
        return self

    def kill9(self) -> None:
        self.process.kill()
        self.process.communicate()

    def clear_away(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    # ------------------------------------------------------------------ what it says

    def account(self) -> list[list[float]]:
        """When (monotonic), rows collected by then, and of the inputs and the predictions the acknowledged ones."""
        text = self.path.read_text() if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def acknowledged(self) -> int:
        account = self.account()
        return int(sum(account[-1][2:])) if account else 0

    @cached_property
    def end(self) -> dict[str, Any]:
        """All that it knew when it ended; of one that was killed there is nothing."""
        found: dict[str, Any] = json.loads(Path(f"{self.path}.end").read_text())
        return found

    def acknowledgements(self) -> list[float]:
        """When some came (monotonic), as it saw them."""
        return [
            line[0] for before, line in itertools.pairwise(self.account()) if sum(line[2:]) > sum(before[2:])
        ]  # fmt: skip

    def told(self) -> dict[Key, Told]:
        """By its last words, or, if it was killed, by the last line of its account: then it may have taken a few rows more
        than it says."""
        if not Path(f"{self.path}.end").exists():
            _, rows, *acknowledged = self.account()[-1]
            # It went on for one look at most; a request more or less is for `settle` to find.
            taken = np.arange(int(rows) + 1000)
            return {
                (self.who, name): Told(taken, int(one))
                for name, one in zip(DESIGNATIONS, acknowledged, strict=True)
            }  # fmt: skip
        found = {}
        for name in DESIGNATIONS:
            refused = np.array(self.end["refused"][name], dtype=int)
            gaps = (refused[:, None] + np.arange(ROWS)).ravel()
            taken = np.setdiff1d(np.arange(self.end["rows"]), gaps)
            stats = self.end["stats"][name]
            assert stats["collected"] == len(taken), (stats, len(taken))
            assert stats["collected"] == stats["acknowledged"] + stats["lost"] and not stats["rejected"], stats
            found[self.who, name] = Told(taken, stats["acknowledged"])
        return found

    def dropped(self) -> dict[str, int]:
        """Rows that it gave up, by reason."""
        reasons: dict[str, int] = {}
        for stats in self.end["stats"].values():
            for reason, rows in stats["dropped"].items():
                reasons[reason] = reasons.get(reason, 0) + rows
        return reasons


def told_by(scorers: Iterable[Scorer]) -> dict[Key, Told]:
    return {key: one for scorer in scorers for key, one in scorer.told().items()}


def fill(daemon: Daemon, models: int, calls: int, ago: int = 0) -> dict[Key, Told]:
    """A backlog over many models, scored so many days ago: all acknowledged when this returns."""
    first = 1000 * next(_numbers)
    subprocess.run(
        [sys.executable, str(WIDE), daemon.endpoint, str(first), str(models), str(calls), str(ago)], env=environment(), check=True,
        timeout=120,
    )  # fmt: skip
    rows = calls * WIDE_ROWS
    return {(first + model, "inputs"): Told(np.arange(rows), rows) for model in range(models)}
