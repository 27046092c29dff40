"""A daemon's log, ledger and pipeline on one spool, with a store in memory, and a client that makes entries for it."""

from __future__ import annotations

import io
import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collectord._pb import collector_pb2 as pb
from collectord.buffer.seal import SealRules
from collectord.clock import SystemClock
from collectord.encode import frame_reader
from collectord.encode.frame_reader import iter_frames
from collectord.files import Reserve
from collectord.ingest.marks import Marks
from collectord.metrics import Metrics
from collectord.model import Entry, EntryKind, Partition, Schema
from collectord.outputs import Outputs
from collectord.pipeline import Pipeline
from collectord.pipeline.exports import Destinations
from collectord.pipeline.lag import Limits
from collectord.pipeline.parking import budget_of
from collectord.pipeline.rebuild import Found, Options
from collectord.quarantine import ROWS_DIRECTORY
from collectord.schema import parse_schema
from collectord.telemetry.exporter import Exporter
from collectord.testing.store import MemoryStore
from collectord.upload.appender import Appender
from collectord.upload.ledger import Ledger
from collectord.upload.naming import Layout
from collectord.upload.schemas import SchemaPublisher
from collectord.upload.store import CONTROL_PREFIX
from collectord.wal.disk import Disk
from collectord.wal.parked import ParkedLog
from collectord.wal.reader import LogReader
from collectord.wal.recovery import recover
from collectord.wal.writer import LogWriter
from tests.e2e.waiting import eventually

HOUR = 3_600_000_000_000
NOON = 1_700_000_000 // 86_400 * 86_400 * 1_000_000_000 + 12 * HOUR


class Node:
    """Log, ledger and pipeline on one spool; may be stopped and opened again."""

    def __init__(
        self,
        spool: Path,
        store: MemoryStore,
        *,
        flush_bytes: int = 1 << 20,
        flush_interval: float = 3600,
        segment_bytes: int = 1 << 20,
        log_bytes: int = 64 << 20,
        parked_budget: int | None = None,
        parked_disk: Disk | None = None,
        damaged: bool = False,
        makers: int = 2,
        mdc: Sequence[str] = (),
        exporters: Sequence[Exporter] = (),
        limits: Limits = Limits(3600, 1 << 30),  # noqa: B008
        codec: str = "zstd",
    ) -> None:
        spool.mkdir(exist_ok=True)
        self.spool = spool
        self._stopped = False
        self.ledger = Ledger(spool)
        self.ledger_spool_id = self.ledger.spool_id
        parked = ParkedLog(spool / "parked", self.ledger.spool_id, disk=parked_disk)
        self.recovered = recover(spool / "log", self.ledger.spool_id, max(self.ledger.lsn_floor(), parked.end))
        self.log = LogWriter(
            spool / "log", self.ledger.spool_id, self.recovered, segment_bytes=segment_bytes, budget_bytes=log_bytes
        )
        self.marks = Marks()
        self.marks.restore((mark.client, mark.mark, mark.seen_ns) for mark in self.ledger.clients())
        layout = Layout(
            suffix={"zstd": ".zst", "gzip": ".gz", "none": ""}[codec],
            writer=self.ledger.writer_id.hex(),
            outputs=Outputs(mdc),
        )
        clock = SystemClock()
        self.metrics = Metrics()
        segments = self.recovered.segments
        self.pipeline = Pipeline(
            log=self.log,
            reader=LogReader(self.log.catalog, segments[0].base if segments else self.recovered.end),
            ledger=self.ledger,
            appender=Appender(store, self.ledger, spool / "frames", layout, frame_reader, clock, random.Random(1)),
            schemas=SchemaPublisher(store),
            reserve=Reserve(spool / "reserve", 1 << 20),
            layout=layout,
            marks=self.marks,
            metrics=self.metrics,
            clock=clock,
            rules=SealRules(flush_bytes, 2 << 20, flush_interval, b"salt"),
            codec=codec,
            level=1,
            lowercase_workspace=False,
            workers=4,
            makers=makers,
            max_streams=1000,
            share=1.0,
            mark_seconds=1e6,
            connected=frozenset,
            received={stream: counts.rows for stream, counts in self.recovered.counts.snapshot().items()},
            received_to=self.recovered.end,
            parked=parked,
            parked_budget=budget_of(log_bytes, segment_bytes) if parked_budget is None else parked_budget,
            quarantine=self.quarantine,
            quarantine_budget=1 << 20,
            destinations=Destinations(exporters, store, limits),
            node="n1",
        )
        assert bool(self.recovered.damages or self.recovered.losses) == damaged
        self.pipeline.replay(damaged)
        self.log.start()
        self.pipeline.start()

    def append(self, *entries: Entry) -> None:
        """Makes entries durable and waits for it."""
        finished = threading.Event()
        errors: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error is not None:
                errors.append(error)
            finished.set()

        self.log.append(entries, done)
        assert finished.wait(10)
        assert not errors, errors

    def stop(self) -> None:
        """May be repeated."""
        if self._stopped:
            return
        self._stopped = True
        self.log.close()
        self.pipeline.stop()
        self.ledger.close()

    def lose_ledger(self) -> None:
        """It is gone together with the process: who starts next on the spool gets another writer."""
        self.stop()
        for path in self.spool.glob("ledger.sqlite*"):
            path.unlink()
        Ledger(self.spool, self.ledger_spool_id).close()

    @property
    def quarantine(self) -> Path:
        return self.spool / ROWS_DIRECTORY

    def settle(self) -> None:
        """Everything has landed, or was set aside, when this returns."""
        wait_until(lambda: self.pipeline.flush(0.2))

    def numbers(self) -> tuple[int, int, int, int]:
        """Of its only stream: received, landed, waiting and quarantined, which balance."""
        (book,) = self.pipeline.overview.books()
        assert book.missing == 0, book
        return book.received, book.landed, book.in_log, book.quarantined

    def balanced(self) -> bool:
        books = self.pipeline.overview.books()
        assert books
        return not any(book.missing for book in books)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def node(tmp_path: Path, store: MemoryStore) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def make(**settings: Any) -> Node:
        nodes.append(Node(tmp_path / "spool", store, **settings))
        return nodes[-1]

    yield make
    for made in nodes:
        made.stop()


