"""How many batches a second become durable, and what group commit is worth: `pytest benchmarks/wal --benchmark-enable`.

Every round writes 96 MiB into recycled segments; afterwards, untimed, all of it is read back and checked. A producer keeps
two batches in flight and sends the next when one is acknowledged, as a client with a credit of two pages does.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectord.model import Entry, EntryKind, IdLayout, Lsn, Partition, Schema, Stream
from collectord.wal.reader import LogReader
from collectord.wal.recovery import recover
from collectord.wal.writer import LogWriter

ROUND_BYTES = 96 << 20
WINDOW = 2
RAW = b"a schema"
SCHEMA = Schema(
    hashlib.sha256(RAW).digest()[:16], RAW, Stream(model="m"), (), True, IdLayout.UUID, IdLayout.NONE, False
)
PARTITION = Partition(SCHEMA.id, 440_000, 1440)


class Bench:
    """A log, its reader, and producers that live in the log's callbacks: the log's cost and nobody else's."""

    def __init__(self, path: Path, gap: float) -> None:
        spool_id = os.urandom(16)
        self.writer = LogWriter(
            path / "log", spool_id, recover(path / "log", spool_id), budget_bytes=1 << 30, commit_gap=gap
        )
        self.reader = LogReader(self.writer.catalog, Lsn(0))
        self.latencies: list[float] = []
        self.sequences: dict[bytes, int] = {}
        self.sent: list[tuple[bytes, int]] = []

    def entry(self, client: bytes, payload: bytes) -> Entry:
        sequence = self.sequences[client] = self.sequences.get(client, 0) + 1
        return Entry(EntryKind.BATCH, client, sequence, 1000, payload, SCHEMA, PARTITION)

    def in_groups(self, producers: int, payload: bytes, count: int) -> None:
        """`count` batches from so many producers, through the log's thread."""
        finished = threading.Event()
        left = count
        settled = 0

        def send(client: bytes) -> None:
            nonlocal left
            if left == 0:
                return
            left -= 1
            begun = time.perf_counter()
            entry = self.entry(client, payload)

            def done(error: Exception | None) -> None:
                nonlocal settled
                if error is not None:
                    raise error
                self.latencies.append(time.perf_counter() - begun)
                self.sent.append((client, entry.sequence))
                settled += 1
                if settled == count:
                    finished.set()
                send(client)

            self.writer.append([entry], done)

        clients = [number.to_bytes(16, "big") for number in range(producers)]
        for client in clients * WINDOW:
            send(client)
        assert finished.wait(120)

    def one_by_one(self, producers: int, payload: bytes, count: int) -> None:
        """The same with one sync per batch."""
        for number in range(count):
            client = (number % producers).to_bytes(16, "big")
            entry = self.entry(client, payload)
            begun = time.perf_counter()
            self.writer.append([entry], lambda error: None)
            self.writer.commit()
            self.latencies.append(time.perf_counter() - begun)
            self.sent.append((client, entry.sequence))

    def check(self, payload: bytes) -> None:
        """Reads back what was acknowledged and makes room."""
        page = bytearray(len(payload) + 4096)
        stored = self.reader.read(1 << 20)
        assert [(s.client, s.sequence) for s in stored] == self.sent
        for s in stored:
            assert self.reader.read_payload(s, page) == payload
        self.sent.clear()
        self.writer.retire(self.reader.position)


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(tmp_path, getattr(request, "param", 0.0))
    yield made
    made.writer.close()


def measure(benchmark: Any, bench: Bench, write: Any, producers: int, size: int) -> None:
    payload = os.urandom(size)
    count = ROUND_BYTES // size
    # Twice, so that every file that is timed is a recycled one.
    for _ in range(2):
        write(producers, payload, count)
        bench.check(payload)
    bench.latencies.clear()
    benchmark.pedantic(write, (producers, payload, count), rounds=3, teardown=lambda *_: bench.check(payload))
    latencies = sorted(bench.latencies)
    assert len(latencies) >= count
    if benchmark.enabled:
        benchmark.extra_info["batches_per_second"] = round(count / benchmark.stats.stats.median)
        benchmark.extra_info["ack_p50_ms"] = round(latencies[len(latencies) // 2] * 1e3, 2)
        benchmark.extra_info["ack_p99_ms"] = round(latencies[len(latencies) * 99 // 100] * 1e3, 2)


@pytest.mark.parametrize("bench", [0.0, 0.005], ids=["no gap", "5 ms gap"], indirect=True)
@pytest.mark.parametrize("producers", [1, 10, 50])
@pytest.mark.parametrize("size", [64 << 10, 256 << 10], ids=["64K", "256K"])
def test_group_commit(benchmark: Any, bench: Bench, producers: int, size: int) -> None:
    bench.writer.start()
    measure(benchmark, bench, bench.in_groups, producers, size)


@pytest.mark.parametrize("size", [64 << 10, 256 << 10], ids=["64K", "256K"])
def test_one_sync_per_batch(benchmark: Any, bench: Bench, size: int) -> None:
    measure(benchmark, bench, bench.one_by_one, 10, size)


@pytest.mark.parametrize("size", [1 << 10, 64 << 10], ids=["1K", "64K"])
def test_reading_headers(benchmark: Any, bench: Bench, size: int) -> None:
    """The reader over 32 MiB of entries, headers only."""
    count = (32 << 20) // size
    payload = os.urandom(size)
    for start in range(0, count, 500):
        for _ in range(min(500, count - start)):
            bench.writer.append([bench.entry(bytes(16), payload)], lambda error: None)
        bench.writer.commit()

    def read() -> int:
        return len(LogReader(bench.writer.catalog, Lsn(0)).read(1 << 20))

    assert benchmark.pedantic(read, rounds=3) == count
