"""The v2 door: how long a sender waits for its answer, in fdatasyncs of the same disk in the same run."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.daemon import Running, daemon

SENDER = Path(__file__).with_name("sender.py")
SENDERS = 10
START_SECONDS, SECONDS = 1.0, 5.0
PAUSES = {"back to back": 0.0, "100 payloads a second": SENDERS / 100}
"""What a sender waits between an answer and its next payload, on average."""

Sent = dict[str, Any]


def sync_times(folder: Path, ends: float, pause: float) -> list[float]:
    """Of a write of 4 KiB and its fdatasync, into a file that has its blocks already, as a segment of the log has."""
    took = []
    path = folder / "sync"
    path.write_bytes(bytes(1 << 20))
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    try:
        while time.monotonic() < ends:
            began = time.perf_counter()
            os.pwrite(descriptor, os.urandom(4096), len(took) % 256 * 4096)
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
            time.sleep(pause)
    finally:
        os.close(descriptor)
    return took


@pytest.mark.parametrize("rows", [10, 100])
@pytest.mark.parametrize("pace", PAUSES)
def test_answer_in_fdatasyncs(benchmark, pace: str, rows: int) -> None:
    """The median answer at ten concurrent senders should take at most three times the median fdatasync.

    One fdatasync is measured beside the senders, and alone before them.
    """
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with daemon("--mdc", f"127.0.0.1:{port}", "--flush-interval", "86400", "--drain-deadline", "0") as running:
        alone = sync_times(running.folder, time.monotonic() + 1, 0.005)
        senders, beside = benchmark.pedantic(send, args=(running, port, rows, PAUSES[pace]), rounds=1)
        took = [second for sender in senders for second in sender["took"]]
        assert not any(sender["refused"] for sender in senders)
        assert len(took) > 100
        with running.control() as control:
            assert sum(book.received for book in control.ledger()) == rows * len(took)
    answer, sync, sync_alone = (statistics.median(times) for times in (took, beside, alone))
    told = {
        "answer_ms": answer * 1e3,
        "answer_p99_ms": statistics.quantiles(took, n=100)[-1] * 1e3,
        "fdatasync_ms": sync * 1e3,
        "fdatasync_alone_ms": sync_alone * 1e3,
        "ratio": answer / sync,
        "ratio_alone": answer / sync_alone,
        "payloads_per_second": len(took) / SECONDS,
    }
    benchmark.extra_info.update({name: round(value, 3) for name, value in told.items()})
    print(f"\n{pace}, {rows} rows: " + ", ".join(f"{name} {value:.3g}" for name, value in told.items()))


def send(running: Running, port: int, rows: int, pause: float) -> tuple[list[Sent], list[float]]:
    begin = time.monotonic() + START_SECONDS
    times = [str(pause), str(begin), str(begin + SECONDS)]
    senders = [
        subprocess.Popen([sys.executable, SENDER, str(port), str(rows), *times], stdout=subprocess.PIPE)
        for _ in range(SENDERS)
    ]
    time.sleep(begin - time.monotonic())
    beside = sync_times(running.folder, begin + SECONDS, 0.01)
    said = [json.loads(sender.communicate(timeout=60)[0]) for sender in senders]
    return said, beside
