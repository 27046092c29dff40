"""Entries of items that come back through the log: sent into it by `retry`, recognised when its reader comes to them.

They go under the item's id as client, numbered from 1; the reader recognises them, also after a crash, and one transaction
takes them off the item. What the reader has recognised the ledger is told a round at a time (`settle_round`), outside the
pipeline's lock.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Sequence
from typing import Protocol

from collectord import quarantine
from collectord.clock import Clock
from collectord.errors import CollectordError, LogUnavailable, TryAgain
from collectord.logs import event
from collectord.model import Buffer, Entry, EntryKind, Place, Stored
from collectord.pipeline.holdings import Holdings
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.quarantine import Item
from collectord.schema import parse_schema
from collectord.upload.held import Held, HeldItem
from collectord.wal.damage import DamagedEntry
from collectord.wal.writer import Done

COMMIT_PATIENCE = 60.0
"""Seconds to wait for the log, and for its reader."""
_KNOWN_ITEMS = 16
"""Items whose payloads' hashes are remembered: one is on its way at a time, or a few were when the process died."""
_HASH_BYTES = 16

_log = logging.getLogger("collectord.quarantine")


class Log(Protocol):
    def append(self, entries: Sequence[Entry], done: Done) -> None: ...


class Returning:
    """Owns what is known of entries on their way, and telling the ledger of those that have come; a part of `Shelf`.

    Threads: any. `recognise` and what says so are called with the pipeline's lock held; nothing else may be.
    """

    def __init__(
        self, state: State, holdings: Holdings, *, held: Held, log: Log, sources: Sources, clock: Clock
    ) -> None:
        """The state's lock guards also what is said to be so below; notified when an item has left."""
        self._state = state
        self._holdings = holdings
        self._held = held
        self._log = log
        self._sources = sources
        self._clock = clock
        self._telling = threading.Lock()
        """One at a time tells the ledger what was recognised; taken after the shelf's locks, before the pipeline's lock."""
        self._written_later: dict[bytes, tuple[int, int]] = {}
        """Recognised, and the ledger was not told yet: by id the highest sequence, and the rows of all of them. Guarded by the
        pipeline's lock, as are the following."""
        self._doubts: dict[bytes, list[Stored]] = {}
        """By id the entries of the log, in its order, of which nobody knows yet whether they are the item's: one that cannot
        be read, and all behind it. Not taken off the item, so counted twice until it is known."""
        self._hashes: dict[bytes, bytes] = {}
        """By id the hashes of an item's payloads, one behind the other; empty if its file is damaged."""
        self._under_way: set[bytes] = set()
        """Handed to the log, and neither failed nor recognised yet."""
        self._closed = False

    # ------------------------------------------------------------------ into the log

    def send(self, item: Item, again: int) -> None:
        """Puts an item's entries behind the first `again` through the log; returns when its reader has come to all of them.

        Raises TryAgain if the log cannot take them now, or if they may be there. One item at a time.
        """
        schema = parse_schema(item.schema)
        hashes = _hashes_of(item)
        with self._state.lock:
            # So that the reader need not read the item's file with the lock held.
            self._hashes.pop(item.id, None)
            self._know(item.id, hashes)
        self._append(
            item.id,
            [
                Entry(EntryKind.BATCH, item.id, number, one.rows, one.payload, schema, item.partition)
                for number, one in enumerate(item.entries, 1)
                if number > again
            ],
        )
        deadline = self._clock.monotonic() + COMMIT_PATIENCE
        with self._state.lock:
            while item.id in self._holdings.items:
                rest = deadline - self._clock.monotonic()
                if rest <= 0 or self._closed:
                    raise TryAgain("the rows are in the log, but its reader has not come to them")
                self._state.lock.wait(min(rest, 0.1))

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

    def is_under_way(self, id_: bytes) -> bool:
        """Whether the log was handed its entries, and neither failed nor came to them. With the pipeline's lock held."""
        return id_ in self._under_way

    def close(self) -> None:
        """Nobody reads the log any more: whoever waits for that is told."""
        with self._state.lock:
            self._closed = True
            self._state.lock.notify_all()

    # ------------------------------------------------------------------ out of the log

    def recognise(self, stored: Stored) -> bool:
        """Whether an entry of the log was put there by `retry`, and nobody knew yet. Takes it off its item.

        Only in memory: `settle_round` or `settle` tells the ledger, one transaction for all entries of an item. Dying
        before that neither doubles nor loses: until the ledger was told no segment goes (`settled`), so the next start
        reads the same entries again, finds them above the ledger's `held.again`, and recognises them once more, also
        those that have landed meanwhile, which the cursor keeps out of the buffers. Dying after it, they are not above
        `held.again` any more, and the transaction has counted as requeued just what it took off the item.
        """
        held = self._holdings.items.get(stored.client)
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
        self._holdings.items[held.id] = HeldItem(
            held.id, held.stream_key, held.reason, held.rows - rows, held.entries, stored.sequence, gone=last
        )
        self._state.books.take_out(held.stream_key, rows)
        self._written_later[held.id] = (stored.sequence, self._written_later.get(held.id, (0, 0))[1] + rows)
        if last:
            del self._holdings.items[held.id]
            self._hashes.pop(held.id, None)
            self._under_way.discard(held.id)
            self._holdings.gone.append(held.id)
            self._state.lock.notify_all()

    def _is_ours(self, stored: Stored) -> bool:
        """Whether the entry has the bytes of the item's: a client may call itself by any id, also by this one.

        Raises DamagedEntry and OSError where that cannot be seen now.
        """
        id_ = stored.client
        try:
            if id_ not in self._hashes:
                try:
                    self._know(id_, _hashes_of(quarantine.read(self._holdings.directory, id_)))
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

    def _know(self, id_: bytes, hashes: bytes) -> None:
        while len(self._hashes) >= _KNOWN_ITEMS:
            del self._hashes[next(iter(self._hashes))]
        self._hashes[id_] = hashes

    def forget(self, id_: bytes) -> None:
        """The item is there no more, whatever may come. With the pipeline's lock held."""
        self._hashes.pop(id_, None)
        self._doubts.pop(id_, None)

    # ------------------------------------------------------------------ what could not be done at once

    def settle(self) -> None:
        """Looks once more at what could not be read, and tells the ledger. May be repeated."""
        self.settle_doubts()
        self._tell()

    def settle_round(self) -> None:
        """Tells the ledger what was recognised: one transaction per item. For the reader, after each round, without the
        pipeline's lock; it may be left out, for `settle` makes up for it. May be repeated."""
        if self._written_later:
            self._tell()

    @property
    def settled(self) -> bool:
        """Whether all entries are recognised that can be, and the ledger knows of it; until then no segment may go."""
        return not (self._written_later or self._doubts)

    @property
    def untold(self) -> Collection[bytes]:
        """Items of which rows have left and the ledger does not know it yet. With the pipeline's lock held."""
        return self._written_later.keys()

    def refuse_doubts(self, id_: bytes) -> None:
        with self._state.lock:
            doubts = self._doubts.get(id_)
            if doubts:
                raise TryAgain(
                    f"an entry of the log, at {doubts[0].lsn}, may be of item {id_.hex()} and cannot be read now; "
                    "what is in the log already must not go there again"
                )

    def settle_doubts(self) -> None:
        """Looks once more at what could not be read."""
        if not self._doubts:
            return
        with self._state.lock:
            for id_, entries in list(self._doubts.items()):
                while entries and id_ in self._holdings.items:
                    stored, held = entries[0], self._holdings.items[id_]
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
                if not entries or id_ not in self._holdings.items:
                    del self._doubts[id_]

    def _is_waiting(self, stored: Stored) -> bool:
        return next(self._state.index.between(stored.lsn, stored.end), None) is not None

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


def _hash(payload: Buffer) -> bytes:
    # Not a mere checksum: a client that knows an item's bytes could make others that fit one.
    return hashlib.blake2b(payload, digest_size=_HASH_BYTES).digest()


def _hashes_of(item: Item) -> bytes:
    return b"".join(_hash(entry.payload) for entry in item.entries)
