"""The quarantine of a running daemon: what goes in, what comes out, and that it is always counted once.

In: the item's file is synced, then one transaction of the ledger counts its rows and moves the cursor past them. Out, by
`retry`: its entries go through the log again under the item's id as client, numbered from 1; the reader recognises them,
also after a crash, and one transaction takes them off the item. Out, by `drop`: one transaction. The file goes last.

What the reader has recognised the ledger is told a round at a time (`settle_round`), outside the pipeline's lock.

Threads: any. `recognise` is called with the pipeline's lock held; nothing else may be.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from collectord import files, quarantine
from collectord.buffer.index import Slice
from collectord.clock import Clock
from collectord.errors import CollectordError, LogUnavailable, TryAgain
from collectord.excerpt import excerpt
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Buffer, Cursor, Entry, EntryKind, Lsn, Partition, Place, Stored
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.quarantine import BadItem, HeldEntry, Item
from collectord.schema import parse_schema
from collectord.upload.held import Held, HeldItem
from collectord.upload.records import Intent
from collectord.wal.damage import DamagedEntry
from collectord.wal.raw import Raw
from collectord.wal.writer import Done

COMMIT_PATIENCE = 60.0
"""Seconds to wait for the log, and for its reader."""
_KNOWN_ITEMS = 16
"""Items whose payloads' hashes are remembered: one is on its way at a time, or a few were when the process died."""
_HASH_BYTES = 16

_log = logging.getLogger("collectord.quarantine")


class Log(Protocol):
    def append(self, entries: Sequence[Entry], done: Done) -> None: ...


@dataclass(frozen=True, slots=True)
class Undecided:
    """An item of a lost ledger whose rows, or some of them, are in the log too."""

    held: HeldItem
    partition: Partition
    places: list[tuple[Lsn, int, int]]
    """`(LSN, start, stop)` of the rows in the log, in its order."""

    @property
    def rows(self) -> int:
        """That are in the log too."""
        return sum(stop - start for _, start, stop in self.places)

    def is_passed(self, cursor: Cursor | None) -> bool:
        """Whether a cursor of its partition stands behind all of them."""
        lsn, _, stop = self.places[-1]
        return cursor is not None and (cursor.lsn > lsn or (cursor.lsn == lsn and cursor.row >= stop))


