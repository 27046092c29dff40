"""What a scoring script calls for each request: one designation's rows, taken into the client's outbox."""

from __future__ import annotations

import datetime
import logging
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import process
from .block import Block
from .context import Context, Refused
from .errors import CollectError
from .ids import is_list, parse_id, parse_ids
from .intake import tabulate
from .names import resolve
from .notices import once, say, trace
from .outbox import LARGE, MAX_SLOT_COLUMNS, MAX_SLOTS, Slot
from .values import Memory, nanoseconds
from .wire import NO_IDS, TEXTS, UUIDS, Schema

if TYPE_CHECKING:
    from .client import Client

CorrelationId = str | int | uuid.UUID | Sequence[str | int | uuid.UUID]
Timestamp = int | datetime.datetime

# Assigned, not imported: CPython binds a method anew for each call where the name comes from an import.
_ids = process.ids
_now = time.time_ns
LAST_TIME = (1 << 63) - 1

Known = tuple[Slot, list[str], tuple[int, ...] | None]
"""What a kind of data becomes: its slot, what there is to note each time, which columns in which order."""
Shape = tuple[Any, object, tuple[int, ...], int, int, Any]
"""The fast way: array type, dtype, shape of a row, most rows, rows from which on an array is large, slot."""
NO_SHAPE: Shape = (None, None, (), 0, 0, None)


