"""Makes entries durable, in order: one thread, one sync for everything that is queued.

Promises: `done(None)` is called after the group with all of an append's entries is on disk, never before; what was
reported as failed is void for every reader, and for recovery once the next segment is begun; of one client, nothing stands
in the log without what he sent before it. Threads: `append`, `counts` and `retire` from any; everything that writes, and
every `done`, on the log's own.
A write or sync that fails is never tried again on the same file: the next segment states where the old one ends.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from collectord.clock import Clock, SystemClock
from collectord.errors import CollectordError, LogUnavailable, SpoolFull
from collectord.model import Entry, Lsn, Place
from collectord.wal.catalog import Catalog
from collectord.wal.counts import UNKNOWN_STREAM, StreamCounts
from collectord.wal.disk import NO_SPACE, Disk, write_all
from collectord.wal.framing import (
    ENTRY_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Buffer,
    declare_payload,
    entry_bytes,
    pack_declare,
    pack_entry,
)
from collectord.wal.recovery import Recovered
from collectord.wal.refusals import Refusals
from collectord.wal.segment import SEGMENT_BYTES, Active, Declared
from collectord.wal.supply import Supply

Done = Callable[[Exception | None], None]

ENOUGH_BYTES = 400 << 10
"""When so much is queued there is no gap: it is nearly all that a client may send without an answer, and more of it would hardly make a
commit cheaper."""
GAP_COMMITS = 4
"""The gap, from begin to begin, in times of what the last commit took: what each costs several entries can share, and the disk is busy for
a quarter of the time at most, yet nobody waits for longer than five take."""

KEPT_KEYS = 10_000
"""Schemas whose stream's key is remembered."""

logger = logging.getLogger(__name__)
_PADDING = [bytes(count) for count in range(8)]


class _Append:
    """What one caller handed in."""

    __slots__ = ("bytes", "done", "entries", "failure", "told")

    def __init__(self, entries: Sequence[Entry], done: Done) -> None:
        self.entries = entries
        self.done = done
        self.failure: CollectordError | None = None
        self.told = False
        self.bytes = sum(entry_bytes(len(entry.payload)) for entry in entries)


