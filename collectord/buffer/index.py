"""The index of what waits in the log: per partition the entries that have not landed, in the order of the log."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from collectord.buffer.entries import Entries
from collectord.buffer.seal import MAX_FRAME_ROWS, Cause, SealRules, age_limit, cause, wanted
from collectord.model import ENTRY_BYTES, Cursor, Lsn, Partition, Place, Stored

FIRST_RATIO = 0.5
"""Compressed bytes per byte in the log, until a partition's first frame tells."""
MAX_RATIOS = 10_000
"""Schemas whose ratio is remembered; beyond it, the oldest is forgotten."""
BEGINNING = Lsn(0)
END = Lsn((1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows [start, stop) of an entry that has `rows` of them."""

    place: Place
    rows: int
    start: int
    stop: int

    @property
    def after(self) -> Cursor:
        """The cursor once these rows have landed."""
        if self.stop == self.rows:
            return after_entry(self.place.lsn)
        return Cursor(self.place.lsn, self.stop)

    @property
    def bytes(self) -> float:
        """Their share of the payload."""
        return self.place.length * (self.stop - self.start) / self.rows


def after_entry(lsn: Lsn) -> Cursor:
    """The cursor behind a whole entry: any position behind its first byte says that, and the next entry lies further on."""
    return Cursor(Lsn(lsn + 1), 0)


@dataclass(slots=True)
class _Holder:
    """A tenant, or a service where none is named, of whom something waits."""

    partitions: int = 0
    bytes: int = 0
    """Of the log that what waits takes, declarations included."""
    due: dict[Partition, None] = field(default_factory=dict)
    """The oldest first."""
    served: int = 0
    """When it was served last, as the how-manieth."""


@dataclass(slots=True)
class _Waiting:
    """One partition. `landed_rows` of its first entry have landed already."""

    limit: float
    whose: str
    holder: _Holder
    entries: Entries = field(default_factory=Entries)
    landed_rows: int = 0
    rows: int = 0
    bytes: int = 0
    """Payload of what waits; of the first entry the share that has not landed."""
    ratio: float = FIRST_RATIO
    flush_before: Lsn = BEGINNING
    declared: deque[tuple[Lsn, int]] = field(default_factory=deque)
    """Entries in front of which their schema was declared, and how many bytes that took."""


class Index:
    """Entries that have not landed. `cursors` says what of the log has, by partition."""

    def __init__(self, rules: SealRules, cursors: Mapping[Partition, Cursor]) -> None:
        self.whose: Callable[[Partition], str] = lambda _: ""
        """Asked when a partition opens: which tenant, or service, its rows are counted for until it is closed."""
        self.rules = rules
        """May be replaced; what waits already keeps its time."""
        self._cursors = dict(cursors)
        self._waiting: dict[Partition, _Waiting] = {}
        self._ratios: dict[bytes, float] = {}
        self._timers: list[tuple[float, Partition]] = []
        self._due: dict[Partition, Cause] = {}
        self._holders: dict[str, _Holder] = {}
        self._served = 0
        self.rows = 0
        self.bytes = 0
        """Of the log that what waits takes, declarations included."""

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._waiting

    def __len__(self) -> int:
        """Partitions with rows that wait."""
        return len(self._waiting)

    def add(self, stored: Stored, now: float, declared: int = 0) -> None:
        """Takes in a BATCH entry; what its partition's cursor has passed is left out. `now` is monotonic seconds; `declared`:
        bytes of the declaration that stands in front of it for its sake."""
        partition = stored.partition
        cursor = self._cursors.get(partition)
        landed = 0
        if cursor is not None and stored.lsn <= cursor.lsn:
            if stored.lsn < cursor.lsn:
                return
            landed = cursor.row
        waiting = self._waiting.get(partition)
        if waiting is None:
            ratio = self._ratios.get(partition.schema_id, FIRST_RATIO)
            whose = self.whose(partition)
            # Whoever comes anew has his turn behind those that wait, or many names would be many turns.
            holder = self._holders.setdefault(whose, _Holder(served=self._served))
            holder.partitions += 1
            waiting = _Waiting(age_limit(self.rules, partition), whose, holder, landed_rows=landed, ratio=ratio)
            self._waiting[partition] = waiting
        if not len(waiting.entries):
            heapq.heappush(self._timers, (now + waiting.limit, partition))
        waiting.entries.append(stored.lsn, stored.length, stored.rows, now)
        waiting.rows += stored.rows - landed
        self.rows += stored.rows - landed
        waiting.bytes += _left(stored.length, stored.rows, landed)
        if declared:
            waiting.declared.append((stored.lsn, declared))
        self._hold(waiting.holder, stored.length + ENTRY_BYTES + declared)
        if waiting.bytes >= wanted(self.rules, waiting.ratio) or waiting.rows >= MAX_FRAME_ROWS:
            self._make_due(partition, waiting, Cause.BYTES)

    def flush(self, before: Lsn) -> None:
        """Everything that waits and lies before this position is due."""
        for partition, waiting in self._waiting.items():
            waiting.flush_before = max(waiting.flush_before, before)
            if waiting.entries.lsn < before:
                self._make_due(partition, waiting, Cause.FLUSH)

    def due(self, now: float) -> Mapping[Partition, Cause]:
        """The partitions to be sealed, oldest first. A partition stays due until `take` or `landed` settles it."""
        while self._timers and self._timers[0][0] <= now:
            _, partition = heapq.heappop(self._timers)
            waiting = self._waiting.get(partition)
            if waiting is not None:
                self._judge(partition, waiting, now)
        return self._due

    def turns(self, now: float) -> Iterator[Partition]:
        """The partitions to be sealed, one of each tenant or service in turn: first of who was served longest ago, and of his the
        oldest. As long as nothing changes; `serve` says which of them was taken."""
        self.due(now)
        waiting = sorted((one for one in self._holders.values() if one.due), key=lambda one: one.served)
        queues = deque(iter(one.due) for one in waiting)
        while queues:
            queue = queues.popleft()
            partition = next(queue, None)
            if partition is not None:
                yield partition
                queues.append(queue)

    def serve(self, partition: Partition) -> None:
        """Something of a partition is taken to its blob: others have their turn before its tenant or service."""
        waiting = self._waiting.get(partition)
        if waiting is not None:
            self._served += 1
            waiting.holder.served = self._served

    def served(self, partition: Partition) -> int:
        """When the partition's tenant or service was served last, as the how-manieth."""
        waiting = self._waiting.get(partition)
        return waiting.holder.served if waiting is not None else 0

    def held(self, whose: str) -> tuple[int, int]:
        """Partitions that are open of a tenant or service, and bytes of the log that they take. From any thread."""
        holder = self._holders.get(whose)
        return (holder.partitions, holder.bytes) if holder is not None else (0, 0)

    def holders(self) -> list[tuple[str, int, int]]:
        """Of whom something waits: the name, partitions, bytes of the log."""
        return [(whose, one.partitions, one.bytes) for whose, one in self._holders.items()]

    def holder_of(self, partition: Partition) -> str:
        """Whom an open partition is counted for."""
        waiting = self._waiting.get(partition)
        return waiting.whose if waiting is not None else ""

    def next_timer(self) -> float | None:
        """Monotonic seconds at which `due` may have more to say."""
        return self._timers[0][0] if self._timers else None

    def begin(self, partition: Partition) -> Cursor | None:
        """Where the rows of a partition begin that wait; None if none do."""
        waiting = self._waiting.get(partition)
        return Cursor(waiting.entries.lsn, waiting.landed_rows) if waiting is not None else None

    def fills_behind(self, partition: Partition, rows: int, payload_bytes: float) -> bool:
        """Whether what waits behind so many first rows of a partition, which have so many bytes, makes a whole frame."""
        waiting = self._waiting.get(partition)
        if waiting is None:
            return False
        left = waiting.bytes - payload_bytes
        return waiting.rows - rows >= MAX_FRAME_ROWS or left >= wanted(self.rules, waiting.ratio)

    def take(self, partition: Partition, scale: float = 1.0, begin: Cursor | None = None) -> list[Slice]:
        """The next rows of a partition that make about one frame, at least one row. Nothing is removed by this.

        `scale` below 1 asks for fewer rows, because the last attempt made too large a frame. With `begin`, those from there on;
        there have to be some.
        """
        waiting = self._waiting[partition]
        target = wanted(self.rules, waiting.ratio) * scale
        slices: list[Slice] = []
        taken, left = 0.0, MAX_FRAME_ROWS
        start = waiting.landed_rows if begin is None else begin.row
        for place, rows in waiting.entries if begin is None else waiting.entries.between(begin.lsn, END):
            per_row = place.length / rows
            room = max(1, int((target - taken) / per_row))
            stop = min(rows, start + min(room, left))
            slices.append(Slice(place, rows, start, stop))
            taken += (stop - start) * per_row
            left -= stop - start
            if stop < rows or taken >= target or not left:
                break
            start = 0
        return slices

    def learn(self, partition: Partition, payload_bytes: float, frame_bytes: int) -> None:
        """Remembers how well the partition compresses."""
        ratio = max(frame_bytes / max(payload_bytes, 1.0), 0.001)
        self._ratios.pop(partition.schema_id, None)
        self._ratios[partition.schema_id] = ratio
        if len(self._ratios) > MAX_RATIOS:
            del self._ratios[next(iter(self._ratios))]
        waiting = self._waiting.get(partition)
        if waiting is not None:
            waiting.ratio = ratio

    def landed(self, partition: Partition, after: Cursor, now: float) -> int:
        """Everything before `after` is in its blob, or set aside: forgets it and returns the number of rows."""
        self._cursors[partition] = after
        waiting = self._waiting.get(partition)
        if waiting is None:
            return 0
        gone = 0
        entries = waiting.entries
        while len(entries) and entries.lsn < after.lsn:
            gone += entries.rows - waiting.landed_rows
            waiting.bytes -= _left(entries.length, entries.rows, waiting.landed_rows)
            waiting.landed_rows = 0
            self._hold(waiting.holder, -entries.length - ENTRY_BYTES)
            entries.leave()
        if len(entries) and entries.lsn == after.lsn and after.row > waiting.landed_rows:
            gone += after.row - waiting.landed_rows
            waiting.bytes -= _left(entries.length, entries.rows, waiting.landed_rows)
            waiting.bytes += _left(entries.length, entries.rows, after.row)
            waiting.landed_rows = after.row
        waiting.rows -= gone
        self.rows -= gone
        self._due.pop(partition, None)
        waiting.holder.due.pop(partition, None)
        while waiting.declared and (not len(entries) or waiting.declared[0][0] < entries.lsn):
            self._hold(waiting.holder, -waiting.declared.popleft()[1])
        if len(entries):
            self._judge(partition, waiting, now)
        else:
            self._close(partition, waiting)
        return gone

    def waiting_from(self, begin: Lsn = BEGINNING) -> Lsn | None:
        """The lowest LSN from `begin` on that has not landed, None if nothing waits. Looks at every open partition."""
        lowest: Lsn | None = None
        for waiting in self._waiting.values():
            lsn: Lsn | None = waiting.entries.lsn
            if waiting.entries.lsn < begin:
                lsn = waiting.entries.first_from(begin)
            if lsn is not None and (lowest is None or lsn < lowest):
                lowest = lsn
        return lowest

    def between(self, begin: Lsn, end: Lsn) -> Iterator[tuple[Partition, Place, int]]:
        """Every entry in [begin, end) that waits, with its rows; the first of a partition may have landed in part."""
        for partition, waiting in self._waiting.items():
            if waiting.entries.lsn < end:
                for place, rows in waiting.entries.between(begin, end):
                    yield partition, place, rows

    def rows_before(self, end: Lsn) -> Iterator[tuple[Partition, int]]:
        """Per partition, how many rows wait before `end`, if any."""
        for partition, waiting in self._waiting.items():
            if waiting.entries.lsn < end:
                yield partition, waiting.entries.rows_before(end) - waiting.landed_rows

    def bytes_from(self, partition: Partition, begin: Lsn) -> tuple[int, int]:
        """Entries of a partition that wait at or behind `begin`, and the bytes of their payloads."""
        waiting = self._waiting.get(partition)
        return waiting.entries.bytes_from(begin) if waiting is not None else (0, 0)

    def partitions(self) -> list[Partition]:
        """Those with rows that wait."""
        return list(self._waiting)

    def upto(self, partition: Partition, after: Cursor) -> list[Slice]:
        """Everything of a partition that waits before `after`."""
        waiting = self._waiting.get(partition)
        slices: list[Slice] = []
        start = waiting.landed_rows if waiting is not None else 0
        for place, rows in waiting.entries if waiting is not None else ():
            stop = rows if place.lsn < after.lsn else after.row if place.lsn == after.lsn else 0
            if stop <= start:
                break
            slices.append(Slice(place, rows, start, stop))
            start = 0
        return slices

    def slices(self, partition: Partition) -> Iterator[Slice]:
        """Everything that waits of a partition, oldest first, as long as nothing changes."""
        waiting = self._waiting.get(partition)
        start = waiting.landed_rows if waiting is not None else 0
        for place, rows in waiting.entries if waiting is not None else ():
            yield Slice(place, rows, start, rows)
            start = 0

    def rows_of(self, partition: Partition) -> int:
        """How many rows wait of a partition."""
        waiting = self._waiting.get(partition)
        return waiting.rows if waiting is not None else 0

    def oldest(self) -> float | None:
        """When the longest waiting entry came, in monotonic seconds."""
        return min((waiting.entries.came for waiting in self._waiting.values()), default=None)

    def waiting_rows(self) -> Iterator[tuple[Partition, int, float]]:
        """Per open partition: rows that wait, and when the oldest came."""
        return ((partition, waiting.rows, waiting.entries.came) for partition, waiting in self._waiting.items())

    def entries(self) -> Iterator[tuple[Partition, Place, int]]:
        """Every entry that waits, with its rows; the first of a partition may have landed in part."""
        for partition, waiting in self._waiting.items():
            for place, rows in waiting.entries:
                yield partition, place, rows

    def copy(self, partition: Partition) -> Entries:
        """What waits of a partition now; the first entry may have landed in part."""
        waiting = self._waiting.get(partition)
        return waiting.entries.copy() if waiting is not None else Entries()

    def forget(self, before: Lsn) -> None:
        """Drops the cursors of partitions that have no entry left in the log, which begins at `before`."""
        for partition in [key for key, cursor in self._cursors.items() if cursor <= Cursor(before, 0)]:
            if partition not in self._waiting:
                del self._cursors[partition]

    def _judge(self, partition: Partition, waiting: _Waiting, now: float) -> None:
        flush = waiting.entries.lsn < waiting.flush_before
        # The same sum that `due` compares with now: a rounding apart, and a timer would come back for ever.
        at = waiting.entries.came + waiting.limit
        why = cause(self.rules, waiting.bytes, waiting.rows, waiting.ratio, at <= now, flush)
        if why is not None:
            self._make_due(partition, waiting, why)
        else:
            heapq.heappush(self._timers, (at, partition))

    def _make_due(self, partition: Partition, waiting: _Waiting, why: Cause) -> None:
        if partition not in self._due:
            self._due[partition] = why
            waiting.holder.due[partition] = None

    def _hold(self, holder: _Holder, more: int) -> None:
        holder.bytes += more
        self.bytes += more

    def _close(self, partition: Partition, waiting: _Waiting) -> None:
        del self._waiting[partition]
        waiting.holder.partitions -= 1
        if not waiting.holder.partitions:
            del self._holders[waiting.whose]


def _left(length: int, rows: int, landed: int) -> int:
    """The share of an entry's bytes that its rows from `landed` on have."""
    return length - length * landed // rows