class Shelf:
    """The items under `directory`, at most `budget` bytes of them."""

    def __init__(
        self,
        state: State,
        directory: Path,
        budget: int,
        *,
        held: Held,
        spool_id: bytes,
        log: Log,
        sources: Sources,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """The state's lock guards also what is said to be so below; notified when an item has left."""
        self._state = state
        self._directory = directory
        self.budget = budget
        self._held = held
        self._spool_id = spool_id
        self._log = log
        self._sources = sources
        self._metrics = metrics
        self._clock = clock
        self._turn = threading.Lock()
        """One at a time puts in or takes out; held over everything that this takes."""
        self._sweeping = threading.Lock()
        """One at a time removes files."""
        self._telling = threading.Lock()
        """One at a time tells the ledger what was recognised; taken after `_sweeping`, before the pipeline's lock."""
        self._items = {item.id: item for item in held.items() if not item.gone}
        """Guarded by the pipeline's lock, as are the following."""
        self._written_later: dict[bytes, tuple[int, int]] = {}
        """Recognised, and the ledger was not told yet: by id the highest sequence, and the rows of all of them."""
        self._doubts: dict[bytes, list[Stored]] = {}
        """By id the entries of the log, in its order, of which nobody knows yet whether they are the item's: one that cannot
        be read, and all behind it. Not taken off the item, so counted twice until it is known."""
        self._hashes: dict[bytes, bytes] = {}
        """By id the hashes of an item's payloads, one behind the other; empty if its file is damaged."""
        self._gone = [item.id for item in held.items() if item.gone]
        self._undecided: dict[bytes, Undecided] = {}
        """By id; until the ledger is rebuilt. What of them is not in the log is counted, and in no ledger yet."""
        self._under_way: set[bytes] = set()
        """Handed to the log, and neither failed nor recognised yet."""
        self._closed = False
        self.used_bytes = quarantine.used_bytes(directory)

    # ------------------------------------------------------------------ at the start

    def open(self, *, ledger_lost: bool = False) -> None:
        """Clears up behind a crash. Call when the log was read once.

        A file that the ledger does not know is one of three. The process died between file and ledger: its entries still
        wait, so it goes. Or the ledger was lost, and of what the log no longer holds the rows are nowhere else: that is taken
        in. Or it was lost and the log holds them still: until the rebuild nobody knows whether they wait.
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
            undecided = self._undecided_of(item) if ledger_lost else None
            if undecided is None:
                self._take_in(item)
            else:
                with self._state.lock:
                    self._undecided[id_] = undecided
                    self._state.books.quarantine(item.stream, item.rows - undecided.rows)
        for id_, held in self._items.items():
            if not quarantine.path_of(self._directory, id_).exists():
                event(
                    _log, logging.ERROR, "an item of the quarantine has no file any more; its rows can only be dropped",
                    id=id_.hex(), rows=held.rows,
                )  # fmt: skip
        self.used_bytes = quarantine.used_bytes(self._directory)

    def _take_in(self, item: Item) -> None:
        """An item that the ledger does not know: what of it waits in the log is the log's, and the rest is taken in."""
        alone = tuple(entry for entry in item.entries if not self._waits(entry))
        if not alone:
            files.remove_durably(quarantine.path_of(self._directory, item.id))
            return
        if len(alone) < len(item.entries):
            item = self._reduce(item, alone)
            if item.id in self._items:
                return
        held = _held(item)
        self._held.adopt(held)
        with self._state.lock:
            self._items[item.id] = held
            self._state.books.quarantine(item.stream, item.rows)

    def _undecided_of(self, item: Item) -> Undecided | None:
        """None if nothing of it is in the log, or nobody can say which rows it means."""
        with self._state.lock:
            rows = {place.lsn: rows for place, rows in self._state.index.copy(item.partition)}
        waiting = {entry.lsn for entry in item.entries if entry.lsn in rows and self._waits(entry)}
        places = quarantine.places_of(item, self._spool_id, rows) if waiting else None
        if places is None:
            return None
        return Undecided(_held(item), item.partition, [place for place in places if place[0] in waiting])

    def set_aside(self, partition: Partition) -> list[tuple[Lsn, int, int]]:
        """`(LSN, start, stop)` of rows in the log that an item holds too, of which a lost ledger does not know any more."""
        with self._state.lock:
            undecided = [one for one in self._undecided.values() if one.partition == partition]
        return [place for one in undecided for place in one.places]

    def passed(self, cursors: Mapping[Partition, Cursor]) -> list[HeldItem]:
        """The items whose rows do not wait, where the cursors of a rebuilt ledger are these."""
        with self._state.lock:
            return [one.held for one in self._undecided.values() if one.is_passed(cursors.get(one.partition))]

    def decide(self, passed: Sequence[HeldItem]) -> None:
        """The ledger is rebuilt and counts these items; the rows of all others wait in the log."""
        with self._state.lock:
            undecided, self._undecided = self._undecided, {}
            for held in passed:
                self._items[held.id] = held
                self._state.books.quarantine(held.stream_key, undecided.pop(held.id).rows)
            for one in undecided.values():
                self._state.books.quarantine(one.held.stream_key, one.rows - one.held.rows)
        for id_ in undecided:
            try:
                self._take_in(quarantine.read(self._directory, id_))
            except (OSError, CollectordError) as error:
                event(
                    _log, logging.WARNING, "an item whose rows wait in the log stays until the next start",
                    id=id_.hex(), why=str(error),
                )  # fmt: skip
        self.used_bytes = quarantine.used_bytes(self._directory)

    def _reduce(self, item: Item, alone: tuple[HeldEntry, ...]) -> Item:
        """An item with those entries only which the log has no more; the others wait there and must not count twice.

        The new file is there before the old one goes. A kill between the two is settled by the next start, which makes
        the same item of the old file once more.
        """
        rest = replace(item, id=quarantine.rest_id(item.id, [entry.lsn for entry in alone]), entries=alone)
        files.write_durably(quarantine.path_of(self._directory, rest.id), rest.pack())
        files.remove_durably(quarantine.path_of(self._directory, item.id))
        event(
            _log, logging.WARNING, "a part of an item waits in the log; only the rest of it stays in quarantine",
            id=item.id.hex(), rest=rest.id.hex(), rows=rest.rows,
        )  # fmt: skip
        return rest

    def _waits(self, entry: HeldEntry) -> bool:
        try:
            stored = self._sources.read_raw(Place(entry.lsn, 0)).stored
        except DamagedEntry:
            return False
        return stored is not None and (stored.client, stored.sequence) == (entry.client, entry.sequence)

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

        Returns False if the budget has no room: nothing has changed then. Raises OSError, SpoolFull, and BadItem if an
        item of this id is there, likewise. Damaged bytes are counted also where there is no room to keep them.
        """
        with self._turn:
            entries = tuple(self._entry(schema, piece, verified=reason != "damaged") for piece in slices)
            # Of the slices, not of the entries: these count from 0 once they are cut, so two parts of one look alike.
            id_ = quarantine.item_id(self._spool_id, [(one.place.lsn, one.start, one.stop) for one in slices])
            with self._state.lock:
                if id_ in self._items or id_ in self._gone:
                    raise BadItem(f"item {id_.hex()} is in quarantine already, and is not overwritten")
            item = Item(id_, stream, partition, schema, reason, detail, self._clock.wall_ns(), entries)
            data = item.pack()
            if self.used_bytes + len(data) > self.budget:
                return False
            files.make_private_directory(self._directory)
            files.sync_directory(self._directory.parent)
            path = quarantine.path_of(self._directory, id_)
            before = path.stat().st_size if path.exists() else 0
            files.write_durably(path, data)
            held = _held(item)
            after = slices[-1].after
            self._held.put(held, partition, after, intent.frame_id if intent else None)
            with self._state.lock:
                self.used_bytes += len(data) - before
                self._items[id_] = held
                self._state.index.landed(partition, after, self._clock.monotonic())
                self._state.books.quarantine(stream, item.rows)
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
        """Whether an entry of the log was put there by `retry`, and nobody knew yet. Takes it off its item.

        Only in memory: `settle_round` or `settle` tells the ledger, one transaction for all entries of an item. Dying
        before that neither doubles nor loses: until the ledger was told no segment goes (`settled`), so the next start
        reads the same entries again, finds them above the ledger's `held.again`, and recognises them once more, also
        those that have landed meanwhile, which the cursor keeps out of the buffers. Dying after it, they are not above
        `held.again` any more, and the transaction has counted as requeued just what it took off the item.
        """
        held = self._items.get(stored.client)
        # Entries that the ledger knows to be in the log again are entries like any others.
        if held is None or stored.sequence <= held.again:
            return False
        try:
            ours = held.id not in self._doubts and self._is_ours(stored)
        except (DamagedEntry, OSError) as error:
            event(
                _log, logging.WARNING, "an entry may have left the quarantine, and cannot be read; it is tried again",
                id=held.id.hex(), lsn=stored.lsn, rows=stored.rows, why=str(error),
            )  # fmt: skip
            self._doubts[held.id] = []
        if held.id in self._doubts:
            self._doubts[held.id].append(stored)
            return False
        if ours:
            self._take_off(held, stored)
        return ours

    def _take_off(self, held: HeldItem, stored: Stored) -> None:
        rows = min(stored.rows, held.rows)
        last = stored.sequence == held.entries
        self._items[held.id] = HeldItem(
            held.id, held.stream_key, held.reason, held.rows - rows, held.entries, stored.sequence, gone=last
        )
        self._state.books.take_out(held.stream_key, rows)
        self._written_later[held.id] = (stored.sequence, self._written_later.get(held.id, (0, 0))[1] + rows)
        if last:
            del self._items[held.id]
            self._hashes.pop(held.id, None)
            self._under_way.discard(held.id)
            self._gone.append(held.id)
            self._state.lock.notify_all()

    def _is_ours(self, stored: Stored) -> bool:
        """Whether the entry has the bytes of the item's: a client may call itself by any id, also by this one.

        Raises DamagedEntry and OSError where that cannot be seen now.
        """
        id_ = stored.client
        try:
            if id_ not in self._hashes:
                try:
                    self._know(id_, _hashes_of(quarantine.read(self._directory, id_)))
                except CollectordError:
                    # It does not mend itself, so it is read once; and it can never be tried again.
                    self._know(id_, b"")
            known = self._hashes[id_]
            if not known:
                return id_ in self._under_way
            end = stored.sequence * _HASH_BYTES
            if not 0 < end <= len(known):
                return False
            payload = self._sources.read_payload(Place(stored.lsn, stored.length))
            return _hash(payload) == known[end - _HASH_BYTES : end]
        except (DamagedEntry, OSError):
            if id_ in self._under_way:
                return True
            raise

    def _settle_doubts(self) -> None:
        """Looks once more at what could not be read."""
        if not self._doubts:
            return
        with self._state.lock:
            for id_, entries in list(self._doubts.items()):
                while entries and id_ in self._items:
                    stored, held = entries[0], self._items[id_]
                    try:
                        ours = self._is_ours(stored)
                    except OSError:
                        break
                    except DamagedEntry:
                        if self._is_waiting(stored):
                            break
                        # It was set aside itself, or has landed long ago: it lands no more, whosever it is.
                        ours = False
                    if ours:
                        self._take_off(held, stored)
                        # Until now it was one more that had been received.
                        self._state.books.receive(held.stream_key, -stored.rows)
                    del entries[0]
                if not entries or id_ not in self._items:
                    del self._doubts[id_]

    def _is_waiting(self, stored: Stored) -> bool:
        return next(self._state.index.between(stored.lsn, stored.end), None) is not None

    def _know(self, id_: bytes, hashes: bytes) -> None:
        while len(self._hashes) >= _KNOWN_ITEMS:
            del self._hashes[next(iter(self._hashes))]
        self._hashes[id_] = hashes

    @property
    def settled(self) -> bool:
        """Whether all entries are recognised that can be, and the ledger knows of it; until then no segment may go."""
        return not (self._written_later or self._doubts)

    def settle(self) -> None:
        """Does what could not be done at once: tells the ledger, removes files. May be repeated."""
        with self._sweeping:
            self._sweep()

    def settle_round(self) -> None:
        """Tells the ledger what was recognised: one transaction per item. For the reader, after each round, without the
        pipeline's lock; it may be left out, for `settle` makes up for it. May be repeated."""
        if self._written_later:
            self._tell()

    def _sweep(self) -> None:
        self._settle_doubts()
        self._tell()
        with self._state.lock:
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
            with self._state.lock:
                self._gone.remove(id_)
                self.used_bytes -= size

    def _tell(self) -> None:
        with self._telling:
            with self._state.lock:
                recognised = dict(self._written_later)
            for id_, (sequence, rows) in recognised.items():
                try:
                    self._held.put_again(id_, sequence, rows)
                except CollectordError as error:
                    event(
                        _log,
                        logging.WARNING,
                        "the ledger cannot take down what left the quarantine yet",
                        why=str(error),
                    )
                    return
                with self._state.lock:
                    # More may have been recognised meanwhile.
                    later, more = self._written_later.pop(id_)
                    if later > sequence:
                        self._written_later[id_] = (later, more - rows)

    def retry(self, id_: bytes) -> int:
        """Puts an item's entries through the log again; returns its rows once they wait there.

        Raises BadItem if that cannot be done with it, TryAgain if the log cannot take it now, or if it may be there: then
        nothing has changed.
        """
        with self._turn:
            self._settle_doubts()
            held = self._find(id_)
            self._refuse_doubts(id_)
            item = quarantine.read(self._directory, id_)
            if item.obstacle:
                raise BadItem(f"item {id_.hex()} cannot be tried again: {item.obstacle}")
            schema = parse_schema(item.schema)
            rows = held.rows
            hashes = _hashes_of(item)
            with self._state.lock:
                # So that the reader need not read the item's file with the lock held.
                self._hashes.pop(id_, None)
                self._know(id_, hashes)
            self._append(
                id_,
                [
                    Entry(EntryKind.BATCH, id_, number, one.rows, one.payload, schema, item.partition)
                    for number, one in enumerate(item.entries, 1)
                    if number > held.again
                ],
            )
            deadline = self._clock.monotonic() + COMMIT_PATIENCE
            with self._state.lock:
                while id_ in self._items:
                    rest = deadline - self._clock.monotonic()
                    if rest <= 0 or self._closed:
                        raise TryAgain("the rows are in the log, but its reader has not come to them")
                    self._state.lock.wait(min(rest, 0.1))
        self.settle()
        event(_log, logging.INFO, "rows left the quarantine for the log", id=id_.hex(), rows=rows)
        return rows

    def _find(self, id_: bytes) -> HeldItem:
        with self._state.lock:
            held = self._items.get(id_)
            if id_ in self._undecided:
                raise TryAgain(
                    f"whether the rows of item {id_.hex()} wait in the log is known when the ledger is rebuilt"
                )
            if held is None:
                raise BadItem(f"there is no item {id_.hex()} in quarantine")
            if id_ in self._under_way:
                raise TryAgain(f"item {id_.hex()} is on its way into the log")
            return held

    def _refuse_doubts(self, id_: bytes) -> None:
        with self._state.lock:
            doubts = self._doubts.get(id_)
            if doubts:
                raise TryAgain(
                    f"an entry of the log, at {doubts[0].lsn}, may be of item {id_.hex()} and cannot be read now; "
                    "what is in the log already must not go there again"
                )

    def _append(self, id_: bytes, entries: Sequence[Entry]) -> None:
        finished = threading.Event()
        failures: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error is not None:
                failures.append(error)
                with self._state.lock:
                    self._under_way.discard(id_)
            finished.set()

        with self._state.lock:
            self._under_way.add(id_)
        self._log.append(entries, done)
        if not finished.wait(COMMIT_PATIENCE):
            raise LogUnavailable("the log has not answered; whether the rows are in it will show")
        if failures:
            raise failures[0]

    def drop(self, id_: bytes) -> int:
        """Gives an item up for good; returns its rows. Raises BadItem if there is none, SpoolFull."""
        with self._turn:
            self._settle_doubts()
            self._find(id_)
            self.settle_round()
            # The lock is held over the transaction: an entry recognised beside it would leave the item twice.
            with self._state.lock:
                held = self._find(id_)
                if id_ in self._written_later:
                    raise TryAgain(f"the ledger does not know yet which rows of item {id_.hex()} have left it")
                rows = self._held.drop(id_)
                del self._items[id_]
                self._hashes.pop(id_, None)
                self._doubts.pop(id_, None)
                self._state.books.discard(held.stream_key, rows)
                self._gone.append(id_)
        self.settle()
        event(_log, logging.WARNING, "rows were dropped from the quarantine", id=id_.hex(), rows=rows)
        return rows

    def close(self) -> None:
        """Nobody reads the log any more: whoever waits for that is told."""
        with self._state.lock:
            self._closed = True
            self._state.lock.notify_all()

    # ------------------------------------------------------------------ answers

    def ids(self) -> list[bytes]:
        with self._state.lock:
            return sorted(self._items)

    def totals(self) -> tuple[int, int]:
        """Items, and their rows."""
        with self._state.lock:
            return len(self._items), sum(item.rows for item in self._items.values())


def _held(item: Item) -> HeldItem:
    return HeldItem(item.id, item.stream, item.reason, item.rows, len(item.entries), 0, gone=False)


def _hash(payload: Buffer) -> bytes:
    # Not a mere checksum: a client that knows an item's bytes could make others that fit one.
    return hashlib.blake2b(payload, digest_size=_HASH_BYTES).digest()


def _hashes_of(item: Item) -> bytes:
    return b"".join(_hash(entry.payload) for entry in item.entries)
