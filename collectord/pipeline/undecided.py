"""Files of the quarantine that the ledger does not know: whose their rows are, the item's or the log's.

Such a file is one of three. The process died between file and ledger: its entries still wait, so it goes. Or the ledger was
lost, and of what the log no longer holds the rows are nowhere else: that is taken in. Or it was lost and the log holds them
still: until the rebuild nobody knows whether they wait.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from collectord import files, quarantine
from collectord.errors import CollectordError
from collectord.logs import event
from collectord.model import Cursor, Lsn, Partition, Place
from collectord.pipeline.holdings import Holdings, held_of
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.quarantine import BadItem, HeldEntry, Item
from collectord.upload.held import Held, HeldItem
from collectord.wal.damage import DamagedEntry

_log = logging.getLogger("collectord.quarantine")


@dataclass(frozen=True, slots=True)
class UndecidedItem:
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


class Undecided:
    """Owns the items of a lost ledger whose rows, or some of them, are in the log too; a part of `Shelf`.

    Which these are changes at the start (`open`), when nobody else is there yet, and at the end of a rebuild (`decide`), before
    which nothing is put in: of the locks only the pipeline's is taken. Asked from any thread; `in` with that lock held, all
    else without.
    """

    def __init__(self, state: State, holdings: Holdings, *, held: Held, spool_id: bytes, sources: Sources) -> None:
        self._state = state
        self._holdings = holdings
        self._held = held
        self._spool_id = spool_id
        self._sources = sources
        self._items: dict[bytes, UndecidedItem] = {}
        """By id; until the ledger is rebuilt. What of them is not in the log is counted, and in no ledger yet. Guarded by the
        pipeline's lock."""

    def __contains__(self, id_: bytes) -> bool:
        """With the pipeline's lock held."""
        return id_ in self._items

    def open(self, *, ledger_lost: bool) -> None:
        """Looks through the files that are there. Call when the log was read once."""
        for id_ in quarantine.ids(self._holdings.directory):
            if id_ in self._holdings.items:
                continue
            try:
                item = quarantine.read(self._holdings.directory, id_)
            except BadItem as error:
                event(
                    _log, logging.ERROR, "an item of the quarantine is damaged, and nothing counts it", why=str(error)
                )
                continue
            undecided = self._waiting_of(item) if ledger_lost else None
            if undecided is None:
                self._take_in(item)
            else:
                with self._state.lock:
                    self._items[id_] = undecided
                    self._state.books.quarantine(item.stream, item.rows - undecided.rows)

    def set_aside(self, partition: Partition) -> list[tuple[Lsn, int, int]]:
        """`(LSN, start, stop)` of rows in the log that an item holds too, of which a lost ledger does not know any more."""
        with self._state.lock:
            undecided = [one for one in self._items.values() if one.partition == partition]
        return [place for one in undecided for place in one.places]

    def passed(self, cursors: Mapping[Partition, Cursor]) -> list[HeldItem]:
        """The items whose rows do not wait, where the cursors of a rebuilt ledger are these."""
        with self._state.lock:
            return [one.held for one in self._items.values() if one.is_passed(cursors.get(one.partition))]

    def decide(self, passed: Sequence[HeldItem]) -> None:
        """The ledger is rebuilt and counts these items; the rows of all others wait in the log."""
        with self._state.lock:
            undecided, self._items = self._items, {}
            for held in passed:
                self._holdings.items[held.id] = held
                self._state.books.quarantine(held.stream_key, undecided.pop(held.id).rows)
            for one in undecided.values():
                self._state.books.quarantine(one.held.stream_key, one.rows - one.held.rows)
        for id_ in undecided:
            try:
                self._take_in(quarantine.read(self._holdings.directory, id_))
            except (OSError, CollectordError) as error:
                event(
                    _log, logging.WARNING, "an item whose rows wait in the log stays until the next start",
                    id=id_.hex(), why=str(error),
                )  # fmt: skip
        self._holdings.measure()

    def _waiting_of(self, item: Item) -> UndecidedItem | None:
        """None if nothing of it is in the log, or nobody can say which rows it means."""
        with self._state.lock:
            rows = {place.lsn: rows for place, rows in self._state.index.copy(item.partition)}
        waiting = {entry.lsn for entry in item.entries if entry.lsn in rows and self._waits(entry)}
        places = quarantine.places_of(item, self._spool_id, rows) if waiting else None
        if places is None:
            return None
        return UndecidedItem(held_of(item), item.partition, [place for place in places if place[0] in waiting])

    def _take_in(self, item: Item) -> None:
        """An item that the ledger does not know: what of it waits in the log is the log's, and the rest is taken in."""
        alone = tuple(entry for entry in item.entries if not self._waits(entry))
        if not alone:
            files.remove_durably(quarantine.path_of(self._holdings.directory, item.id))
            return
        if len(alone) < len(item.entries):
            item = self._reduce(item, alone)
            if item.id in self._holdings.items:
                return
        held = held_of(item)
        self._held.adopt(held)
        with self._state.lock:
            self._holdings.items[item.id] = held
            self._state.books.quarantine(item.stream, item.rows)

    def _reduce(self, item: Item, alone: tuple[HeldEntry, ...]) -> Item:
        """An item with those entries only which the log has no more; the others wait there and must not count twice.

        The new file is there before the old one goes. A kill between the two is settled by the next start, which makes
        the same item of the old file once more.
        """
        rest = replace(item, id=quarantine.rest_id(item.id, [entry.lsn for entry in alone]), entries=alone)
        files.write_durably(quarantine.path_of(self._holdings.directory, rest.id), rest.pack())
        files.remove_durably(quarantine.path_of(self._holdings.directory, item.id))
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
