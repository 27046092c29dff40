"""From the socket to the durable acknowledgement: records per second and the daemon's CPU per record."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.daemon import Sender, daemon, together


@pytest.mark.parametrize("clients", [1, 10])
@pytest.mark.parametrize("rows", [100, 3400])
def test_ingest_to_durable_ack(benchmark, clients: int, rows: int) -> None:
    """Batches of 6 float64 columns; 3400 rows fill a page of 256 KiB.

    The store refuses, so that one frame per stream is encoded and none is uploaded: the figure is that of receiving, judging,
    logging and acknowledging, and of reading the entries' headers back into the index.
    """
    batches = (400 if rows > 1000 else 8000) // clients
    with tempfile.NamedTemporaryFile(prefix="collectord-not-a-directory-") as obstacle, daemon(
        "--store", str(Path(obstacle.name) / "store"), "--flush-interval", "86400", "--memory-budget", "4GiB",
        "--drain-deadline", "0", "--log-level", "error",
    ) as running:  # fmt: skip
        senders = [Sender(running.socket, 6, rows, designation=f"d{n}") for n in range(clients)]
        together(senders, 5)
        before = running.cpu_seconds()
        rounds = 3
        benchmark.pedantic(together, args=(senders, batches), rounds=rounds, warmup_rounds=0)
        records = rounds * clients * batches * rows
        with running.control() as control:
            books = control.ledger()
        assert sum(book.received for book in books) == records + 5 * clients * rows
        assert sum(book.in_log for book in books) == records + 5 * clients * rows
        benchmark.extra_info["daemon_cpu_ns_per_record"] = round((running.cpu_seconds() - before) / records * 1e9)
        benchmark.extra_info["records_per_second"] = round(clients * batches * rows / benchmark.stats.stats.min)
        for sender in senders:
            sender.close()
