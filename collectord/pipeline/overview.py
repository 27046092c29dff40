"""What the pipeline answers when it is asked: the books, what waits, what is in trouble. Nothing is changed here.

Threads: any. Each answer holds the lock for as long as it looks, and no longer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from heapq import merge
from typing import NamedTuple

from collectord.books import StreamBooks
from collectord.buffer.entries import Entries
from collectord.buffer.index import BEGINNING
from collectord.clock import Clock
from collectord.errors import Rejected
from collectord.model import HOUR_NS, Lsn, Partition, Place, Schema, Stream
from collectord.pipeline.known import Known
from collectord.pipeline.last_errors import LastError
from collectord.pipeline.parking import Parking
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import PATIENCE, State
from collectord.pipeline.troubles import Trouble
from collectord.upload.records import Intent
from collectord.wal.damage import DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.writer import LogWriter

LOOK_PATIENCE = 0.25
"""Seconds that a look waits for what is durable and was not read yet; who asks for rows or books waits for `state.PATIENCE`."""


class Waiting(NamedTuple):
    """What waits, in short."""

    rows: int
    partitions: int
    oldest_seconds: float
    """Age of the oldest row."""


class Overview:
    """Looks at what the pipeline's threads share."""

    def __init__(
        self,
        state: State,
        *,
        log: LogWriter,
        known: Known,
        sources: Sources,
        parked: ParkedLog,
        parking: Parking,
        clock: Clock,
        begun: Collection[Intent],
    ) -> None:
        """`begun`: the frames that were under way at the start. Entries of theirs may be in no log any more, and land."""
        self._state = state
        self._log = log
        self._known = known
        self._sources = sources
        self._parked = parked
        self._parking = parking
        self._clock = clock
        self._begun = begun

    # ------------------------------------------------------------------ books

    def books(self, patience: float = PATIENCE) -> list[StreamBooks]:
        """Every stream's books, at one moment, after everything that is durable by now was taken in, if that does not last."""
        with self._state.lock:
            self._state.take_in(self._log.durable, patience)
            parked = self._parking.rows()
            in_log = [*self.rows_in_log(), *((stream, -rows) for stream, rows in parked)]
            books = {book.stream: book for book in self._state.books.view(in_log, parked)}
        for stream, count in self._log.counts().items():
            if count.rejected:
                books.setdefault(stream, StreamBooks(stream)).rejected = dict(count.rejected)
        return sorted(books.values(), key=lambda book: book.stream)

    def rows_in_log(self) -> list[tuple[str, int]]:
        """Rows per stream that have not landed, the parked ones included; of entries that are gone, what the frames under way
        still hold. With the lock held."""
        index = self._state.index
        waiting = [(self._known.stream_key(one.schema_id), rows) for one, rows, _ in index.waiting_rows()]
        under_way = {intent.frame_id for intent in self._state.intents.values()}
        # Of these, mostly all waits already.
        return waiting + [
            (one.stream_key, max(0, one.rows - sum(s.stop - s.start for s in index.upto(one.partition, one.after))))
            for one in self._begun
            if one.frame_id in under_way
        ]

    # ------------------------------------------------------------------ what waits

    def waiting(self) -> Waiting:
        """What has not landed; not for the event loop."""
        with self._state.lock:
            self._state.take_in(self._log.durable, LOOK_PATIENCE)
            index = self._state.index
            oldest = index.oldest()
            age = 0.0 if oldest is None else self._clock.monotonic() - oldest
            return Waiting(index.rows, len(index), age)

    def holders(self) -> list[tuple[str, int, int]]:
        """Of which tenants, and services where none is named, something waits: the name, partitions, bytes of the log."""
        with self._state.lock:
            return self._state.index.holders()

    def past_rows(self) -> int:
        """Rows that have not landed of days, or hours, that are over by this machine's clock."""
        hour = self._clock.wall_ns() // HOUR_NS
        with self._state.lock:
            return sum(
                rows for partition, rows, _ in self._state.index.waiting_rows()
                if partition.end_hour <= hour
            )  # fmt: skip

    def waiting_partitions(self) -> list[tuple[Partition, int]]:
        """The partitions with rows that have not landed, as far as the ledger knows, and how many."""
        with self._state.lock:
            return [(partition, rows) for partition, rows, _ in self._state.index.waiting_rows()]

    def waiting_entries(self, partition: Partition) -> Entries:
        """A copy of what waits of a partition, in the order of the log."""
        with self._state.lock:
            return self._state.index.copy(partition)

    def queue_depth(self) -> int:
        """Partitions that are due and wait for a worker."""
        with self._state.lock:
            return len(self._state.index.due(self._clock.monotonic()))

    def parked(self) -> dict[str, int]:
        """Rows, bytes of files, files, budget in bytes, and partitions whose rows are rejected."""
        with self._state.lock:
            rows = sum(rows for _, rows in self._parking.rows())
        return {
            "rows": rows, "bytes": self._parked.used_bytes, "files": len(self._parked),
            "budget_bytes": self._parking.budget, "refused_partitions": len(self._parking.refused),
        }  # fmt: skip

    def search(self, needles: Sequence[bytes], limit: int) -> tuple[list[tuple[str, Lsn, int]], int, bool]:
        """Stream, LSN and rows of the waiting entries whose payload holds one of `needles`.

        Looks at `limit` bytes at most, each entry counted 1 KiB larger than it is. Also returns how many bytes were
        looked at, and whether that was all. Not under the lock while it reads.
        """
        chosen: list[tuple[bytes, Place, int]] = []
        complete = True
        with self._state.lock:
            self._state.take_in(self._log.durable)
            left = limit
            for partition, place, rows in self._state.index.entries():
                left -= place.length + 1024
                if left < 0:
                    complete = False
                    break
                chosen.append((partition.schema_id, place, rows))
        found: list[tuple[str, Lsn, int]] = []
        size = 0
        for schema_id, place, rows in chosen:
            try:
                payload = bytes(self._sources.read_payload(place))
                if any(needle in payload for needle in needles):
                    found.append((self._known.stream_key(schema_id), place.lsn, rows))
            except DamagedEntry:
                # It has landed meanwhile, or the pipeline will say so when its turn comes.
                continue
            size += len(payload)
        return found, size, complete

    def newest(
        self, wanted: Callable[[Stream], bool], from_hour: int = 0, after: Lsn = BEGINNING
    ) -> Iterator[tuple[Schema, memoryview]]:
        """The batches that wait of the streams that are `wanted`, at or behind `after`, the newest first, of partitions that end behind
        `from_hour` (hours since 1970). Some rows of the oldest of a partition may have landed. Not under the lock while it reads."""
        chosen: list[Iterator[tuple[Lsn, Place, Schema]]] = []
        with self._state.lock:
            self._state.take_in(self._log.durable)
        for partition, _ in self.waiting_partitions():
            if partition.end_hour <= from_hour:
                continue
            try:
                schema = self._known.schema(partition.schema_id)
            except (DamagedEntry, Rejected):
                # The pipeline says so when its turn comes.
                continue
            if wanted(schema.stream):
                chosen.append(_backwards(self.waiting_entries(partition), schema))
        for lsn, place, schema in merge(*chosen, key=lambda one: -one[0]):
            if lsn < after:
                return
            try:
                yield schema, self._sources.read_payload(place)
            except DamagedEntry:
                # It has landed meanwhile, or the pipeline will say so.
                continue

    # ------------------------------------------------------------------ what is in trouble

    def troubles(self) -> list[tuple[str, Trouble]]:
        """Blobs that take nothing at the moment, and why."""
        with self._state.lock:
            return self._state.troubles.all()

    def errors(self) -> list[LastError]:
        """What has failed last, the newest first."""
        return self._state.errors.all()


def _backwards(entries: Entries, schema: Schema) -> Iterator[tuple[Lsn, Place, Schema]]:
    return ((place.lsn, place, schema) for place, _ in reversed(entries))
