"""The quarantine of a running daemon: what goes in, what comes out, and that it is always counted once.

In: the item's file is synced, then one transaction of the ledger counts its rows and moves the cursor past them. Out, by
`retry`: its entries go through the log again, see `returning.py`. Out, by `drop`: one transaction. The file goes last.

Threads: any. Nothing here may be called with the pipeline's lock held.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from collectord import files, quarantine
from collectord.buffer.index import Slice
from collectord.clock import Clock
from collectord.errors import CollectordError, TryAgain, described
from collectord.excerpt import excerpt
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Partition
from collectord.pipeline.holdings import Holdings, held_of
from collectord.pipeline.returning import Log, Returning
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.pipeline.undecided import Undecided
from collectord.quarantine import BadItem, HeldEntry, Item
from collectord.schema import parse_schema
from collectord.upload.held import Held, HeldItem
from collectord.upload.records import Intent
from collectord.wal.damage import DamagedEntry
from collectord.wal.raw import Raw

_log = logging.getLogger("collectord.quarantine")


class Shelf:
    """The items under `directory`, at most `budget` bytes of them. Owns their files and their way in and out.

    Locks, in the order in which they are taken: `_turn` or `_sweeping`, never both; then `_telling` of `Returning`; then the
    pipeline's, which guards the holdings and what the parts know.
    """

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
        self._state = state
        self.budget = budget
        self._held = held
        self._spool_id = spool_id
        self._sources = sources
        self._metrics = metrics
        self._clock = clock
        self._turn = threading.Lock()
        """One at a time puts in or takes out; held over everything that this takes."""
        self._sweeping = threading.Lock()
        """One at a time removes files."""
        self._holdings = holdings = Holdings(directory, held)
        self.returning = Returning(state, holdings, held=held, log=log, sources=sources, clock=clock)
        """Entries on their way through the log."""
        self.undecided = Undecided(state, holdings, held=held, spool_id=spool_id, sources=sources)
        """Items of a lost ledger."""

    # ------------------------------------------------------------------ at the start, and ever after

    def open(self, *, ledger_lost: bool = False) -> None:
        """Clears up behind a crash. Call when the log was read once."""
        self.settle()
        self.undecided.open(ledger_lost=ledger_lost)
        for id_, held in self._holdings.items.items():
            if not quarantine.path_of(self._holdings.directory, id_).exists():
                event(
                    _log, logging.ERROR, "an item of the quarantine has no file any more; its rows can only be dropped",
                    id=id_.hex(), rows=held.rows,
                )  # fmt: skip
        self._holdings.measure()

    def settle(self) -> None:
        """Does what could not be done at once: tells the ledger, removes files. May be repeated."""
        with self._sweeping:
            self.returning.settle()
            self._remove_gone()

    def _remove_gone(self) -> None:
        with self._state.lock:
            gone = [] if self.returning.untold else list(self._holdings.gone)
        for id_ in gone:
            try:
                path = quarantine.path_of(self._holdings.directory, id_)
                size = path.stat().st_size if path.exists() else 0
                if self._holdings.directory.is_dir():
                    files.remove_durably(path)
                self._held.forget(id_)
            except (OSError, CollectordError) as error:
                event(
                    _log, logging.WARNING, "an item that has left the quarantine cannot be removed yet", why=str(error)
                )
                return
            with self._state.lock:
                self._holdings.gone.remove(id_)
                self._holdings.used_bytes -= size

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
        *,
        words: str = "",
    ) -> bool:
        """Sets the next rows of a partition aside; with `intent`, those of this frame, which is given up. `words`: what the
        item says in the place of `detail`, where that may hold a row's value: it lies beside the rows, the log does not.

        Returns False if the budget has no room: nothing has changed then. Raises OSError, SpoolFull, and BadItem if an
        item of this id is there, likewise. Damaged bytes are counted also where there is no room to keep them.
        """
        with self._turn:
            entries = tuple(self._entry(schema, piece, verified=reason != "damaged") for piece in slices)
            # Of the slices, not of the entries: these count from 0 once they are cut, so two parts of one look alike.
            id_ = quarantine.item_id(self._spool_id, [(one.place.lsn, one.start, one.stop) for one in slices])
            with self._state.lock:
                if id_ in self._holdings.items or id_ in self._holdings.gone:
                    raise BadItem(f"item {id_.hex()} is in quarantine already, and is not overwritten")
            item = Item(id_, stream, partition, schema, reason, words or detail, self._clock.wall_ns(), entries)
            data = item.pack()
            if self._holdings.used_bytes + len(data) > self.budget:
                return False
            files.make_private_directory(self._holdings.directory)
            files.sync_directory(self._holdings.directory.parent)
            path = quarantine.path_of(self._holdings.directory, id_)
            before = path.stat().st_size if path.exists() else 0
            files.write_durably(path, data)
            held = held_of(item)
            after = slices[-1].after
            self._held.put(held, partition, after, intent.frame_id if intent else None)
            with self._state.lock:
                self._holdings.used_bytes += len(data) - before
                self._holdings.items[id_] = held
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
                    why=described(error),
                )
                whole = False
        return HeldEntry(piece.place.lsn, client, sequence, start, stop, whole, payload)

    # ------------------------------------------------------------------ out

    def retry(self, id_: bytes) -> int:
        """Puts an item's entries through the log again; returns its rows once they wait there.

        Raises BadItem if that cannot be done with it, TryAgain if the log cannot take it now, or if it may be there: then
        nothing has changed.
        """
        with self._turn:
            self.returning.settle_doubts()
            held = self._find(id_)
            self.returning.refuse_doubts(id_)
            item = quarantine.read(self._holdings.directory, id_)
            if item.obstacle:
                raise BadItem(f"item {id_.hex()} cannot be tried again: {item.obstacle}")
            self.returning.send(item, held.again)
        self.settle()
        event(_log, logging.INFO, "rows left the quarantine for the log", id=id_.hex(), rows=held.rows)
        return held.rows

    def _find(self, id_: bytes) -> HeldItem:
        with self._state.lock:
            held = self._holdings.items.get(id_)
            if id_ in self.undecided:
                raise TryAgain(
                    f"whether the rows of item {id_.hex()} wait in the log is known when the ledger is rebuilt"
                )
            if held is None:
                raise BadItem(f"there is no item {id_.hex()} in quarantine")
            if self.returning.is_under_way(id_):
                raise TryAgain(f"item {id_.hex()} is on its way into the log")
            return held

    def drop(self, id_: bytes) -> int:
        """Gives an item up for good; returns its rows. Raises BadItem if there is none, SpoolFull."""
        with self._turn:
            self.returning.settle_doubts()
            self._find(id_)
            self.returning.settle_round()
            # The lock is held over the transaction: an entry recognised beside it would leave the item twice.
            with self._state.lock:
                held = self._find(id_)
                if id_ in self.returning.untold:
                    raise TryAgain(f"the ledger does not know yet which rows of item {id_.hex()} have left it")
                rows = self._held.drop(id_)
                del self._holdings.items[id_]
                self.returning.forget(id_)
                self._state.books.discard(held.stream_key, rows)
                self._holdings.gone.append(id_)
        self.settle()
        event(_log, logging.WARNING, "rows were dropped from the quarantine", id=id_.hex(), rows=rows)
        return rows

    # ------------------------------------------------------------------ answers

    def ids(self) -> list[bytes]:
        with self._state.lock:
            return sorted(self._holdings.items)

    def totals(self) -> tuple[int, int]:
        """Items, and their rows."""
        with self._state.lock:
            return len(self._holdings.items), sum(item.rows for item in self._holdings.items.values())

    @property
    def used_bytes(self) -> int:
        """Of all files; without the lock."""
        return self._holdings.used_bytes
