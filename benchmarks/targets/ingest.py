"""Target 5: from the socket to the durable acknowledgement.

The store refuses meanwhile: what is measured is receiving, judging, logging, acknowledging, and reading the entries' headers into
the index. The rows of a round land, unmeasured, before the next one, so that the log writes into recycled files as it does
wherever the store keeps up (`benchmarks/ingest/recycled.py`).
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.daemon import FOLDER, Sender
from benchmarks.ingest.floor import FloorSender, floor
from benchmarks.ingest.recycled import ROUND_BYTES, Taking, taking
from benchmarks.ingest.test_ingest import COLUMNS, PAGE_ROWS, ROW_BYTES, most, most_of_all, paced
from benchmarks.pairs import FEWEST, Interval, interval, ratio
from benchmarks.slowdisk import slow_disk, sync
from benchmarks.targets.figure import Figure, Measured, at_least, at_most
from benchmarks.wal.test_log import Bench

CLIENTS = 2
PAGES = ROUND_BYTES // (PAGE_ROWS * ROW_BYTES) // CLIENTS
"""Of each client, in a round."""
SLOW_CLIENTS = 50
SLOW_ROWS = 100
SECONDS = 3
"""Of a round of slow clients."""
STREAMS = 10
ROWS = 1000
"""Of a batch, where waiting is measured."""
BATCHES = 20
PAYLOAD = bytes(ROW_BYTES * ROWS)
SLOWER = 0.004
"""Seconds: a sync of a cloud's disk takes some milliseconds."""
PAUSE = 0.1
"""Seconds that a client rests on average between an answer and its next batch, where the daemon has little to do."""
COUNT = 500


def measure(pairs: int) -> Measured:
    return Measured([*_full_speed(pairs), *_slow(pairs), *_waiting(pairs), *_log(pairs)])


def senders_of(daemon: Taking, count: int, rows: int, framed: bool = True) -> list[Sender]:
    return [Sender(daemon.running.socket, COLUMNS, rows, 4, f"d{number}", framed=framed) for number in range(count)]


def landed(daemon: Taking) -> int:
    """Rows in the store, and nothing waits."""
    daemon.land()
    with daemon.running.control() as control:
        books = control.ledger()
    assert sum(book.received for book in books) == sum(book.landed for book in books)
    return sum(book.landed for book in books)


def _full_speed(pairs: int) -> list[Figure]:
    spent, speed, possible, grpc_spent, grpc_speed = [], [], [], [], []
    records = CLIENTS * PAGES * PAGE_ROWS
    with (
        tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder,
        taking() as daemon,
        floor(Path(folder)) as at,
    ):
        ours, theirs = (senders_of(daemon, CLIENTS, PAGE_ROWS, framed) for framed in (True, False))
        floors = [FloorSender(at, bytes(PAGE_ROWS * ROW_BYTES)) for _ in range(CLIENTS)]
        for number in range(pairs + 1):
            for senders, costs, speeds in ((ours, spent, speed), (theirs, grpc_spent, grpc_speed)):
                known = landed(daemon)
                # What `most` begins with, landing and refusing, is done by now and costs nothing more.
                daemon.refuse()
                before = daemon.running.cpu_seconds()
                fast = most(daemon, senders, PAGES)
                cpu = daemon.running.cpu_seconds() - before
                assert landed(daemon) - known == records
                if number:
                    costs.append(cpu / records * 1e6)
                    speeds.append(fast / 1e6)
            least = most_of_all(floors, PAGES)
            if number:
                possible.append(least / 1e6)
        for sender in (*ours, *theirs, *floors):
            sender.close()
    limit = interval(possible)
    return [
        Figure("daemon CPU per record, full pages", "µs", interval(spent), at_most(0.2)),
        Figure(
            "records/s of two clients", "million", interval(speed), at_least(min(4.0, limit.middle)),
            f"raw sockets and fdatasync: {limit.middle:.1f}, {limit.low:.1f} to {limit.high:.1f}; asked for is the less of it and 4",
        ),
        Figure("daemon CPU per record, full pages, over gRPC", "µs", interval(grpc_spent)),
        Figure("records/s of two clients, over gRPC", "million", interval(grpc_speed)),
    ]  # fmt: skip


def _slow(pairs: int) -> list[Figure]:
    """Fifty clients, each with one batch a second."""
    name = f"{SLOW_CLIENTS} clients, a batch a second each"
    return [
        Figure(name, "% of a core", interval(_shares(pairs, framed=True)), at_most(6.0)),
        Figure(f"{name}, over gRPC", "% of a core", interval(_shares(pairs, framed=False))),
    ]


def _shares(pairs: int, framed: bool) -> list[float]:
    """Of a core, in percent, that a daemon takes for them."""
    shares = []
    with taking() as daemon:
        senders = senders_of(daemon, SLOW_CLIENTS, SLOW_ROWS, framed)
        paced(senders, 1)
        for _ in range(pairs):
            before = daemon.running.cpu_seconds()
            paced(senders, SECONDS)
            shares.append((daemon.running.cpu_seconds() - before) / SECONDS * 100)
        assert landed(daemon) == SLOW_CLIENTS * SLOW_ROWS * (1 + pairs * SECONDS)
        for sender in senders:
            sender.close()
    return shares


