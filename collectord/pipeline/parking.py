"""Entries that wait behind a blocked blob leave the log, so that they keep nobody else's segments.

When the log is fuller than its high-water mark, the oldest segments whose waiting entries all belong to bad blobs are
copied, those entries alone, into a parked file (`wal/parked.py`); then they are free like any segment that has landed. Log
and parked files share one budget: what is parked is taken from the log's.

If the store takes nothing from anybody, nothing is gained by this, so a segment of which most waits is only parked while
other blobs land. What a bad blob may keep waiting, in the log and parked, has a limit of its own; its rows are then
rejected at the door, those of whoever has most of it, and nobody else's.

The ledger knows which files there are, so that one that somebody takes away is missed.

Threads: `maintain` belongs to the pipeline's; copying has one of its own.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from collectord.clock import Clock
from collectord.errors import CollectordError
from collectord.logs import event
from collectord.model import Lsn, Partition, Place
from collectord.pipeline.known import Known
from collectord.pipeline.state import State
from collectord.pipeline.workers import Workers
from collectord.upload.ledger import Ledger
from collectord.wal.damage import DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedfile import Copied, ParkedFile, parked_bytes
from collectord.wal.raw import Raw, read_raw
from collectord.wal.segment import Segment
from collectord.wal.writer import LogWriter

SHARE = 0.5
"""Of the log's budget: the most that may wait behind bad blobs while others land."""
LEAST_SEGMENTS = 4
"""Are left to the log in any case."""
HIGH_WATER = 0.7
LOW_WATER = 0.5
"""Of what the log may use: parking begins above the one, and goes on down to the other."""
MAX_FILE_BYTES = 64 << 20
LANDING_SECONDS = 150.0
"""Somebody's rows have landed so lately that the store as a whole is well; at least two flush intervals."""
REFUSE_AT = 0.75
"""Of what may be parked: rows of bad blobs are refused when so much of them waits. What comes in until that is noticed still
has to find room, or it would keep the log's segments for ever."""
PAUSE_SECONDS = 30.0
"""After a failure to park."""
TIDY_SECONDS = 10.0
"""How often files between others are looked at."""

_log = logging.getLogger("collectord.parking")


@dataclass(frozen=True, slots=True)
class Run:
    """The oldest segments, and what of them is to be parked."""

    base: Lsn
    end: Lsn
    entries: list[tuple[Partition, Place, int]]
    """In the order of the log, with their rows."""
    size: int


