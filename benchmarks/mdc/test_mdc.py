"""The v2 door: how long a sender waits for its answer, in fdatasyncs of the same disk in the same run.

The SDK has one thread per process that posts, and a connection for each payload: ten senders are ten scoring processes. Back to
back they are a queue in front of two cores, and then an answer takes ten times what one payload costs daemon and sender.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.daemon import daemon
from benchmarks.slowdisk import slow_disk, sync

SENDER = Path(__file__).with_name("sender.py")
FLOOR, WORK = Path(__file__).with_name("floor.py"), Path(__file__).with_name("work.py")
START_SECONDS, SECONDS = 1.0, 4.0
PACES = {
    "one sender, back to back": (1, 0.0),
    "ten senders, back to back": (10, 0.0),
    "ten senders, 100 payloads a second": (10, 0.1),
}
"""How many senders, and what each waits between an answer and its next payload, on average."""


def sync_times(folder: Path, ends: float, pause: float, delay: float = 0.0) -> list[float]:
    """Of a write of 4 KiB and its fdatasync, into a file that has its blocks already, as a segment of the log has; with a `delay`,
    as on a slow disk."""
    took = []
    path = folder / "sync"
    path.write_bytes(bytes(1 << 20))
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    try:
        while time.monotonic() < ends:
            began = time.perf_counter()
            os.pwrite(descriptor, os.urandom(4096), len(took) % 256 * 4096)
            sync(descriptor, delay)
            took.append(time.perf_counter() - began)
            time.sleep(pause)
    finally:
        os.close(descriptor)
    return took


@pytest.mark.parametrize("slower", [0.0, 0.001], ids=["this disk", "a sync takes 1 ms more"])
@pytest.mark.parametrize("rows", [10, 100])
@pytest.mark.parametrize("pace", PACES)
def test_answer_in_fdatasyncs(benchmark, pace: str, rows: int, slower: float) -> None:
    """The median answer should take at most three times the median fdatasync; two servers that the same senders ask say what can be
    had here.

    One fdatasync is measured beside the senders. The floor is a server on an event loop that does nothing but one fdatasync
    for all that wait; the work is done by a thread that does nothing else.
    """
    senders, pause = PACES[pace]
    port = free_port()
    with (
        slow_disk(slower) as environment,
        daemon(
            "--mdc", f"127.0.0.1:{port}", "--flush-interval", "86400", "--drain-deadline", "0",
            environment=environment,
        ) as running,
    ):  # fmt: skip
        cpu = running.cpu_seconds()
        took, beside = benchmark.pedantic(send, args=(running.folder, port, rows, senders, pause, slower), rounds=1)
        cpu = running.cpu_seconds() - cpu
        with running.control() as control:
            assert sum(book.received for book in control.ledger()) == rows * len(took)
        others = {}
        for name, server in {"floor": FLOOR, "work": WORK}.items():
            with other(server, running.folder, environment) as port:
                medians = map(statistics.median, send(running.folder, port, rows, senders, pause, slower))
            others[name] = list(medians)
    answer, one = map(statistics.median, (took, beside))
    told = {
        "answer_ms": answer * 1e3,
        "answer_p99_ms": statistics.quantiles(took, n=100)[-1] * 1e3,
        "fdatasync_ms": one * 1e3,
        "ratio": answer / one,
        **{f"{name}_ms": least * 1e3 for name, (least, _) in others.items()},
        **{f"{name}_ratio": least / one for name, (least, one) in others.items()},
        "payloads_per_second": len(took) / SECONDS,
        "daemon_cpu_ms": cpu / len(took) * 1e3,
    }
    benchmark.extra_info.update({name: round(value, 3) for name, value in told.items()})
    print(
        f"\n{pace}, {rows} rows{f', syncs {slower * 1e3:g} ms slower' if slower else ''}: "
        + ", ".join(f"{name} {value:.3g}" for name, value in told.items())
    )


def send(
    folder: Path, port: int, rows: int, number: int, pause: float, slower: float
) -> tuple[list[float], list[float]]:
    """How long the answers took, and fdatasyncs in `folder` meanwhile."""
    begin = time.monotonic() + START_SECONDS
    times = [str(pause), str(begin), str(begin + SECONDS)]
    senders = [
        subprocess.Popen([sys.executable, SENDER, str(port), str(rows), *times], stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    time.sleep(begin - time.monotonic())
    beside = sync_times(folder, begin + SECONDS, 0.01, slower)
    said: list[dict[str, Any]] = [json.loads(sender.communicate(timeout=60)[0]) for sender in senders]
    assert not any(sender["refused"] for sender in said)
    took = [second for sender in said for second in sender["took"]]
    assert len(took) > 100
    return took, beside


@contextmanager
def other(server: Path, folder: Path, environment: Mapping[str, str] | None) -> Iterator[int]:
    """The port of another server."""
    port = free_port()
    process = subprocess.Popen([sys.executable, server, str(port), str(folder / server.stem)], env=environment)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            assert process.poll() is None, f"{server.name} did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
