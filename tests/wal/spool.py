"""Builds logs for the tests of this room, without a thread and with nothing left to chance."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from collectord.model import Entry, EntryKind, IdLayout, Lsn, Partition, Schema, Stored, Stream
from collectord.wal.catalog import Catalog
from collectord.wal.disk import Disk
from collectord.wal.reader import LogReader
from collectord.wal.recovery import Recovered, recover
from collectord.wal.writer import LogWriter
from tests.wal.faults import FaultyDisk

SPOOL_ID = bytes(range(16))
CLIENT = b"client-of-a-test"


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall_ns(self) -> int:
        return 1_600_000_000_000_000_000

    def monotonic(self) -> float:
        return self.now


def schema(model: str = "m") -> Schema:
    raw = f"schema of {model}".encode()
    return Schema(
        hashlib.sha256(raw).digest()[:16], raw, Stream(model=model), (), True, IdLayout.UUID, IdLayout.NONE, False
    )


SCHEMA = schema()


def batch(sequence: int, payload: bytes, *, client: bytes = CLIENT, of: Schema = SCHEMA, rows: int = 3) -> Entry:
    return Entry(EntryKind.BATCH, client, sequence, rows, payload, of, Partition(of.id, 440_000, 1440))


def payload_of(number: int, length: int) -> bytes:
    """`length` bytes that no other number has."""
    return hashlib.shake_128(number.to_bytes(8, "little")).digest(length)


class Spool:
    """A spool directory and the log in it, which can be closed, killed and recovered again."""

    made: ClassVar[list[Spool] | None] = None
    """Where each one that is made is noted, for whoever closes them all."""

    def __init__(self, path: Path, *, segment_bytes: int = 16384, budget: int = 1 << 30, disk: Disk | None = None):
        self.log = path / "log"
        self.quarantine = path / "quarantine" / "log"
        self.segment_bytes = segment_bytes
        self.budget = budget
        self.disk = disk or Disk()
        self.clock = FakeClock()
        self.ids = itertools.count(1)
        if Spool.made is not None:
            Spool.made.append(self)
        self.recovered = self.recover()
        self.writer = self.write()

    def forget(self) -> None:
        """Closes what readers have open of the present writer's log, as the end of its process does."""
        if hasattr(self, "writer"):
            self.writer.catalog.close()

    def close(self) -> None:
        """Leaves nothing open, however far it has come."""
        self.forget()
        if isinstance(self.disk, FaultyDisk):
            self.disk.kill()
        else:
            self.writer.close()

    def random(self, count: int) -> bytes:
        return hashlib.shake_128(b"id %d" % next(self.ids)).digest(count)

    def recover(self, floor: int = 0) -> Recovered:
        return recover(self.log, SPOOL_ID, floor, disk=self.disk)

    def write(self, floor: int = 0) -> LogWriter:
        """Recovers and begins to write. The one before must be closed or killed."""
        self.forget()
        self.recovered = self.recover(floor)
        self.writer = LogWriter(
            self.log,
            SPOOL_ID,
            self.recovered,
            segment_bytes=self.segment_bytes,
            budget_bytes=self.budget,
            clock=self.clock,
            disk=self.disk,
            random=self.random,
        )
        return self.writer

    def commit(self, *entries: Entry) -> Exception | None:
        """Appends entries as one append, commits, and returns what `done` was told."""
        return self.commit_all([entries])[0]

    def commit_all(self, appends: Sequence[Sequence[Entry]]) -> list[Exception | None]:
        """One group (where it fits) of several appends."""
        told: list[Exception | None] = []
        for entries in appends:
            self.writer.append(entries, told.append)
        self.writer.commit()
        assert len(told) == len(appends)
        return told

    def files(self) -> list[Path]:
        return sorted(self.log.glob("*.seg"))


@contextmanager
def reading(recovered: Recovered, start: int = 0) -> Iterator[LogReader]:
    """A reader of what was recovered."""
    catalog = Catalog(recovered.segments, recovered.end)
    try:
        yield LogReader(catalog, Lsn(start))
    finally:
        catalog.close()


def read_back(recovered: Recovered, start: int = 0) -> list[Stored]:
    """Everything that a reader finds."""
    with reading(recovered, start) as reader:
        return reader.read(1 << 30)


def payloads(recovered: Recovered) -> list[tuple[int, bytes]]:
    """Sequence and payload of all that a reader finds, read through the reader."""
    with reading(recovered) as reader:
        found = [(stored.sequence, bytes(reader.read_payload(stored))) for stored in reader.read(1 << 30)]
    assert not reader.damages
    return found


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Turns over one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)