def schema(designation: str = "inputs", columns: tuple[str, ...] = ("x", "y")) -> Schema:
    message = pb.Schema(
        stream=pb.Stream(model="m", designation=designation),
        columns=[pb.Column(name=name, type=pb.COLUMN_TYPE_FLOAT64) for name in columns],
        layout=pb.LAYOUT_TENSOR,
        correlation=pb.ID_LAYOUT_UUID,
    )
    return parse_schema(message.SerializeToString())


class Client:
    """Makes entries as ingest would, and remembers what it gave."""

    def __init__(self, of: Schema) -> None:
        self.schema = of
        self.id = os.urandom(16)
        self.sequence = 0
        self.ids: list[str] = []

    def batch(self, rows: int, time_ns: int = NOON) -> Entry:
        self.sequence += 1
        ids = [uuid.uuid4() for _ in range(rows)]
        self.ids += [str(one) for one in ids]
        values = np.random.default_rng(self.sequence).standard_normal((rows, len(self.schema.columns)))
        message = pb.Batch(
            sequence=self.sequence,
            schema_id=self.schema.id,
            rows=rows,
            requests=pb.Requests(
                times=np.full(rows, time_ns).tobytes(), correlation_ids=b"".join(one.bytes for one in ids)
            ),
            tensor=values.tobytes(),
        )
        partition = Partition.of(self.schema.id, time_ns, 1440)
        payload = message.SerializeToString()
        return Entry(EntryKind.BATCH, self.id, self.sequence, rows, payload, self.schema, partition)


def find(node: Node, store: MemoryStore, **options: object) -> list[Found]:
    """What a rebuild of its ledger would find of each partition, in the store."""
    search = node.pipeline.search_for_landed(store, Options(**options))  # type: ignore[arg-type]
    return [
        search.look_for(partition, node.pipeline.overview.waiting_entries(partition))
        for partition, _ in node.pipeline.overview.waiting_partitions()
    ]


def landed_ids(store: MemoryStore, contains: str = "") -> list[str]:
    """The correlation ids in the blobs, in their order; every blob has one header."""
    ids: list[str] = []
    for name, blob in sorted(store.blobs.items()):
        if contains not in name or name.startswith(CONTROL_PREFIX):
            continue
        text = b"".join(piece.text for piece in iter_frames("zstd", io.BytesIO(bytes(blob.content))))
        header, *rows = text.decode().splitlines()
        column = header.split(",").index("$aml_dc_correlation_id")
        assert not [row for row in rows if row == header]
        ids += [row.split(",")[column] for row in rows]
    return ids


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Returns as soon as the condition holds; fails if it never does."""
    eventually(condition, "the condition holds", seconds, 0.02)