def _waiting(pairs: int) -> list[Figure]:
    """On the disk that is there, and on one whose syncs take as long as those of a cloud's disk do."""
    here, slow = _acks(pairs), _acks(max(FEWEST, pairs // 2), SLOWER)
    calm = f"{STREAMS / PAUSE:.0f} batches a second in all"
    slower = f"where a sync takes {SLOWER * 1e3:g} ms more"
    return [
        Figure("ack p99 at 10 streams / a median fdatasync", "×", here["p99"], at_most(3.0), "each waits for its ack, and sends the next"),
        Figure("ack p50 at 10 streams / a median fdatasync", "×", here["p50"]),
        Figure("ack p99 at 10 streams / the p99 of fdatasync", "×", here["tail"]),
        Figure("the same from raw sockets: p99 / a median fdatasync", "×", here["raw p99"]),
        Figure(f"ack p99 at 10 streams, {calm} / a median fdatasync", "×", here["calm p99"]),
        Figure(f"ack p50 at 10 streams, {calm} / a median fdatasync", "×", here["calm p50"]),
        Figure("the same from raw sockets: p99 / a median fdatasync", "×", here["calm raw p99"]),
        Figure(f"ack p99 at 10 streams, {slower} / a median fdatasync", "×", slow["p99"]),
        Figure("the same from raw sockets: p99 / a median fdatasync", "×", slow["raw p99"]),
        Figure(f"ack p99 at 10 streams, {slower}, {calm} / a median fdatasync", "×", slow["calm p99"]),
        Figure("the same from raw sockets: p99 / a median fdatasync", "×", slow["calm raw p99"]),
    ]  # fmt: skip


def _acks(pairs: int, slower: float = 0.0) -> dict[str, Interval]:
    """What ten clients wait for an acknowledgement, each with one batch at a time, in times of what a sync of as much takes; the
    same of raw sockets. Once as fast as they are answered, and once, `calm`, with a hundred batches a second in all. Syncs take
    `slower` seconds more than they would."""
    rounds: dict[str, list[float]] = {}
    with (
        slow_disk(slower) as environment,
        tempfile.TemporaryDirectory(prefix=FOLDER) as folder,
        taking(environment=environment) as daemon,
        floor(Path(folder), environment) as at,
    ):
        senders = senders_of(daemon, STREAMS, ROWS)
        floors = [FloorSender(at, PAYLOAD) for _ in range(STREAMS)]
        syncing = _syncing(Path(folder) / "synced", slower)
        for number in range(pairs + 1):
            for pause, name in ((0.0, ""), (PAUSE, "calm ")):
                known = landed(daemon)
                daemon.refuse()
                acked = _one_by_one(senders, pause)
                assert landed(daemon) - known == STREAMS * BATCHES * ROWS
                answered = _one_by_one(floors, pause)
                synced = []
                for _ in range(STREAMS * BATCHES):
                    # A disk and a core that were idle answer later.
                    time.sleep(pause / STREAMS)
                    synced.append(syncing())
                if number:
                    median = statistics.median(synced)
                    for key, value in (
                        ("p99", _p99(acked) / median), ("p50", statistics.median(acked) / median),
                        ("tail", _p99(acked) / _p99(synced)), ("raw p99", _p99(answered) / median),
                    ):  # fmt: skip
                        rounds.setdefault(name + key, []).append(value)
        for sender in (*senders, *floors):
            sender.close()
    return {key: interval(values) for key, values in rounds.items()}


def _one_by_one(senders: Sequence[Sender | FloorSender], pause: float = 0.0) -> list[float]:
    """Seconds until each batch had its answer; every sender waits for it before the next, and rests for `pause` on average."""
    waited: list[float] = []

    def send(sender: Sender | FloorSender) -> None:
        for _ in range(BATCHES):
            if pause:
                time.sleep(random.expovariate(1 / pause))
            began = time.perf_counter()
            sender.send(1)
            waited.append(time.perf_counter() - began)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(waited) == len(senders) * BATCHES
    return waited


def _syncing(path: Path, slower: float) -> Callable[[], float]:
    """Seconds for a batch's bytes, written into a file that is there and synced, which takes `slower` seconds more than it would."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    slots = 64
    os.pwrite(file, bytes(slots * len(PAYLOAD)), 0)
    os.fsync(file)
    turn = iter(range(1 << 30))

    def take() -> float:
        began = time.perf_counter()
        os.pwrite(file, PAYLOAD, next(turn) % slots * len(PAYLOAD))
        sync(file, slower)
        return time.perf_counter() - began

    return take


def _log(pairs: int) -> list[Figure]:
    """The log by itself: ten streams with batches of 1,000 records, in groups and each with a sync of its own."""
    grouped, alone = [], []
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder:
        benches = [Bench(Path(folder) / name, 0.0) for name in ("groups", "alone")]
        benches[0].writer.start()
        for number in range(pairs + 2):
            seconds = []
            for bench, write in zip(benches, (benches[0].in_groups, benches[1].one_by_one), strict=True):
                began = time.perf_counter()
                write(STREAMS, PAYLOAD, COUNT)
                seconds.append(time.perf_counter() - began)
                bench.check(PAYLOAD)
            # From the third round on every file is a recycled one.
            if number >= 2:
                grouped.append(seconds[0])
                alone.append(seconds[1])
        for bench in benches:
            bench.writer.close()
    return [Figure("group commit / one fdatasync per batch", "×", ratio(alone, grouped), at_least(2.5))]


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]
