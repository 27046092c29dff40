"""Measures the targets of speed and says which are met: `python -m benchmarks.targets [--pairs N] [TARGET ...]`.

Each target is measured by a process of its own. What it found is printed and kept in `build/bench/TARGET.json`; `--page` writes
the tables and plots of docs/performance.md from what is kept there. A wrong output, or nothing to measure, ends in an error; a
target that is missed does not: the last line says how many are.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.pairs import FEWEST, PAIRS
from benchmarks.targets.figure import Measured, dump, load, table
from benchmarks.targets.machine import ROOT, describe

TARGETS = {
    "1": ("CSV text, one thread", "text"),
    "2": ("text + zstd level 1", "compressed"),
    "3": ("collect()", "collect"),
    "4": ("the client in all", "client"),
    "5": ("ingest to durable ack", "ingest"),
    "6": ("the whole journey", "journey"),
    "7": ("start-up and recovery", "start"),
    "8": ("growth", "growth"),
    "upload": ("the way into the blob", "upload"),
    "sdks": ("beside Azure ML's SDKs", "sdks"),
}
"""What a target is called, and the module here whose `measure` measures it. Names instead of numbers: told beside the targets."""
KEPT = ROOT / "build" / "bench"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}


def measured(target: str, pairs: int) -> Measured:
    """Runs it in a process of its own: what it imports and starts is nobody else's."""
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{target}.json"
    path.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.targets", "--child", str(path), "--pairs", str(pairs), target],
        cwd=ROOT, env=os.environ | ONE_THREAD, check=True,
    )  # fmt: skip
    print(f"\n{target}: {TARGETS[target][0]} ({time.monotonic() - began:.0f} s)")
    found = load(path.read_text())
    print(table(found), flush=True)
    return found


def child(target: str, pairs: int, path: Path) -> None:
    """The measuring itself."""
    # The peers are this process's. A daemon that it starts runs with what it is installed with.
    os.environ.pop("PYTHONPATH", None)
    where = describe()
    found: Measured = importlib.import_module(f"benchmarks.targets.{TARGETS[target][1]}").measure(pairs)
    assert found.figures, f"{target} measured nothing"
    assert not target.isdigit() or any(one.bound is not None for one in found.figures), f"{target} checks nothing"
    path.write_text(json.dumps({"where": where, **json.loads(dump(found))}, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if none is given")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"rounds; at least {FEWEST}, {PAIRS} for a claim")
    parser.add_argument(
        "--page", action="store_true", help="write docs/performance.md from what is kept, measure nothing"
    )
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if given.pairs < FEWEST:
        parser.error(f"--pairs is {given.pairs}; an interval takes at least {FEWEST}")
    if given.child:
        [target] = given.targets
        child(target, given.pairs, given.child)
        return
    if given.page:
        from benchmarks.targets.page import write

        write(KEPT, TARGETS)
        return
    print("; ".join(describe().values()))
    found = [measured(target, given.pairs) for target in given.targets or TARGETS]
    verdicts = [one.verdict for part in found for one in part.figures if one.bound is not None]
    missed = sum(verdict != "met" for verdict in verdicts)
    print(f"\n{len(verdicts) - missed} met, {missed} missed")


if __name__ == "__main__":
    main()