class Collector:
    """Collects for one designation. Made by `Client.collector`; thread-safe."""

    def __init__(self, client: Client, designation: str, names: tuple[str, ...] | None) -> None:
        self._client = client
        self._outbox = client._outbox
        self._stream = replace(client._stream, designation=designation)
        self._names = names
        self._pending = client._pending
        self._offers = designation == "inputs"
        self._takes = designation == "predictions"
        self._memory = Memory()
        self._slots: dict[tuple[object, ...], Known] = {}
        self._columns = 0
        # What the last array of two dimensions looked like: if the next one does as well, it goes the short way. Threads
        # share it: so it is one object, read once per call and replaced as a whole.
        self._shape = NO_SHAPE

    def collect(
        self,
        data: Any,
        correlation_id: CorrelationId | None = None,
        request_id: str | uuid.UUID | None = None,
        context: Context | None = None,
        timestamp: Timestamp | None = None,
    ) -> Context:
        """Copies `data` into memory, to be sent in the background; later changes to `data` do not matter.

        `correlation_id` is one for all rows, or a sequence with one per row; by default a new UUIDv7. `context` is what
        collecting the inputs returned: then id, time and row indices are theirs. Without one, a prediction takes the last
        inputs of the model on this thread or task, once. `timestamp` is the scoring time, in nanoseconds since 1970 or
        as a datetime (UTC if it has no zone). Returns the context, also where the rows were refused.

        Never raises unless the client is strict, then CollectError; what is refused or dropped is counted.
        """
        try:
            array, dtype, tail, most_rows, large, slot = self._shape
            if (
                type(data) is array
                and data.dtype is dtype
                and data.shape[1:] == tail
                and 0 < (rows := data.shape[0]) <= most_rows
                and correlation_id is None
                and request_id is None
                and timestamp is None
                and (context is None or isinstance(context, Context))
                and self._outbox.collecting
            ):
                source = context
                if source is None and self._takes and (source := self._pending.get()) is not None:
                    if source._taken:
                        source = None
                    else:
                        source._taken = True
                context = None
                if source is None:
                    now = _now()
                    context = Context(_ids.make(now), now, rows)
                    if self._offers:
                        self._pending.set(context)
                    elif self._takes:
                        self._outbox.note(("uncorrelated",))
                elif type(source._id) is bytes and source._keys is None and source._request is None:
                    if self._offers:
                        context = Context(source._id, source.time_ns, rows)
                        self._pending.set(context)
                    else:
                        context = source if source.rows == rows else Context(source._id, source.time_ns, rows)
                if context is not None:
                    # A large array goes into the page directly; for a small one, the view costs more than a copy.
                    raw = data.tobytes() if rows < large or not data.flags.c_contiguous else memoryview(data).cast("B")
                    reason = self._outbox.put(slot, raw, context.time_ns, context._id, rows)  # type: ignore[arg-type]
                    if reason is not None:
                        raise CollectError(reason, "the rows of this call were dropped", rows)
                    return context
                context = source
            return self._collect(data, correlation_id, request_id, context, timestamp)
        except CollectError as error:
            refused = error
        except Exception as error:  # noqa: BLE001
            # Its message may quote the data: it is neither logged nor kept.
            name = type(error).__name__
            say(logging.ERROR, "internal", "collecting failed: %s (the level DEBUG tells where)", name)
            trace(error)
            refused = CollectError("internal_error", name)
        return self._refuse(refused, context)

    def _refuse(self, error: CollectError, context: Context | None) -> Context:
        """Counts what was refused; strict clients raise it."""
        if self._offers or not isinstance(context, Context):
            # A prediction must not take the inputs of an earlier request instead of these.
            context = refusal(context, error.rows or None)
            if self._offers:
                self._pending.set(context)
        self._client._refuse(self._stream, error)
        return context

    def _collect(
        self,
        data: Any,
        correlation_id: CorrelationId | None,
        request_id: str | uuid.UUID | None,
        context: Context | None,
        timestamp: Timestamp | None,
    ) -> Context:
        source = context
        if source is None:
            if self._takes:
                found = self._pending.get()
                if found is not None and not found._taken:
                    found._taken = True
                    source = found
        elif not isinstance(source, Context):
            raise CollectError("bad_id", f"a context is what collect() returned, not a {type(source).__name__}")
        time_ns = _nanoseconds(timestamp) if timestamp is not None else source.time_ns if source is not None else _now()
        if not self._outbox.collecting:
            if source is None:
                source = Refused(_ids.make(time_ns), time_ns, None)
                if self._offers:
                    self._pending.set(source)
            return source
        block, notes = tabulate(data, self._names, source._request_rows if source is not None else 0, self._memory)
        rows = block.rows
        request = parse_id(request_id) if request_id is not None else source._request if source is not None else None
        id, keys, more = self._identify(correlation_id, source, rows, time_ns)
        made = Context(id, time_ns, rows, request, keys)
        layout = UUIDS if isinstance(id, bytes) else TEXTS
        asked = NO_IDS if request is None else UUIDS if isinstance(request, bytes) else TEXTS
        slot, changed, order = self._slot_for(block, layout, asked)
        if order is not None:
            block = block.select(order)
        pieces = block.cut(self._outbox.page_bytes)
        if self._offers:
            self._pending.set(made)
        if notes or more or changed:
            self._outbox.note([*notes, *more, *changed])
        refused = self._outbox.put_block(slot, pieces, time_ns, id, request, keys)
        if refused is not None:
            reason, lost = refused
            error = CollectError(reason, "the rows of this call were dropped", lost)
            return self._refuse(error, made) if lost == rows else self._lose(error, made)
        lost = rows - sum(piece.rows for _, piece in pieces)
        if lost:
            return self._lose(CollectError("row_too_large", "rows of this call were left out", lost), made)
        if block.tensor is not None and order is None and layout == UUIDS and asked == NO_IDS and not changed:
            self._remember(data, slot)
        return made

    def _lose(self, error: CollectError, made: Context) -> Context:
        """Counts the rows of a call that were not taken, while others were."""
        self._client._refuse(self._stream, error)
        return made

    def _identify(
        self, given: CorrelationId | None, source: Context | None, rows: int, time_ns: int
    ) -> tuple[bytes | str, Sequence[bytes | str] | None, list[str]]:
        """The id of the request, or one per row, and what was doubtful."""
        if given is None:
            if source is not None and (source._keys is None or len(source._keys) == rows):
                return source._id, source._keys, []
            return _ids.make(time_ns), None, ["uncorrelated"] if self._takes else []
        if not is_list(given):
            return parse_id(given), None, []
        keys = parse_ids(given)
        if len(keys) != rows:
            raise CollectError("bad_id", f"{len(keys)} correlation ids for {rows} rows", rows)
        return keys[0], keys, []

    def _slot_for(self, block: Block, correlation: int, request: int) -> Known:
        tensor = block.tensor is not None
        key = (block.names, block.positional, block.types, tensor, correlation, request)
        found = self._slots.get(key)
        if found is None:
            names, notes, order = resolve(self._names, block.names, len(block.types), block.positional)
            types = block.types if order is None else tuple([block.types[at] for at in order])
            for note in notes:
                once(logging.WARNING, f"{self._stream} {note}", "%s for %s: see docs/client.md", note, self._stream)
            self._columns += len(types)
            if len(self._slots) >= MAX_SLOTS or self._columns > MAX_SLOT_COLUMNS:
                self._slots.clear()
                self._columns = len(types)
            slot = self._outbox.slot(Schema(self._stream, names, types, tensor, correlation, request))
            found = self._slots[key] = (slot, notes, order)
        return found

    def _remember(self, data: Any, slot: Slot) -> None:
        numpy = sys.modules.get("numpy")
        if numpy is None or type(data) is not numpy.ndarray or data.ndim != 2 or not data.dtype.isnative:
            return
        # Only numpy's own dtype objects are one per type, so that identity is enough on the short way.
        if sys.byteorder != "little" or data.dtype is not numpy.dtype(data.dtype.type):
            return
        width = data.dtype.itemsize * data.shape[1]
        most_rows = max(0, self._outbox.page_bytes - 28) // width
        self._shape = (numpy.ndarray, data.dtype, data.shape[1:], most_rows, LARGE // width + 1, slot)


def refusal(context: Context | None, rows: int | None) -> Refused:
    """The context of rows that were not taken, `rows` of them as far as is known, under the ids they would have had."""
    if isinstance(context, Context):
        return Refused(context._id, context.time_ns, rows, context._request, context._keys)
    now = _now()
    return Refused(_ids.make(now), now, rows)


def _nanoseconds(value: Timestamp) -> int:
    if isinstance(value, datetime.datetime):
        # pandas' missing time is an instance of datetime, and is not equal to itself.
        value = nanoseconds(value) if value == value else -1
    elif isinstance(value, float) or not hasattr(value, "__index__"):
        raise CollectError("bad_timestamp", "a timestamp is a datetime or whole nanoseconds since 1970")
    value = value.__index__()
    if not 0 <= value <= LAST_TIME:
        raise CollectError("bad_timestamp", "the timestamp lies outside 1970 to 2262")
    return value