class _Group:
    """What is written and synced together; always in one segment."""

    __slots__ = ("appends", "buffers", "declared", "end", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.buffers: list[Buffer] = []
        self.appends: list[_Append] = []
        """In the order of the queue; those refused meanwhile are told in their turn."""
        self.declared: dict[bytes, Declared] = {}


class LogWriter:
    """The log's writing side."""

    def __init__(
        self,
        directory: Path,
        spool_id: bytes,
        recovered: Recovered,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        budget_bytes: int,
        durability: Literal["fsync", "os"] = "fsync",
        commit_gap: float = 0.005,
        clock: Clock | None = None,
        disk: Disk | None = None,
        random: Callable[[int], bytes] = os.urandom,
        pause: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """`directory` and `recovered` are those of `recover`; `budget_bytes` should be several segments; `commit_gap` is the longest gap between commits, in seconds from begin to begin.

        `durability="os"` leaves syncing to the operating system: a power loss then costs acknowledged rows.
        `random` makes segment ids, `pause` waits for an event, at most so many seconds.
        """
        self._clock = clock or SystemClock()
        self._disk = disk or Disk()
        self._durability = durability
        self._commit_gap = commit_gap
        self.catalog = Catalog(recovered.segments, recovered.end)
        self._supply = Supply(
            directory,
            spool_id,
            recovered,
            self.catalog,
            segment_bytes=segment_bytes,
            budget_bytes=budget_bytes,
            clock=self._clock,
            disk=self._disk,
            random=random,
        )
        self.on_commit: Callable[[], None] | None = None
        """Called on the log's thread, once per group, after `durable` advanced."""
        self.on_sync: Callable[[float], None] | None = None
        """Called on the log's thread with the seconds that writing and syncing a group took, if it succeeded."""
        self.callback_failures = 0
        """How often a caller's `done`, or `on_commit`, raised: a fault of the caller that the log survives. Read from any thread."""
        self._active: Active | None = None
        self._keys: dict[bytes, str] = {}
        self._refusals = Refusals(self._clock)
        self.stuck = ""
        """Why no segment can be begun; empty: one can, or nobody has tried. Read from any thread."""
        self._last_begin = float("-inf")
        self._took = 0.0
        """Seconds that writing and syncing a group took last."""
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        """There is no gap: enough has come, or something urgent, or the end."""
        self._pause = pause
        self._queue: list[_Append] = []
        self._queued_bytes = 0
        self._wake = threading.Condition()
        """Guards the queue and its size, and whether it still takes anything."""
        self._open = True
        self._books = threading.Lock()
        """Guards the tally."""
        self._tally = recovered.counts

    @property
    def durable(self) -> Lsn:
        """End of what is durable; readers never pass it."""
        return self.catalog.durable

    @property
    def used_bytes(self) -> int:
        """Bytes of all files of the log, spares included."""
        return self._supply.used_bytes

    @property
    def budget(self) -> int:
        """Bytes that the log may use."""
        return self._supply.budget_bytes

    @property
    def next_bytes(self) -> int:
        """Bytes of the disk that the next segment takes; 0 where there is a spare one."""
        return self._supply.next_bytes

    @property
    def segment_bytes(self) -> int:
        """Of a segment as it is begun."""
        return self._supply.segment_bytes

    def limit(self, budget_bytes: int) -> None:
        """Changes how many bytes the log may use; what it uses already stays. From any thread."""
        self._supply.budget_bytes = budget_bytes

    def counts(self) -> dict[str, StreamCounts]:
        """Cumulative counts by stream key as of the durable end; the caller owns them."""
        with self._books:
            return self._tally.snapshot()

    def retire(self, before: Lsn) -> None:
        """Recycles or unlinks every segment whose end is at or before `before`, never the newest. Raises OSError."""
        self._supply.retire(before)

    def start(self) -> None:
        """Starts the log's thread."""
        self._thread = threading.Thread(target=self._run, name="collectord-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commits what is queued, then stops. May be repeated."""
        with self._wake:
            self._open = False
            self._hurry.set()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        else:
            self.commit()
        if self._active is not None:
            self.catalog.seal(self._active.segment, self._end_of(self._active))
            self._disk.close(self._active.fd)
            self._active = None
        self.catalog.close()

    def append(self, entries: Sequence[Entry], done: Done, *, urgent: bool = False) -> None:
        """Queues entries, in order behind everything queued before; never blocks. `urgent` entries, and what is queued
        before them, wait for the commit that is under way and for no gap: who sends nothing before his answer shares the next
        commit with all that came meanwhile, and a gap would only keep him.

        `done` is called once, on the log's thread: with None after all of them are durable, else with LogUnavailable or
        SpoolFull, and then none of them is in the log. After `close` it is called right here. Payloads
        must not change until then. Raises ValueError for a payload over 8 MiB.
        """
        for entry in entries:
            if len(entry.payload) > MAX_PAYLOAD_BYTES:
                raise ValueError(f"a payload of {len(entry.payload)} bytes exceeds {MAX_PAYLOAD_BYTES}")
        append = _Append(entries, done)
        with self._wake:
            if self._open:
                self._queue.append(append)
                self._queued_bytes += append.bytes
                if urgent or self._queued_bytes >= ENOUGH_BYTES:
                    self._hurry.set()
                if len(self._queue) == 1:
                    self._wake.notify()
                return
        done(LogUnavailable("the log is closed"))

    # Everything below runs on the log's thread.

    def _run(self) -> None:
        while self._wait():
            self.commit()

    def _wait(self) -> bool:
        """Waits for something to do, and for the rest of the gap; False when closed and all is done."""
        with self._wake:
            while not self._queue and self._open:
                self._wake.wait()
            if not self._queue:
                return False
        gap = min(self._commit_gap, GAP_COMMITS * self._took)
        rest = self._last_begin + gap - self._clock.monotonic()
        if rest > 0:
            self._pause(self._hurry, rest)
        return True

    def commit(self) -> None:
        """Commits what is queued now. The log's thread calls it; a caller that never called `start` may."""
        with self._wake:
            taken, self._queue = self._queue, []
            self._queued_bytes = 0
            if self._open:
                self._hurry.clear()
        self._last_begin = self._clock.monotonic()
        try:
            self._commit(taken)
        except Exception as error:
            # A fault of ours: what was not settled is not acknowledged, and the segment is not trusted any more.
            logger.exception("the log failed in a way that it does not know")
            if self._active is not None:
                self._leave(self._active)
            self._fail([append for append in taken if not append.told], _failure(error))

    def _commit(self, taken: list[_Append]) -> None:
        """Writes everything taken, in as many groups as the segments' room demands."""
        group: _Group | None = None
        for append in taken:
            failure = self._refusals.refusal(append.entries)
            if failure is None and group is not None and not self._fits(append, group):
                self._finish(group)
                group = None
                # Its failure may concern the clients of what is still to come.
                failure = self._refusals.refusal(append.entries)
            if failure is None and group is None:
                try:
                    group = _Group(self._room_for(append).position)
                except (OSError, CollectordError) as error:
                    self._note_failure(error)
                    failure = _failure(error)
            if failure is not None:
                self._refuse(append, failure, group)
            elif group is not None:
                self._put(append, group)
        if group is not None:
            self._finish(group)

    def _declarations(self, append: _Append, declared: set[bytes], group: _Group | None) -> int:
        """Bytes of the declarations that `append` needs in a segment with these `declared`."""
        seen: set[bytes] = set()
        total = 0
        for entry in append.entries:
            schema = entry.schema
            if schema is None or schema.id in declared or schema.id in seen:
                continue
            if group is not None and schema.id in group.declared:
                continue
            seen.add(schema.id)
            total += entry_bytes(len(declare_payload(schema.raw, self._key(entry))))
        return total

    def _fits(self, append: _Append, group: _Group) -> bool:
        active = self._active
        if active is None:
            return False
        need = append.bytes + self._declarations(append, active.declared, group)
        return group.end + need <= active.position + active.room

    def _room_for(self, append: _Append) -> Active:
        """The active segment, another one if it has no room for `append`."""
        active = self._active
        if active is not None and append.bytes + self._declarations(append, active.declared, None) <= active.room:
            return active
        return self._rotate(append.bytes + self._declarations(append, set(), None))

    def _rotate(self, need: int) -> Active:
        """Begins the next segment, which ends the one before it."""
        try:
            successor = self._supply.begin(self.durable, self._tally, need)
        except OSError:
            if self._supply.haunted and self._active is not None:
                # What it would take from now on, the segment that may come back would declare void.
                self._retreat(self._active)
                self._active = None
            raise
        if self._active is not None:
            self._retreat(self._active)
        self._active = successor
        if self.stuck:
            logger.info("the log is written again")
        self.stuck = ""
        return successor

    def _end_of(self, active: Active) -> Lsn:
        return self.durable if self.durable > active.segment.first else active.segment.base

    def _retreat(self, active: Active) -> None:
        self.catalog.seal(active.segment, self._end_of(active))
        self._disk.close(active.fd)

    def _put(self, append: _Append, group: _Group) -> None:
        """Adds an append's entries, and the declarations they need, to the group."""
        active = self._active
        assert active is not None
        marker, seed, durable = active.segment.marker, active.segment.seed, self.durable
        buffers, end = group.buffers, group.end
        for entry in append.entries:
            schema = entry.schema
            if schema is not None and schema.id not in active.declared and schema.id not in group.declared:
                payload = declare_payload(schema.raw, self._key(entry))
                buffers.append(pack_declare(schema.id, schema.raw, payload, marker, seed, end, durable))
                buffers.append(payload + _PADDING[-len(payload) % 8])
                group.declared[schema.id] = Declared(Place(Lsn(end), len(payload)), len(schema.raw))
                end += entry_bytes(len(payload))
            length = len(entry.payload)
            buffers.append(pack_entry(entry, marker, seed, end, durable))
            buffers.append(entry.payload)
            if length % 8:
                buffers.append(_PADDING[-length % 8])
            end += ENTRY_HEADER_BYTES + (length + 7 & -8)
        group.end = end
        group.appends.append(append)

    def _finish(self, group: _Group) -> None:
        """Writes and syncs a group, then tells everybody."""
        active = self._active
        assert active is not None
        segment = active.segment
        began = self._clock.monotonic()
        try:
            write_all(self._disk, active.fd, group.buffers, group.start - segment.base)
            if self._durability == "fsync":
                self._disk.sync(active.fd)
            self._disk.check(active.fd, segment.path)
        except OSError as error:
            self._leave(active)
            self._fail(group.appends, _failure(error))
            return
        self._took = self._clock.monotonic() - began
        active.position = group.end
        active.declared.update(group.declared)
        segment.schemas.update(group.declared)
        with self._books:
            for append in group.appends:
                for entry in append.entries if append.failure is None else ():
                    key = self._key(entry)
                    self._tally.add(entry.kind, key, entry.rows, entry.payload)
        self.catalog.durable = Lsn(group.end)
        for append in group.appends:
            self._tell(append, append.failure)
        if self.on_sync is not None:
            self._guard("the log's time could not be told", self.on_sync, self._took)
        if self.on_commit is not None:
            self._guard("the log's reader could not be woken", self.on_commit)

    def _leave(self, active: Active) -> None:
        """Gives up a segment after a failed write or sync.

        Its successor is begun at once, because only that makes the failed entries void on disk. If even that is not
        possible, it is begun with the next group.
        """
        active.segment.recyclable = False
        self._active = None
        self._retreat(active)
        try:
            self._rotate(0)
            self._supply.retire(Lsn(0))
        except (OSError, CollectordError) as error:
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        """Says once that no segment can be begun, until one is."""
        if not self.stuck:
            logger.warning("the log cannot begin a segment: %s", error)
        self.stuck = str(error) or type(error).__name__

    def _fail(self, appends: Sequence[_Append], failure: CollectordError) -> None:
        for append in appends:
            self._refusals.remember(append.entries, failure)
        for append in appends:
            self._tell(append, failure)

    def _refuse(self, append: _Append, failure: CollectordError, group: _Group | None) -> None:
        """Fails one append, after everything queued before it is settled."""
        if group is None:
            self._fail([append], failure)
        else:
            self._refusals.remember(append.entries, failure)
            append.failure = failure
            group.appends.append(append)

    def _tell(self, append: _Append, failure: CollectordError | None) -> None:
        append.told = True
        self._guard("a callback of the log failed", append.done, failure)

    def _guard(self, what: str, call: Callable[..., object], *values: object) -> None:
        """Calls what is a caller's: that it raises is logged as `what`, counted, and harms nobody else."""
        try:
            call(*values)
        except Exception:
            self.callback_failures += 1
            logger.exception(what)

    def _key(self, entry: Entry) -> str:
        schema = entry.schema
        if schema is None:
            return UNKNOWN_STREAM
        key = self._keys.get(schema.id)
        if key is None:
            if len(self._keys) >= KEPT_KEYS:
                self._keys.clear()
            key = self._keys[schema.id] = schema.stream.key()
        return key


def _failure(error: Exception) -> CollectordError:
    """What a caller is told about an error."""
    if isinstance(error, CollectordError):
        return error
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return SpoolFull(f"the disk is full: {error}")
    return LogUnavailable(f"the log could not be written: {error}")