class Parking:
    """Decides what is parked, does it, and says whose rows are not taken in any more."""

    def __init__(
        self,
        state: State,
        *,
        log: LogWriter,
        ledger: Ledger,
        parked: ParkedLog,
        known: Known,
        clock: Clock,
        budget: int,
        flush_interval: float,
    ) -> None:
        """`budget` is in bytes, a part of the log's; `flush_interval` in seconds."""
        self._state = state
        self._log = log
        self._ledger = ledger
        self._parked = parked
        self._known = known
        self._clock = clock
        self._total = log.budget
        self.budget = budget
        self._landing_seconds = max(LANDING_SECONDS, 2 * flush_interval)
        self._pool = Workers(1, "collectord-parking")
        self._copying: Future[None] | None = None
        self._noting = threading.Lock()
        """Held while the ledger is told which files there are, until they are; taken before the state's lock."""
        self._emptying = False
        """From the high-water mark down to the low one."""
        self._not_before = 0.0
        self._tidy_at = 0.0
        self.refused: frozenset[Partition] = frozenset()
        """Partitions whose rows are not taken in; replaced as a whole, so any thread may look."""
        self._lend()

    def maintain(self, position: Lsn) -> None:
        """One look; `position` is how far the log was read. Called often, without the lock."""
        now = self._clock.monotonic()
        if self._copying is not None and self._copying.done():
            self._copying = None
        idle = self._copying is None and now >= self._not_before
        self._clear()
        with self._state.lock:
            bad = self._bad(now)
            landed = self._state.troubles.landed_at
            alone = self._bad(now, landed) if now - landed < self._landing_seconds else frozenset()
            waiting = self._parked.used_bytes + self._waiting_bytes(alone)
            run = self._choose(bad, position, bool(alone)) if bad and idle else None
            refused = self._of_the_greedy(alone) if waiting > REFUSE_AT * self.budget else frozenset()
        self._refuse(refused)
        if run is not None:
            self._copying = self._pool.submit(self._park, run)

    def start(self) -> None:
        """Starts the thread that copies."""
        self._pool.start()

    def stop(self) -> None:
        """Waits for a copy that is under way."""
        self._pool.stop(wait=True)

    # ------------------------------------------------------------------ deciding

    def _bad(self, now: float, landed: float | None = None) -> frozenset[Partition]:
        """Partitions whose blob takes nothing, and not just for the moment. `landed`: only those that are alone with it, others having
        landed then."""
        bases = {
            base for base, one in self._state.troubles.all()
            if one.is_bad(now) and (landed is None or one.again < landed)
        }  # fmt: skip
        if not bases:
            return frozenset()
        return frozenset(one for one in self._state.index.partitions() if self._known.base(one) in bases)

    def _waiting_bytes(self, bad: frozenset[Partition]) -> int:
        """Bytes that the bad partitions' entries in the log would take when parked, about."""
        return sum(self._size_when_parked(partition, self._parked.end) for partition in bad)

    def _size_when_parked(self, partition: Partition, begin: Lsn) -> int:
        """Of a partition's entries at or behind `begin`, about."""
        number, size = self._state.index.bytes_from(partition, begin)
        return size + number * parked_bytes(Place(Lsn(0), 0))

    def _of_the_greedy(self, bad: frozenset[Partition]) -> frozenset[Partition]:
        """Those of the bad partitions whose tenant, or service, has at least an equal part of what may wait: nobody's rows are refused
        because another's have taken it all. With the lock held."""
        index = self._state.index
        held = Counter[str]()
        for partition in bad:
            held[index.holder_of(partition)] += self._size_when_parked(partition, Lsn(0))
        part = min(REFUSE_AT * self.budget / len(held), max(held.values())) if held else 0
        return frozenset(one for one in bad if held[index.holder_of(one)] >= part)

    def _choose(self, bad: frozenset[Partition], position: Lsn, others_land: bool) -> Run | None:
        """As many of the oldest segments as it takes to come below the low-water mark. With the lock held."""
        used, budget = self._log.used_bytes, self._log.budget
        self._emptying = used > (LOW_WATER if self._emptying else HIGH_WATER) * budget
        if not self._emptying:
            return None
        chosen: list[Segment] = []
        entries: list[tuple[Partition, Place, int]] = []
        room, size = self.budget - self._parked.used_bytes, 0
        for segment in self._log.catalog.segments()[:-1]:
            end = segment.end
            if end is None or end > position or used <= LOW_WATER * budget:
                break
            found = sorted(self._state.index.between(max(segment.base, self._parked.end), end), key=_position)
            more = sum(parked_bytes(place) for _, place, _ in found)
            if any(partition not in bad for partition, _, _ in found) or size + more > room:
                break
            if 2 * more > end - segment.base and not others_land:
                break
            if chosen and size + more > MAX_FILE_BYTES:
                break
            chosen.append(segment)
            entries += found
            size += more
            used -= segment.size
        if not entries:
            return None
        last = chosen[-1].end
        assert last is not None
        return Run(max(chosen[0].base, self._parked.end), last, entries, size)

    def _refuse(self, bad: frozenset[Partition]) -> None:
        if bool(bad) != bool(self.refused):
            event(
                _log, logging.ERROR if bad else logging.INFO,
                "rows of blocked streams are rejected: what may wait for them is used up" if bad
                else "rows of all streams are taken in again",
                partitions=len(bad or self.refused), budget_bytes=self.budget,
            )  # fmt: skip
        self.refused = bad

    # ------------------------------------------------------------------ doing

    def _park(self, run: Run) -> None:
        try:
            file = self._parked.write(run.base, run.end, self._schemas(run), self._copies(run.entries), run.size)
            self._take_into_use(file)
        except (OSError, CollectordError) as error:
            self._not_before = self._clock.monotonic() + PAUSE_SECONDS
            event(_log, logging.WARNING, "entries cannot be parked; tried again later", why=str(error))
        except Exception:  # noqa: BLE001  (its thread has nobody above it)
            self._not_before = self._clock.monotonic() + PAUSE_SECONDS
            _log.exception("parking failed; it is tried again later")
        else:
            event(
                _log, logging.INFO, "entries of blocked streams were parked", entries=len(run.entries),
                bytes=file.size, from_lsn=run.base, to_lsn=run.end,
            )  # fmt: skip

    def _take_into_use(self, file: ParkedFile) -> None:
        with self._noting:
            try:
                self._ledger.note_parked([file.base, *(other.base for other in self._parked.files())])
            except CollectordError:
                self._parked.take_back(file.path)
                raise
            with self._state.lock:
                self._parked.add(file)
                self._lend()
                self._state.lock.notify_all()

    def _schemas(self, run: Run) -> dict[bytes, tuple[bytes, str]]:
        schemas: dict[bytes, tuple[bytes, str]] = {}
        for partition, _, _ in run.entries:
            if partition.schema_id not in schemas:
                schema = self._known.schema(partition.schema_id)
                schemas[schema.id] = (schema.raw, schema.stream.key())
        return schemas

    def _copies(self, entries: Sequence[tuple[Partition, Place, int]]) -> Iterator[Copied]:
        for partition, place, rows in entries:
            try:
                raw = read_raw(self._log.catalog, place)
            except DamagedEntry:
                # Gone under our hands: it has landed meanwhile, or is damaged, and is told of when its turn comes.
                raw = Raw(None, b"", good=False)
            yield Copied(place, partition, rows, raw)

    def _clear(self) -> None:
        """Removes the files of which nothing waits any more, once their segments have left the log."""
        files = self._parked.files()
        if not files:
            return
        first = min((segment.base for segment in self._log.catalog.segments()), default=Lsn(0))
        now = self._clock.monotonic()
        tidy = now >= self._tidy_at
        if tidy:
            self._tidy_at = now + TIDY_SECONDS
        with self._state.lock:
            lowest = self._state.index.waiting_from()
            empty = [
                file for file in files
                if file.end <= first and (lowest is None or file.end <= lowest or (tidy and self._is_empty(file)))
            ]  # fmt: skip
        if empty:
            self._discard(empty)
            self._lend()

    def _discard(self, empty: Sequence[ParkedFile]) -> None:
        with self._noting:
            try:
                self._ledger.note_parked(file.base for file in self._parked.files() if file not in empty)
                for file in empty:
                    self._parked.discard(file)
            except (OSError, CollectordError) as error:
                event(_log, logging.WARNING, "a parked file cannot be removed yet", why=str(error))

    def _is_empty(self, file: ParkedFile) -> bool:
        return next(self._state.index.between(file.base, file.end), None) is None

    def _lend(self) -> None:
        """What is parked is taken from the log's budget."""
        self._log.limit(max(0, self._total - self._parked.used_bytes))

    # ------------------------------------------------------------------ answers

    def rows(self) -> list[tuple[str, int]]:
        """Stream key and rows that wait parked. With the lock held."""
        return [
            (self._known.stream_key(one.schema_id), rows)
            for one, rows in self._state.index.rows_before(self._parked.end)
        ]


def budget_of(log_bytes: int, segment_bytes: int) -> int:
    """Bytes that may be parked, of a log of `log_bytes`."""
    return max(0, min(int(log_bytes * SHARE), log_bytes - LEAST_SEGMENTS * segment_bytes))


def _position(entry: tuple[Partition, Place, int]) -> int:
    return entry[1].lsn
