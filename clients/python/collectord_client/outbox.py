"""What was collected and is not yet acknowledged, bounded in bytes.

One per client. `put` is called by scoring threads: its lock is held for an append, never across input or output. The
sender's threads take sealed pages from the sender's queue and settle them here. Lock order: sender, outbox, switchboard.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .block import Block
from .core import HOUR, REQUEST_BYTES, Lock, Slot, Tray
from .ids import Keys
from .page import PAGE_BYTES, POOL, Page, overhead
from .switchboard import Switchboard
from .wire import UUIDS, Schema, Stream

MAX_SLOTS = 1000
MAX_SLOT_COLUMNS = 100_000
"""Names are held per schema: so many columns of schemas that are not in use are remembered at most."""
MOST = 1 << 62
FULL_PAGES = 4
"""So many full pages wake the sender, which else looks when a page has lingered; fewer where the outbox is small."""
WATCH_FOR = 10.0
WATCH_EVERY = 0.1
"""Whoever collected in so many seconds will again, and waking a thread costs the request more than all else: until then the sender
looks each time that a page would have lingered. Not where that is more often than this, in seconds: there it is woken."""
HELD_SHARE = 10
"""That part of the limit is for what a capture recipe has yet to decide on."""
EVENTS_SHARE = 2
"""Events take one part in so many of the outbox at most: a flood of them costs no row."""
Id = bytes | str


NAMELESS = Stream()


class Source(Protocol):
    """What has been told and is not in rows yet, such as events."""

    def write(self) -> None:
        """Puts it into the outbox, or counts it as dropped. Takes the outbox's lock, and the sender's."""
        ...

    def idle(self) -> bool: ...

    def sends(self, stream: Stream) -> bool:
        """Whether it is switched on for a stream of its own."""
        ...

    def judge(self) -> None:
        """What was told before a daemon could say whether it is wanted goes by what has been said now."""
        ...

    def after_fork(self) -> None: ...


class Carrier(Protocol):
    """What an outbox needs of its sender. All of it returns at once."""

    def enqueue(self, outbox: Outbox, page: Page) -> None: ...

    def wake(self) -> None: ...

    def detach(self, outbox: Outbox) -> None: ...

    def count_dropped(self, stream: Stream, reason: str, rows: int) -> None: ...

    def stats(self) -> dict[str, Any]: ...


class Outbox(Tray):
    """Thread-safe, except `after_fork`."""

    def __init__(
        self,
        carrier: Callable[[Outbox], Carrier],
        limit: int,
        page_bytes: int,
        linger: float,
        block: bool,
        enabled: bool | None = None,
        stream: Stream = NAMELESS,
    ) -> None:
        self._carrier = carrier
        # The compiled core counts in 64 bits.
        self._whole = self.limit = min(int(limit), MOST)
        self.page_bytes = page_bytes
        self._enough = max(1, min(FULL_PAGES, self.limit // (4 * page_bytes)))
        self.linger = linger
        self.block = block
        self.closed = False
        self.service = stream.webservice
        self._most_held = self._whole // HELD_SHARE
        self.board = Switchboard(self, stream, enabled, self._most_held)
        self.source: Source | None = None
        self.abandoned = False
        """True once nobody is left who could collect."""
        self.given_up = False
        """True once nobody waits any more for what is held."""
        self._open: dict[Page, Slot] = {}
        self._slots: dict[Schema, Slot] = {}
        self._forgetful = False
        self.pool = POOL
        self.after_fork()

    def after_fork(self) -> None:
        """Begins empty: what was unsent at the fork belongs to the parent. Runs with no other thread alive."""
        self.lock = Lock()
        self.changed = threading.Condition(self.lock)
        self.carrier = None
        for slot in (*self._slots.values(), *self._open.values()):
            slot.page = None
            slot.pages = {}
        self._open = {}
        self._slot_columns = sum(len(schema.names) for schema in self._slots)
        self.board.after_fork()
        self._nudge = False
        self._watched = False
        self._busy = float("-inf")
        """When a page was last seen open, in monotonic seconds."""
        self._full = 0
        self._entering = 0
        """Calls that have begun to put pieces and wait for room for the next one."""
        self.bytes = 0
        self.event_bytes = 0
        """Of them, those of events."""
        self.events = 0
        """Of what was collected, that is events."""
        self.sealed = 0
        self.settled = 0
        self.lost = 0
        """Rows that were collected and then given up, also counted in `dropped`."""
        self.collected = 0
        self.acknowledged = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.sampled_out = 0
        """Rows of requests that sampling left out; nobody took them in."""
        self.thinned_out = 0
        """Rows that it would have taken, and the latency budget left out."""
        if self.source is not None:
            self.source.after_fork()

    def attach(self) -> None:
        """Finds its sender now, not with the first rows."""
        with self.lock:
            self._sender()

    def switch(self, collecting: bool, holding: bool) -> None:
        """Does as the switchboard has it: no rows are taken in where no designation is wanted."""
        # What is held and what is collected have the limit together.
        self.limit = self._whole - self._most_held if holding else self._whole
        self.collecting = collecting

    def collects(self, stream: Stream) -> bool:
        """Whether a stream's rows are taken in now."""
        if stream.kind:
            return self.source is not None and self.source.sends(stream)
        return self.board.collects(stream)

    def passes_by(self, stream: Stream) -> bool:
        """Whether they are not."""
        return not self.collects(stream)

    def slot(self, schema: Schema) -> Slot:
        """The slot of `schema`; the same object as long as it is in use."""
        with self.lock:
            found = self._slots.get(schema)
            if found is None:
                self._slot_columns += len(schema.names)
                if len(self._slots) >= MAX_SLOTS or self._slot_columns > MAX_SLOT_COLUMNS:
                    self._slots = {slot.schema: slot for slot in self._slots.values() if slot.pages}
                    self._forgetful = True
                    self._slot_columns = sum(len(known.names) for known in self._slots) + len(schema.names)
                found = self._slots[schema] = Slot(schema)
            return found

    def put_block(
        self,
        slot: Slot,
        pieces: Sequence[tuple[int, Block]],
        time_ns: int,
        id: Id,
        request: Id | None,
        keys: Keys | None,
        share: float = 1.0,
    ) -> tuple[str, int] | None:
        """Copies one request in pieces, each with the index of its first row, as a whole or not at all.

        `keys` has an id per row in place of `id`, and times that lie in one hour; `share` is the fraction that the rows of a
        sampled schema stand for. Returns the reason and the number of rows if some were dropped: all,
        but of a call that is larger than a blocking outbox, and that is given up while it waits for room.
        """
        extra = REQUEST_BYTES + (len(request) if request is not None else 0) + (8 if slot.schema.sampled else 0)
        hour = time_ns // HOUR
        sizes = [_cost(piece, at, extra, id, keys) for at, piece in pieces]
        waits = entered = False
        event = slot.schema.stream.kind != 0
        try:
            with self.lock:
                before = self.bytes
                # Each piece may begin a page, and does if there are several.
                pages = len(sizes) * overhead(slot.schema) if len(sizes) > 1 else self._for_page(slot, hour, sizes[0])
                whole = sum(sizes) + pages
                waits = self.block and not event and whole > self.limit
                if not waits and not (self._admit_event(whole) if event else self._admit(whole)):
                    return "closed" if self.closed else "outbox_full", sum(piece.rows for _, piece in pieces)
                if waits and self.closed:
                    return "closed", sum(piece.rows for _, piece in pieces)
                entered = waits
                self._entering += entered
                for number, ((at, piece), size) in enumerate(zip(pieces, sizes, strict=True)):
                    if waits and not self._admit(size + overhead(slot.schema), begun=True):
                        return "closed", sum(piece.rows for _, piece in pieces[number:])
                    page = slot.page
                    if page is None or page.hour != hour or page.size + size > self.page_bytes:
                        page = self._page(slot, hour, size)
                    if keys is None:
                        page.add(piece, time_ns, id, request, at, piece.rows, share)
                    else:
                        page.add_keyed(piece, time_ns, keys.between(at, at + piece.rows), request, at, share)
                    page.size += size
                    self.bytes += size
                    self.collected += piece.rows
                if event:
                    self.events += sum(piece.rows for _, piece in pieces)
                    self.event_bytes += self.bytes - before
        finally:
            if entered:
                with self.lock:
                    self._entering -= 1
                    self.changed.notify_all()
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

    def leave_out(self, sampled: int, thinned: int) -> None:
        """Counts rows that sampling did not take, and those that the latency budget did not."""
        with self.lock:
            self.sampled_out += sampled
            self.thinned_out += thinned

    def seal(self, older_than: float | None = None) -> float | None:
        """Hands open pages to the sender: all, and what is told up to now; or those opened before `older_than`. Returns when
        the next was opened, or may be."""
        if older_than is None:
            self.draw()
            now = time.monotonic()
        else:
            now = older_than + self.linger
        with self.lock:
            if self._open:
                self._busy = now
            while self._open:
                page = next(iter(self._open))
                if older_than is not None and page.opened > older_than:
                    self._full = 0
                    self._watched = True
                    return page.opened
                self._seal(page)
            self._full = 0
            lately = now < self._busy + WATCH_FOR and self.linger >= WATCH_EVERY and not self.abandoned
            self._watched = lately and older_than is not None
        return now if self._watched else None

    def draw(self) -> None:
        """Takes over what has been told."""
        if self.source is not None:
            self.source.write()

    def seal_unwanted(self) -> None:
        """Hands over the open pages of streams that are switched off; what is wanted lingers as ever."""
        if self.source is not None:
            self.source.judge()
        with self.lock:
            for page in [page for page in self._open if self.passes_by(page.schema.stream)]:
                self._seal(page)

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
                self.bytes -= page.size + page.overhead
                if page.schema.stream.kind:
                    self.event_bytes -= page.size + page.overhead
                self.settled += 1
                self.changed.notify_all()

    def wait_settled(self, deadline: float | None) -> bool:
        """Seals and waits until all that was collected before has its answer. False at the (monotonic) deadline."""
        self.seal()
        self._wake()
        with self.lock:
            goal = self.sealed
            while self.settled < goal:
                if not self._wait(deadline):
                    return False
        return True

    def wait_entered(self, deadline: float | None) -> bool:
        """Waits until no call is in the middle of its pieces. False at the (monotonic) deadline."""
        with self.lock:
            while self._entering:
                if not self._wait(deadline):
                    return False
        return True

    def give_up(self) -> None:
        """Nobody waits any more: who is in the middle of its pieces is sent away as well."""
        with self.lock:
            self.given_up = True
            self.changed.notify_all()

    def held(self, stream: Stream, id: bytes, most: int) -> tuple[Schema, Block] | None:
        """Of the request with this id, the first rows that it has put into a stream, as far as their page is still open."""
        with self.lock:
            for page in self._open:
                if page.schema.stream == stream and page.schema.correlation == UUIDS:
                    found = page.find(id, most)
                    if found is not None:
                        return page.schema, found
        return None

    def waiting(self) -> int:
        """Rows that have no answer yet."""
        with self.lock:
            return self._waiting()

    def stats(self) -> dict[str, Any]:
        """What a client's `stats` say about its rows."""
        self.draw()
        recipe = self.board.recipe_stats()
        held = 0 if recipe is None else recipe.get("held_bytes", 0)
        with self.lock:
            return {
                "collected": self.collected,
                "events": self.events,
                "acknowledged": self.acknowledged,
                "rejected": dict(self.rejected),
                "dropped": dict(self.dropped),
                "notes": dict(self.notes),
                "sampled_out": self.sampled_out,
                "thinned_out": self.thinned_out,
                "waiting": self._waiting(),
                "lost": self.lost,
                "outbox_bytes": self.bytes + held,
                "outbox_limit_bytes": self._whole,
                "collecting": self.collecting,
                "recipe": recipe,
                "closed": self.closed,
            }

    def idle(self) -> bool:
        """True where nothing is held."""
        with self.lock:
            return (self.source is None or self.source.idle()) and not self._open and self.settled == self.sealed

    def close(self) -> None:
        """No more rows are taken; who waits for room is sent away."""
        self.board.end_recipe()
        with self.lock:
            self.closed = True
            self.changed.notify_all()

    # Below: the lock is held.

    def _waiting(self) -> int:
        return self.collected - self.acknowledged - sum(self.rejected.values()) - self.lost

    def _wait(self, deadline: float | None) -> bool:
        """Waits for a change. False where the deadline has passed."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        self.changed.wait(left)
        return True

    def _admit(self, size: int, begun: bool = False) -> bool:
        """Whether there is room, after waiting for it if need be. A call that has `begun` goes on after `close`."""
        if not self.block:
            return not self.closed and self.bytes + size <= self.limit
        while not (self.given_up if begun else self.closed) and self.bytes and self.bytes + size > self.limit:
            while self._open:
                self._seal(next(iter(self._open)))
            self._sender().wake()
            self.changed.wait()
        return not (self.given_up if begun else self.closed)

    def _admit_event(self, size: int) -> bool:
        """The same for events, which never wait: what tells them may be what makes room."""
        return (
            not self.closed
            and self.bytes + size <= self.limit
            and self.event_bytes + size <= self.limit // EVENTS_SHARE
        )

    def _make_room(self, slot: Slot, hour: int, size: int) -> str | None:
        # Pages of a tensor schema, whose cost beside the rows is always the same, begin here in the middle of a call: so
        # this asks nothing twice.
        page = slot.pages.get(hour)
        begins = page is None or page.size + size > self.page_bytes
        whole = size + PAGE_BYTES if begins else size
        if self.closed or self.bytes + whole > self.limit:
            if not self._admit(whole):
                return "closed" if self.closed else "outbox_full"
            # Who waited finds other pages.
            self._page(slot, hour, size)
        elif page is None or begins:
            self._begin(slot, hour, page)
        else:
            slot.page = page
        return None

    def _for_page(self, slot: Slot, hour: int, size: int) -> int:
        """What a page costs that has yet to be begun for `size` more bytes."""
        page = slot.pages.get(hour)
        return overhead(slot.schema) if page is None or page.size + size > self.page_bytes else 0

    def _page(self, slot: Slot, hour: int, size: int) -> Page:
        page = slot.pages.get(hour)
        if page is None or page.size + size > self.page_bytes:
            return self._begin(slot, hour, page)
        slot.page = page
        return page

    def _begin(self, slot: Slot, hour: int, full: Page | None) -> Page:
        """Begins a page, after the `full` one of its hour."""
        if full is not None:
            self._seal(full)
        page = slot.page = slot.pages[hour] = Page(slot.schema, hour, time.monotonic())
        self.bytes += page.overhead
        self._open[page] = slot
        if not self._watched:
            self._nudge = True
        if self._forgetful:
            # A slot that was forgotten while it was empty is found again through its page.
            self._slots.setdefault(slot.schema, slot)
        return page

    def _seal(self, page: Page) -> None:
        slot = self._open.pop(page)
        del slot.pages[page.hour]
        if slot.page is page:
            slot.page = None
        if page.buffer is not None:
            page.compact()
        self.sealed += 1
        self._full += 1
        # Waking a thread costs a call more than all else together; what is not worth it goes when the next page has lingered. Who is
        # woken and has not looked yet is not woken for each page.
        if self._full % self._enough == 0:
            self._nudge = True
        (self.carrier or self._sender()).enqueue(self, page)

    def _sender(self) -> Carrier:
        if self.carrier is None:
            self.carrier = self._carrier(self)
        return self.carrier

    def _wake(self) -> None:
        with self.lock:
            self._nudge = False
            # From now on: it looks after this.
            self._watched = True
            carrier = self.carrier or self._sender()
        carrier.wake()


def _cost(piece: Block, at: int, extra: int, id: Id, keys: Keys | None) -> int:
    if keys is None:
        return piece.size + extra + (4 + len(id) if isinstance(id, str) else 0)
    # A key is counted with its length, and a row number with every request.
    mine = keys.between(at, at + piece.rows)
    size = piece.size + (extra + 8) * piece.rows + sum(map(len, mine.ids))
    return size if mine.requests is None else size + sum(map(len, mine.requests)) + 4 * piece.rows
