"""The events of one client on their way into its outbox."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from .. import process
from ..core import HOUR
from ..errors import CollectError
from ..ids import LAST_TIME, Keys
from ..notices import accident, once
from ..switches import UNKNOWN
from ..wire import NO_IDS, UUIDS, Schema
from .event import Event
from .kinds import KINDS
from .rows import Rows
from .scribe import scribe

if TYPE_CHECKING:
    from ..outbox import Outbox
    from ..wire import Stream

HELD_SHARE = 8
"""What was told and is not in rows yet may take this part of what the outbox may, and at least `LEAST_HELD` bytes."""
LEAST_HELD = 64 << 10
AT_ONCE = 500
"""Events of which rows are made at a time."""
EVENT_COST = 600
"""Bytes of an event beside its texts."""


class Feed:
    """Thread-safe, and may be called anywhere: from an object that is collected, from a handler of logs, within itself."""

    def __init__(self, outbox: Outbox, stream: Stream, host: bool | None, rows: Rows) -> None:
        self._outbox = outbox
        self._host = host
        self._rows = rows
        self._streams = {
            kind: replace(stream, designation=one.table, collection="", kind=kind) for kind, one in KINDS.items()
        }
        self._schemas = {
            kind: Schema(of, KINDS[kind].names, KINDS[kind].types, False, UUIDS, NO_IDS)
            for kind, of in self._streams.items()
        }
        self._most = max(LEAST_HELD, outbox.limit // HELD_SHARE)
        self.kinds: frozenset[int] = frozenset()
        """Those that are sent. Asked before anything else is done."""
        self.after_fork()
        outbox.source = self
        outbox.board.tell(self)

    def after_fork(self) -> None:
        """What was told before is the parent's."""
        # Reentrant: under it, an object may be collected that logs.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._told: deque[tuple[Event, int, bool]] = deque()
        """Each with its size, and whether a daemon had said by then that it is wanted."""
        self._held = 0
        self._lost: Counter[tuple[int, str]] = Counter()
        self._rung = False
        self._closed = False
        self._wanted: frozenset[int] | None = None
        """Of what was told before, the kinds that a daemon then said it wants; None: nobody has said."""
        self._writer: int | None = None

    # ------------------------------------------------------------ for the outbox

    def obey(self) -> None:
        """Does what the switchboard has heard of."""
        switches, host = self._outbox.board.switches, self._host
        # Before anybody could say whether events are wanted, they are taken: those of a script's beginning come then.
        unknown = switches is UNKNOWN and host is None
        self.kinds = frozenset(
            kind for kind, stream in self._streams.items() if unknown or switches.sends(stream, host)
        )

    def sends(self, stream: Stream) -> bool:
        return stream.kind in self.kinds

    def judge(self) -> None:
        self._wanted = self.kinds

    def idle(self) -> bool:
        return not self._told and not self._lost

    # ------------------------------------------------------------ for whoever tells

    def tell(self, event: Event, size: int) -> None:
        """Takes an event whose texts have `size` characters. Returns at once."""
        size += EVENT_COST
        with self._lock:
            if self._closed or self._held + size > self._most:
                self._lost[event.kind, "closed" if self._closed else "outbox_full"] += 1
            else:
                self._told.append((event, size, self._outbox.board.told))
                self._held += size
        self._ring()

    def refuse(self, kind: int, error: CollectError) -> None:
        """Counts an event that could not be told."""
        with self._lock:
            self._lost[kind, error.reason] += 1
        self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            scribe.ring(self)

    # ------------------------------------------------------------ the rows

    def close(self) -> None:
        """Makes rows of what was told, and takes nothing more."""
        self._closed = True
        self.write()

    def write(self) -> None:
        """Makes rows of what was told, and puts them into the outbox."""
        if self._writer == threading.get_ident():
            return
        with self._writing:
            self._writer = threading.get_ident()
            try:
                self._write()
            finally:
                self._writer = None

    def _write(self) -> None:
        self._rung = False
        if not self._told and not self._lost:
            return
        left = len(self._told)
        while left:
            events = [self._take() for _ in range(min(left, AT_ONCE))]
            left -= len(events)
            wanted = [event for event in events if event is not None]
            wanted.sort(key=_page)
            for (kind, _), group in groupby(wanted, _page):
                self._put(kind, list(group))
        for kind, reason in list(self._lost):
            self._drop(kind, reason, self._lost.pop((kind, reason)))
        rows = self._rows
        if rows.cut or rows.altered:
            self._outbox.note(["cut"] * rows.cut + ["altered"] * rows.altered)
            rows.cut = rows.altered = 0

    def _take(self) -> Event | None:
        """The next event; None where it is not wanted."""
        with self._lock:
            event, size, sure = self._told.popleft()
            self._held -= size
            if not sure and self._wanted is not None and event.kind not in self._wanted:
                self._lost[event.kind, "switched_off"] += 1
                return None
        return event

    def _put(self, kind: int, events: list[Event]) -> None:
        noted = self._rows.cut, self._rows.altered
        try:
            block = self._rows.block(kind, events)
        except Exception as error:  # noqa: BLE001
            self._rows.cut, self._rows.altered = noted
            if len(events) == 1:
                self._drop(kind, accident(error).reason, 1)
                return
            # Whatever is in one of them, the others go on.
            for event in events:
                self._put(kind, [event])
            return
        try:
            times = [_moment(event) for event in events]
            keys = Keys([process.ids.make(time_ns) for time_ns in times], times, None, [0] * len(times))
            slot = self._outbox.slot(self._schemas[kind])
            for at, piece in block.cut(self._outbox.page_bytes):
                mine = keys.between(at, at + piece.rows)
                refused = self._outbox.put_block(slot, [(0, piece)], times[at], mine.ids[0], None, mine)
                if refused is not None:
                    self._drop(kind, *refused)
        except Exception as error:  # noqa: BLE001
            self._drop(kind, accident(error).reason, len(events))

    def _drop(self, kind: int, reason: str, count: int) -> None:
        stream = self._streams[kind]
        self._outbox.drop(stream, reason, count)
        if reason == "switched_off":
            # Nobody wanted it.
            return
        table = KINDS[kind].table
        once(logging.WARNING, f"{stream} {reason}", "%s: events were dropped, %s (counted, said once)", table, reason)


def _moment(event: Event) -> int:
    # A clock may stand before 1970.
    return min(max(event.time_ns, 0), LAST_TIME)


def _page(event: Event) -> tuple[int, int]:
    return event.kind, _moment(event) // HOUR
