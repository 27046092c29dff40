"""What was collected and is not yet acknowledged, bounded in bytes.

One per client. `put` is called by scoring threads: its lock is held for an append, never across input or output. The
sender's threads take sealed pages from the sender's queue and settle them here. Lock order: sender, then outbox.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from .block import Block
from .page import HOUR, REQUEST_BYTES, Page
from .wire import Schema, Stream

MAX_SLOTS = 1000
LARGE = 8192
"""Bytes from which on values go into a pooled buffer."""
EMPTY = Block(None, (), 0, None)
Id = bytes | str


class Carrier(Protocol):
    """What an outbox needs of its sender. All of it returns at once."""

    def enqueue(self, outbox: Outbox, page: Page) -> None: ...

    def wake(self) -> None: ...

    def count_dropped(self, stream: Stream, reason: str, rows: int) -> None: ...


class Slot:
    """A schema and its open pages, at most one per hour. Protected by the outbox's lock."""

    __slots__ = ("page", "pages", "schema")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.page: Page | None = None
        """The one used last."""
        self.pages: dict[int, Page] = {}


class Outbox:
    """Thread-safe, except `after_fork`."""

    def __init__(
        self, carrier: Callable[[Outbox], Carrier], limit: int, page_bytes: int, linger: float, block: bool
    ) -> None:
        self._carrier = carrier
        self.limit = limit
        self.page_bytes = page_bytes
        self.linger = linger
        self.block = block
        self.closed = False
        self.collecting = True
        """False while the daemon has switched collecting off."""
        self.abandoned = False
        """True once nobody is left who could collect."""
        self.after_fork()

    def after_fork(self) -> None:
        """Begins empty: what was unsent at the fork belongs to the parent. Runs with no other thread alive."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.carrier: Carrier | None = None
        self._slots: dict[Schema, Slot] = getattr(self, "_slots", {})
        for slot in self._slots.values():
            slot.page = None
            slot.pages = {}
        self._open: dict[Page, Slot] = {}
        self._nudge = False
        self.bytes = 0
        self.sealed = 0
        self.settled = 0
        self.lost = 0
        """Rows that were collected and then given up, also counted in `dropped`."""
        self.collected = 0
        self.acknowledged = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def slot(self, schema: Schema) -> Slot:
        """The slot of `schema`; the same object as long as it is in use."""
        with self.lock:
            found = self._slots.get(schema)
            if found is None:
                if len(self._slots) >= MAX_SLOTS:
                    self._slots = {slot.schema: slot for slot in self._slots.values() if slot.pages}
                found = self._slots[schema] = Slot(schema)
            return found

    def put(self, slot: Slot, tensor: bytes | memoryview, time_ns: int, id: bytes, rows: int) -> str | None:
        """Copies one request of a tensor schema into its page: the hot end. Returns the reason if it was dropped."""
        size = len(tensor) + REQUEST_BYTES
        with self.lock:
            page = slot.page
            if (
                page is None
                or page.hour != time_ns // HOUR
                or page.size + size > self.page_bytes
                or self.bytes + size > self.limit
                or self.closed
            ):
                if not self._admit(size):
                    return "closed" if self.closed else "outbox_full"
                page = self._page(slot, time_ns // HOUR, size)
            if page.buffer is None and len(tensor) < LARGE:
                page.data += tensor
            else:
                page.write(tensor, self.page_bytes)
            page.times.append(time_ns)
            page.ids += id
            page.counts.append(rows)
            if page.first_rows is not None:
                page.first_rows.append(0)
            page.rows += rows
            page.size += size
            self.bytes += size
            self.collected += rows
        if self._nudge:
            self._wake()
        return None

    def put_block(
        self,
        slot: Slot,
        pieces: Sequence[tuple[int, Block]],
        time_ns: int,
        id: Id,
        request: Id | None,
        keys: Sequence[Id] | None,
    ) -> str | None:
        """Copies one request in pieces, each with the index of its first row, as a whole or not at all.

        `keys` is one id per row in place of `id`. Returns the reason if it was dropped.
        """
        extra = REQUEST_BYTES + (len(request) if request is not None else 0)
        hour = time_ns // HOUR
        try:
            with self.lock:
                if not self.block and not self._admit(sum(_cost(p, at, extra, id, keys) for at, p in pieces)):
                    return "closed" if self.closed else "outbox_full"
                for at, piece in pieces:
                    size = _cost(piece, at, extra, id, keys)
                    if self.block and not self._admit(size):
                        return "closed" if self.closed else "outbox_full"
                    page = slot.page
                    if page is None or page.hour != hour or page.size + size > self.page_bytes:
                        page = self._page(slot, hour, size)
                    if keys is None:
                        page.add(piece, time_ns, id, request, at, piece.rows)
                    else:
                        for row in range(at, at + piece.rows):
                            page.add(piece if row == at else EMPTY, time_ns, keys[row], request, row, 1)
                    page.size += size
                    self.bytes += size
                    self.collected += piece.rows
        finally:
            if self._nudge:
                self._wake()
        return None

    def drop(self, stream: Stream, reason: str, rows: int) -> None:
        """Counts rows that were given up, here and for the daemon's books."""
        with self.lock:
            self.dropped[reason] += rows
            carrier = self._sender()
        carrier.count_dropped(stream, reason, rows)

    def note(self, words: Sequence[str]) -> None:
        """Counts what was done otherwise than asked, though nothing was lost."""
        with self.lock:
            self.notes.update(words)

    def seal(self, older_than: float | None = None) -> float | None:
        """Hands open pages to the sender: all, or those opened before `older_than`. Returns when the next was opened."""
        with self.lock:
            while self._open:
                page = next(iter(self._open))
                if older_than is not None and page.opened > older_than:
                    return page.opened
                self._seal(page)
        return None

    def settle(self, rows: int, reason: str | None, page: Page | None, lost: bool = False) -> None:
        """Rows have got their answer: `reason` None means durable. `page` comes with its last rows, once."""
        with self.lock:
            if reason is None:
                self.acknowledged += rows
            elif lost:
                self.dropped[reason] += rows
                self.lost += rows
            else:
                self.rejected[reason] += rows
            if page is not None:
                self.bytes -= page.size
                self.settled += 1
                self.changed.notify_all()

    def wait_settled(self, deadline: float) -> bool:
        """Seals and waits until all that was collected before has its answer. False at the (monotonic) deadline."""
        self.seal()
        self._wake()
        with self.lock:
            goal = self.sealed
            while self.settled < goal:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(left)
        return True

    def idle(self) -> bool:
        """True where nothing is held."""
        with self.lock:
            return not self._open and self.settled == self.sealed

    def close(self) -> None:
        """No more rows are taken; who waits for room is sent away."""
        with self.lock:
            self.closed = True
            self.changed.notify_all()

    # Below: the lock is held.

    def _admit(self, size: int) -> bool:
        if not self.block:
            return not self.closed and self.bytes + size <= self.limit
        while not self.closed and self.bytes and self.bytes + size > self.limit:
            while self._open:
                self._seal(next(iter(self._open)))
            self._sender().wake()
            self.changed.wait()
        return not self.closed

    def _page(self, slot: Slot, hour: int, size: int) -> Page:
        page = slot.pages.get(hour)
        if page is not None and page.size + size > self.page_bytes:
            self._seal(page)
            page = None
        if page is None:
            page = Page(slot.schema, hour, time.monotonic())
            slot.pages[hour] = page
            self._open[page] = slot
            self._nudge = True
            # A slot that was forgotten while it was empty is found again through its page.
            self._slots.setdefault(slot.schema, slot)
        slot.page = page
        return page

    def _seal(self, page: Page) -> None:
        slot = self._open.pop(page)
        del slot.pages[page.hour]
        if slot.page is page:
            slot.page = None
        self.sealed += 1
        self._nudge = True
        self._sender().enqueue(self, page)

    def _sender(self) -> Carrier:
        if self.carrier is None:
            self.carrier = self._carrier(self)
        return self.carrier

    def _wake(self) -> None:
        with self.lock:
            self._nudge = False
            carrier = self._sender()
        carrier.wake()


def _cost(piece: Block, at: int, extra: int, id: Id, keys: Sequence[Id] | None) -> int:
    if keys is None:
        return piece.size + extra + (len(id) if isinstance(id, str) else 0)
    return piece.size + extra * piece.rows + sum(len(key) for key in keys[at : at + piece.rows])
