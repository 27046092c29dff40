"""The quarantine of a running daemon: what goes in, what comes out, and that it is always counted once.

In: the item's file is synced, then one transaction of the ledger counts its rows and moves the cursor past them. Out, by
`retry`: its entries go through the log again under the item's id as client, numbered from 1; the reader recognises them,
also after a crash, and one transaction takes them off the item. Out, by `drop`: one transaction. The file goes last.

Threads: any. `recognise` is called with the pipeline's lock held; nothing else may be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from collectord import files, quarantine
from collectord.books import Books
from collectord.buffer.index import Index, Slice
from collectord.clock import Clock
from collectord.errors import CollectordError, LogUnavailable, TryAgain
from collectord.excerpt import excerpt
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Entry, EntryKind, Partition, Place, Stored
from collectord.pipeline.sources import Sources
from collectord.quarantine import BadItem, HeldEntry, Item
from collectord.schema import parse_schema
from collectord.upload.held import Held, HeldItem
from collectord.upload.records import Intent
from collectord.wal.damage import DamagedEntry
from collectord.wal.raw import Raw
from collectord.wal.writer import Done

COMMIT_PATIENCE = 60.0
"""Seconds to wait for the log, and for its reader."""

_log = logging.getLogger("collectord.quarantine")


class Log(Protocol):
    def append(self, entries: Sequence[Entry], done: Done) -> None: ...


class Shelf:
    """The items under `directory`, at most `budget` bytes of them."""

    def __init__(
        self,
        directory: Path,
        budget: int,
        *,
        held: Held,
        spool_id: bytes,
        log: Log,
        sources: Sources,
        lock: threading.Condition,
        index: Index,
        books: Books,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`lock` guards `index` and `books`, and what is said to be so below; notified when an entry was recognised."""
        self._directory = directory
        self.budget = budget
        self._held = held
        self._spool_id = spool_id
        self._log = log
        self._sources = sources
        self._lock = lock
        self._index = index
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._turn = threading.Lock()
        """One at a time puts in or takes out; held over everything that this takes."""
        self._sweeping = threading.Lock()
        """One at a time removes files."""
        self._items = {item.id: item for item in held.items() if not item.gone}
        """Guarded by the pipeline's lock, as are the following."""
        self._written_later: list[tuple[bytes, int, int]] = []
        """Recognised, and the ledger has no room to say so: id, sequence, rows."""
        self._gone = [item.id for item in held.items() if item.gone]
        self._under_way: set[bytes] = set()
        """Handed to the log, and neither failed nor recognised yet."""
        self._closed = False
        self.used_bytes = quarantine.used_bytes(directory)

    # ------------------------------------------------------------------ at the start

    def open(self) -> None:
        """Clears up behind a crash. Call when the log was read once.

        A file that the ledger does not know is one of two: the process died between file and ledger, and its entries
        still wait, so it goes; or the ledger was lost, and the rows are nowhere else, so it is taken in.
        """
        self.settle()
        for id_ in quarantine.ids(self._directory):
            if id_ in self._items:
                continue
            try:
                item = quarantine.read(self._directory, id_)
            except BadItem as error:
                event(
                    _log, logging.ERROR, "an item of the quarantine is damaged, and nothing counts it", why=str(error)
                )
                continue
            if any(self._waits(entry) for entry in item.entries):
                files.remove_durably(quarantine.path_of(self._directory, id_))
                continue
            held = HeldItem(id_, item.stream, item.reason, item.rows, len(item.entries), 0, gone=False)
            self._held.adopt(held)
            with self._lock:
                self._items[id_] = held
                self._books.quarantine(item.stream, item.rows)
        for id_, held in self._items.items():
            if not quarantine.path_of(self._directory, id_).exists():
                event(
                    _log, logging.ERROR, "an item of the quarantine has no file any more; its rows can only be dropped",
                    id=id_.hex(), rows=held.rows,
                )  # fmt: skip
        self.used_bytes = quarantine.used_bytes(self._directory)

    def _waits(self, entry: HeldEntry) -> bool:
        try:
            return self._sources.read_raw(Place(entry.lsn, 0)).stored is not None
        except DamagedEntry:
            return False

    # ------------------------------------------------------------------ in

    def put(
        self,
        partition: Partition,
        slices: Sequence[Slice],
        stream: str,
        schema: bytes,
        reason: str,
        detail: str,
        intent: Intent | None = None,
    ) -> bool:
        """Sets the next rows of a partition aside; with `intent`, those of this frame, which is given up.

        Returns False if the budget has no room: nothing has changed then. Raises OSError and SpoolFull likewise. Damaged
        bytes are counted also where there is no room to keep them.
        """
        with self._turn:
            entries = tuple(self._entry(schema, piece, verified=reason != "damaged") for piece in slices)
            id_ = quarantine.item_id(self._spool_id, [(one.lsn, one.start, one.stop) for one in entries])
            item = Item(id_, stream, partition, schema, reason, detail, self._clock.wall_ns(), entries)
            data = item.pack()
            if self.used_bytes + len(data) > self.budget:
                return False
            files.make_private_directory(self._directory)
            files.sync_directory(self._directory.parent)
            path = quarantine.path_of(self._directory, id_)
            before = path.stat().st_size if path.exists() else 0
            files.write_durably(path, data)
            held = HeldItem(id_, stream, reason, item.rows, len(entries), 0, gone=False)
            after = slices[-1].after
            self._held.put(held, partition, after, intent.frame_id if intent else None)
            with self._lock:
                self.used_bytes += len(data) - before
                self._items[id_] = held
                self._index.landed(partition, after, self._clock.monotonic())
                self._books.quarantine(stream, item.rows)
        self._metrics.count("collectord_records_quarantined_total", item.rows)
        event(
            _log, logging.ERROR, "rows were put into quarantine; see `collectord quarantine ls`",
            id=id_.hex(), stream=stream, rows=item.rows, reason=reason, why=detail,
        )  # fmt: skip
        return True

    def _entry(self, schema: bytes, piece: Slice, *, verified: bool) -> HeldEntry:
        try:
            raw = self._sources.read_raw(piece.place)
        except DamagedEntry:
            raw = Raw(None, b"", good=False)
        payload, verified = raw.payload, verified and raw.good
        client, sequence = (raw.stored.client, raw.stored.sequence) if raw.stored else (bytes(16), 0)
        start, stop, whole = piece.start, piece.stop, verified
        if verified and stop - start < piece.rows:
            try:
                payload = excerpt(parse_schema(schema), payload, start, stop)
                start, stop = 0, stop - start
            except Exception as error:  # noqa: BLE001  (it is poison: nothing about it has to work)
                event(
                    _log,
                    logging.WARNING,
                    "an entry cannot be cut; it is kept whole",
                    lsn=piece.place.lsn,
                    why=repr(error),
                )
                whole = False
        return HeldEntry(piece.place.lsn, client, sequence, start, stop, whole, payload)

    # ------------------------------------------------------------------ out

    def recognise(self, stored: Stored) -> bool:
        """Whether an entry of the log was put there by `retry`, and nobody knew yet. Takes it off its item."""
        held = self._items.get(stored.client)
        # Entries that the ledger knows to be in the log again are entries like any others.
        if held is None or stored.sequence <= held.again or not self._is_ours(stored):
            return False
        rows = min(stored.rows, held.rows)
        last = stored.sequence == held.entries
        self._items[held.id] = HeldItem(
            held.id, held.stream_key, held.reason, held.rows - rows, held.entries, stored.sequence, gone=last
        )
        self._books.take_out(held.stream_key, rows)
        self._written_later.append((held.id, stored.sequence, rows))
        if last:
            del self._items[held.id]
            self._under_way.discard(held.id)
            self._gone.append(held.id)
        self._write()
        self._lock.notify_all()
        return True

    def _is_ours(self, stored: Stored) -> bool:
        """Whether the entry has the bytes of the item's: a client may call itself by any id, also by this one."""
        try:
            entries = quarantine.read(self._directory, stored.client).entries
            place = Place(stored.lsn, stored.length)
            return 0 < stored.sequence <= len(entries) and (
                bytes(self._sources.read_payload(place)) == entries[stored.sequence - 1].payload
            )
        except (BadItem, DamagedEntry, OSError):
            return stored.client in self._under_way

    @property
    def settled(self) -> bool:
        """Whether the ledger knows all that was recognised; until then no segment may go."""
        return not self._written_later

    def settle(self) -> None:
        """Does what could not be done at once: tells the ledger, removes files. May be repeated."""
        with self._sweeping:
            self._sweep()

    def _sweep(self) -> None:
        with self._lock:
            self._write()
            gone = [] if self._written_later else list(self._gone)
        for id_ in gone:
            try:
                path = quarantine.path_of(self._directory, id_)
                size = path.stat().st_size if path.exists() else 0
                if self._directory.is_dir():
                    files.remove_durably(path)
                self._held.forget(id_)
            except (OSError, CollectordError) as error:
                event(
                    _log, logging.WARNING, "an item that has left the quarantine cannot be removed yet", why=str(error)
                )
                return
            with self._lock:
                self._gone.remove(id_)
                self.used_bytes -= size

    def _write(self) -> None:
        while self._written_later:
            try:
                self._held.put_again(*self._written_later[0])
            except CollectordError as error:
                event(_log, logging.WARNING, "the ledger cannot take down what left the quarantine yet", why=str(error))
                return
            del self._written_later[0]

    def retry(self, id_: bytes) -> int:
        """Puts an item's entries through the log again; returns its rows once they wait there.

        Raises BadItem if that cannot be done with it, TryAgain if the log cannot take it now: then nothing has changed.
        """
        with self._turn:
            held = self._find(id_)
            item = quarantine.read(self._directory, id_)
            if item.obstacle:
                raise BadItem(f"item {id_.hex()} cannot be tried again: {item.obstacle}")
            schema = parse_schema(item.schema)
            rows = held.rows
            self._append(
                id_,
                [
                    Entry(EntryKind.BATCH, id_, number, one.rows, one.payload, schema, item.partition)
                    for number, one in enumerate(item.entries, 1)
                    if number > held.again
                ],
            )
            deadline = self._clock.monotonic() + COMMIT_PATIENCE
            with self._lock:
                while id_ in self._items:
                    rest = deadline - self._clock.monotonic()
                    if rest <= 0 or self._closed:
                        raise TryAgain("the rows are in the log, but its reader has not come to them")
                    self._lock.wait(min(rest, 0.1))
        self.settle()
        event(_log, logging.INFO, "rows left the quarantine for the log", id=id_.hex(), rows=rows)
        return rows

    def _find(self, id_: bytes) -> HeldItem:
        with self._lock:
            held = self._items.get(id_)
            if held is None:
                raise BadItem(f"there is no item {id_.hex()} in quarantine")
            if id_ in self._under_way:
                raise TryAgain(f"item {id_.hex()} is on its way into the log")
            return held

    def _append(self, id_: bytes, entries: Sequence[Entry]) -> None:
        finished = threading.Event()
        failures: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error is not None:
                failures.append(error)
                with self._lock:
                    self._under_way.discard(id_)
            finished.set()

        with self._lock:
            self._under_way.add(id_)
        self._log.append(entries, done)
        if not finished.wait(COMMIT_PATIENCE):
            raise LogUnavailable("the log has not answered; whether the rows are in it will show")
        if failures:
            raise failures[0]

    def drop(self, id_: bytes) -> int:
        """Gives an item up for good; returns its rows. Raises BadItem if there is none, SpoolFull."""
        with self._turn:
            held = self._find(id_)
            rows = self._held.drop(id_)
            with self._lock:
                del self._items[id_]
                self._books.discard(held.stream_key, rows)
                self._gone.append(id_)
        self.settle()
        event(_log, logging.WARNING, "rows were dropped from the quarantine", id=id_.hex(), rows=rows)
        return rows

    def close(self) -> None:
        """Nobody reads the log any more: whoever waits for that is told."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    # ------------------------------------------------------------------ answers

    def ids(self) -> list[bytes]:
        with self._lock:
            return sorted(self._items)

    def totals(self) -> tuple[int, int]:
        """Items, and their rows."""
        with self._lock:
            return len(self._items), sum(item.rows for item in self._items.values())
