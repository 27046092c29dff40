"""Target 7: from the command to a daemon that lets clients in, and how fast it reads the log that it finds.

Two spools, an empty one and one with a log that could not land, are started and stopped in turn. The full one's log is found,
checked and replayed into the index; its speed is told with the start-up around it, so it is rather more. Its files are in the
page cache, as after a crash of the daemon.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.daemon import Running, Sender
from benchmarks.pairs import interval
from benchmarks.targets.figure import Figure, Measured, at_least, at_most

LOG_BYTES = 2 << 30
ROWS = 3276
BATCH_BYTES = ROWS * 72


def started(folder: Path) -> tuple[float, Running]:
    """Seconds until the daemon said that it is ready, and the daemon."""
    obstacle = folder / "not-a-directory"
    obstacle.touch()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "collectord", "serve", "--spool", str(folder / "spool"), "--store", str(obstacle / "store"),
         "--listen", f"unix:{folder / 's'}", "--flush-interval", "3600", "--drain-deadline", "0", "--log-format", "json"],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["event"] == "ready":
            return time.perf_counter() - began, Running(folder, folder / "s", process)
    raise AssertionError(f"the daemon did not start: {process.wait()}")


def stop(running: Running) -> None:
    running.process.terminate()
    running.process.communicate(timeout=60)


def measure(pairs: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as name:
        empty, full = Path(name) / "empty", Path(name) / "full"
        empty.mkdir()
        full.mkdir()
        _, running = started(full)
        sender = Sender(running.socket, 6, ROWS, 4)
        batches = LOG_BYTES // BATCH_BYTES
        sender.send(batches)
        sender.close()
        stop(running)
        taken: dict[Path, list[float]] = {empty: [], full: []}
        for _ in range(pairs):
            for folder, times in taken.items():
                took, running = started(folder)
                times.append(took)
                with running.control() as control:
                    found = sum(book.in_log for book in control.ledger())
                assert found == (batches * ROWS if folder is full else 0)
                stop(running)
    speeds = [batches * BATCH_BYTES / 1e6 / took for took in taken[full]]
    return Measured(
        [
            Figure("start-up to ready, empty log", "s", interval(taken[empty]), at_most(1.5)),
            Figure(
                "recovery, the start-up included",
                "MB/s of log",
                interval(speeds),
                at_least(500.0),
                f"{LOG_BYTES >> 20} MiB of log",
            ),
        ]
    )
