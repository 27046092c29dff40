"""From the socket to the durable acknowledgement: records per second and the daemon's CPU per record."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import pytest

from benchmarks.daemon import Sender, together
from benchmarks.ingest.floor import FloorSender, floor
from benchmarks.ingest.recycled import ROUND_BYTES, Taking, taking

COLUMNS = 6
PAGE_ROWS = 3400
"""They fill a page of 256 KiB."""
ROW_BYTES = 8 * COLUMNS + 16 + 8
ROUNDS = 3


@pytest.mark.parametrize("clients", [1, 10])
@pytest.mark.parametrize("rows", [100, PAGE_ROWS])
def test_ingest_to_durable_ack(benchmark, clients: int, rows: int) -> None:
    """The figure is that of receiving, judging, logging and acknowledging, and of reading the entries' headers back into the index;
    one frame per stream is encoded, and none is uploaded."""
    batches = min(4000, ROUND_BYTES // (rows * ROW_BYTES)) // clients
    records = clients * batches * rows
    cpu = 0.0
    with taking() as daemon:
        senders = [Sender(daemon.running.socket, COLUMNS, rows, designation=f"d{n}") for n in range(clients)]

        def prepare() -> None:
            nonlocal cpu
            daemon.land()
            daemon.refuse()
            cpu -= daemon.running.cpu_seconds()

        def done() -> None:
            nonlocal cpu
            cpu += daemon.running.cpu_seconds()

        together(senders, batches)
        benchmark.pedantic(
            lambda: together(senders, batches), setup=prepare, teardown=done, rounds=ROUNDS, warmup_rounds=0
        )
        daemon.land()
        with daemon.running.control() as control:
            assert sum(book.landed for book in control.ledger()) == (ROUNDS + 1) * records
        benchmark.extra_info["daemon_cpu_ns_per_record"] = round(cpu / (ROUNDS * records) * 1e9)
        benchmark.extra_info["records_per_second"] = round(records / benchmark.stats.stats.min)
        for sender in senders:
            sender.close()


def most(daemon: Taking, senders: list[Sender], batches: int) -> float:
    """Records per second that come in, into recycled files."""
    daemon.land()
    daemon.refuse()
    began = time.perf_counter()
    together(senders, batches)
    return len(senders) * batches * senders[0].rows / (time.perf_counter() - began)


def most_of_all(senders: list[FloorSender], batches: int) -> float:
    """The same of the floor."""
    threads = [threading.Thread(target=sender.send, args=(batches,)) for sender in senders]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(senders) * batches * PAGE_ROWS / (time.perf_counter() - began)


def test_two_clients_against_raw_sockets_and_syncs(benchmark) -> None:
    """What this machine allows, in turns with what we do: full pages of two clients."""
    batches = ROUND_BYTES // (PAGE_ROWS * ROW_BYTES) // 2
    ours: list[float] = []
    theirs: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder,
        taking() as daemon,
        floor(Path(folder)) as at,
    ):
        senders = [Sender(daemon.running.socket, COLUMNS, PAGE_ROWS, designation=f"d{n}") for n in range(2)]
        lowest = [FloorSender(at, bytes(PAGE_ROWS * ROW_BYTES)) for _ in range(2)]
        most(daemon, senders, batches)

        def once() -> None:
            ours.append(most(daemon, senders, batches))
            theirs.append(most_of_all(lowest, batches))

        benchmark.pedantic(once, rounds=5)
        daemon.land()
        with daemon.running.control() as control:
            assert sum(book.landed for book in control.ledger()) == 6 * 2 * batches * PAGE_ROWS
        shares = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        benchmark.extra_info.update(
            records_per_second=round(max(ours)), floor=round(max(theirs)), share=round(shares[len(shares) // 2], 2)
        )
        for sender in (*senders, *lowest):
            sender.close()


def paced(senders: list[Sender], seconds: int) -> None:
    """Every sender sends a batch a second, each at its own moment."""

    def run(sender: Sender, after: float) -> None:
        began = time.monotonic() + after
        for second in range(seconds):
            time.sleep(max(0.0, began + second - time.monotonic()))
            sender.send(1)

    threads = [
        threading.Thread(target=run, args=(sender, number / len(senders))) for number, sender in enumerate(senders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_fifty_clients_with_a_batch_a_second(benchmark) -> None:
    """The share of a core that they take: isolated batches of 100 rows."""
    seconds = 6
    with taking() as daemon:
        senders = [Sender(daemon.running.socket, COLUMNS, 100, distinct=2, designation=f"d{n}") for n in range(50)]
        together(senders, 1)
        before = daemon.running.cpu_seconds()
        benchmark.pedantic(paced, args=(senders, seconds), rounds=1)
        cpu = daemon.running.cpu_seconds() - before
        daemon.land()
        with daemon.running.control() as control:
            assert sum(book.landed for book in control.ledger()) == 50 * (seconds + 1) * 100
        benchmark.extra_info["percent_of_a_core"] = round(100 * cpu / seconds, 1)
        for sender in senders:
            sender.close()
