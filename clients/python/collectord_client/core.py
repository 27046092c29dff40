"""The hot end of `collect()`: one array of a kind that was seen before, on its short way into an open page.

Everything here exists twice, name for name: in Python below, and compiled in `_core.pyx`, which takes its place where it
was built. `CORE` says which one is active. COLLECTORD_CLIENT_PURE=1 keeps to Python, and so does an interpreter without
a GIL: the compiled one appends to a page without a lock because nobody else runs meanwhile.
"""

from __future__ import annotations

import contextvars
import datetime
import itertools
import logging
import os
import sys
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import request as requests
from .ids import show_id
from .notices import once
from .request import Request
from .values import moment

if TYPE_CHECKING:
    from .collector import Collector
    from .page import Page
    from .wire import Schema

HOUR = 3_600_000_000_000
REQUEST_BYTES = 28
"""What a request costs beside its values: time, id and row count."""
LARGE = 8192
"""Bytes from which on values go into a pooled buffer."""
MOST_BUFFERS = 32
"""With more open pages than this, none begins with a buffer: it would be mostly empty."""

# Assigned, not imported: CPython binds a method anew for each call where the name comes from an import.
_now = time.time_ns
_current = requests.current

Shape = tuple[Any, object, tuple[int, ...], int, int, Any, type, object]
"""What goes the short way: type of the data, dtype, shape of a row, most rows, rows from which on an array is large, slot,
type of the request's id, and of a frame its columns, as `columns_of`."""
NO_SHAPE: Shape = (None, None, (), 0, 0, None, type(None), None)

Lock = threading.Lock
Raw = bytes

CorrelationId = str | int | uuid.UUID | Sequence[str | int | uuid.UUID]
Timestamp = int | datetime.datetime
RequestId = str | int | uuid.UUID


class Uuid7:
    """Makes ids. Thread-safe; a forked child calls `reseed` before its first one.

    The 74 random bits of the RFC are a random start per process plus a counter (its section 6.2, method 2): ids of a process
    grow as long as its clock does, and two processes meet with a probability that does not matter.
    """

    __slots__ = ("head", "step")

    def __init__(self) -> None:
        self.reseed()

    def reseed(self) -> None:
        """Begins at another random place, as a forked child must."""
        seed = int.from_bytes(os.urandom(10), "big")
        self.head: int = (7 << 76) | ((seed & 0xFFF) << 64) | (2 << 62)
        # Starting in the lower half of 62 bits leaves 2**61 ids before the counter would reach the variant bits.
        self.step: Callable[[], int] = itertools.count((seed >> 12) & ((1 << 61) - 1)).__next__

    def make(self, time_ns: int) -> bytes:
        """16 bytes, big-endian as in the text form, for the scoring time `time_ns` (1970 to 2262)."""
        return ((time_ns // 1_000_000 << 80 | self.head) + self.step()).to_bytes(16, "big")


class Context:
    """The correlation of one request's rows: hand what `collect(inputs)` returned to `collect(predictions)`.

    Both then carry the same correlation id, the same scoring time, hence the same day, and the same row indices.
    Immutable for its users; may be passed between threads.
    """

    __slots__ = ("_id", "_keys", "_request", "_taken", "rows", "time_ns")

    def __init__(
        self,
        id: bytes | str,
        time_ns: int,
        rows: int,
        request: bytes | str | None = None,
        keys: Sequence[bytes | str] | None = None,
    ) -> None:
        self._id = id
        self.time_ns = time_ns
        """The scoring time in nanoseconds since 1970-01-01T00:00:00Z."""
        self.rows = rows
        """How many rows were collected under it; 0 if they were refused."""
        self._request = request
        self._keys = keys
        self._taken = False

    @property
    def _request_rows(self) -> int | None:
        """How many rows the request has; None where nobody can tell."""
        return self.rows

    @property
    def correlation(self) -> uuid.UUID | str:
        """The correlation id; with a key per row, the first row's."""
        return show_id(self._id)

    @property
    def correlations(self) -> tuple[uuid.UUID | str, ...]:
        """The correlation id of each row."""
        if self._keys is not None:
            return tuple(show_id(key) for key in self._keys)
        return (show_id(self._id),) * self.rows

    @property
    def request_id(self) -> uuid.UUID | str | None:
        """The request id given to `collect`, if any."""
        return None if self._request is None else show_id(self._request)

    def __repr__(self) -> str:
        return f"Context(correlation={str(self.correlation)!r}, time_ns={self.time_ns}, rows={self.rows})"


class Pending:
    """Where the last inputs of one model wait for the prediction that takes them, once.

    That is in their request; where nobody knows of one, on the thread or task.
    """

    __slots__ = ("_variable",)

    def __init__(self) -> None:
        self._variable: contextvars.ContextVar[Context | None] = contextvars.ContextVar(
            "collectord_inputs", default=None
        )

    def get(self, request: Request | None) -> Context | None:
        return self._variable.get() if request is None else request.inputs.get(self)

    def set(self, request: Request | None, context: Context) -> None:
        if request is None:
            self._variable.set(context)
        else:
            request.inputs[self] = context


class Sheet:
    """What the short way writes of a page. Protected by its outbox's lock until the page is sealed."""

    __slots__ = ("buffer", "counts", "data", "first_rows", "hour", "ids", "requests", "rows", "size", "times", "used")

    hour: int
    """Hours since 1970."""
    rows: int
    size: int
    """Bytes of the rows, as the outbox counts them."""
    data: bytearray
    """Of a tensor schema, unless they are in `buffer`."""
    buffer: bytearray | None
    used: int
    times: array[int]
    counts: array[int]
    first_rows: array[int] | None
    """None while all are 0."""
    ids: bytearray
    requests: bytearray


class Slot:
    """A schema and its open pages, at most one per hour. Protected by the outbox's lock."""

    __slots__ = ("page", "pages", "schema")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.page: Page | None = None
        """The one used last."""
        self.pages: dict[int, Page] = {}


class Tray:
    """What the short way touches of an outbox."""

    limit: int
    page_bytes: int
    bytes: int
    collected: int
    closed: bool
    collecting: bool
    _nudge: bool
    lock: threading.Lock
    _open: dict[Page, Slot]

    def put(
        self, slot: Slot, tensor: Raw | memoryview, time_ns: int, id: Raw, rows: int, request: Raw | None
    ) -> str | None:
        """Copies one request of a tensor schema into its page. Returns the reason if it was dropped.

        `request` is 16 bytes where the schema has request ids.
        """
        size = len(tensor) + (REQUEST_BYTES if request is None else REQUEST_BYTES + 16)
        with self.lock:
            page = slot.page
            if (
                page is None
                or page.hour != time_ns // HOUR
                or page.size + size > self.page_bytes
                or self.bytes + size > self.limit
                or self.closed
            ):
                reason = self._make_room(slot, time_ns // HOUR, size)
                if reason is not None:
                    return reason
                page = slot.page
                assert page is not None
            # In Python, appending is cheaper than writing into a buffer; the compiled core begins one with the first 8 KiB.
            if page.buffer is None and (len(tensor) < LARGE or len(self._open) > MOST_BUFFERS):
                page.data += tensor
            else:
                page.write(tensor, self.page_bytes)
            page.times.append(time_ns)
            page.ids += id
            if request is not None:
                page.requests += request
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

    def _make_room(self, slot: Slot, hour: int, size: int) -> str | None:
        """Sees to it that the slot's page can take `size` bytes. Returns the reason if it cannot. The lock is held."""
        raise NotImplementedError

    def _wake(self) -> None:
        """Wakes the sender. The lock is free."""
        raise NotImplementedError

    def note(self, words: Sequence[str]) -> None:
        """Counts what was done otherwise than asked, though nothing was lost."""
        raise NotImplementedError


def columns_of(frame: Any) -> object:
    """What stands for the names of a pandas frame's columns: one object as long as they are the same. None: unknown."""
    try:
        # Not public, here and below: a frame where it is not found goes the long way.
        return frame._mgr.axes[0]
    except AttributeError:
        return None


def only_block(frame: Any, labels: object) -> Any:
    """The values of a pandas frame whose columns are `labels`, the very same, and lie in one array. Else None."""
    try:
        manager = frame._mgr
        if manager.axes[0] is not labels or len(manager.blocks) != 1:
            return None
        return manager.blocks[0].values.T
    except AttributeError:
        return None


class ShortWay:
    """`collect()` of a collector: what it has seen the like of goes into the page at once, all else the long way."""

    def __init__(self, outbox: Tray, pending: Pending, ids: Uuid7, designation: str) -> None:
        self._outbox = outbox
        self._pending = pending
        self._ids = ids
        self._offers = designation == "inputs"
        self._takes = designation == "predictions"
        # What the last array looked like: if the next one does as well, it goes the short way. Threads share it: so it is
        # one object, read once per call and replaced as a whole.
        self._shape = NO_SHAPE

    def collect(
        self,
        data: Any,
        correlation_id: CorrelationId | None = None,
        request_id: RequestId | Sequence[RequestId] | None = None,
        context: Context | None = None,
        timestamp: Timestamp | Sequence[Timestamp] | None = None,
        row: Sequence[int] | None = None,
    ) -> Context:
        """Copies `data` into memory, to be sent in the background; later changes to `data` do not matter.

        `correlation_id` is one for all rows, or a sequence with one per row; by default a new UUIDv7. `context` is what
        collecting the inputs returned: then id, time and row indices are theirs. Without one, a prediction takes the last
        inputs of the model in this request, or on this thread or task, once. `timestamp` is the scoring time, in
        nanoseconds since 1970 or as a datetime (UTC if it has no zone). What is not inputs and names an id that this
        package generated, has that id's time. `request_id` and `timestamp` may be sequences with one per row too, and
        `row` the index of each row in its request, for labels that come later. Returns the context, also where the rows
        were refused.

        Never raises unless the client is strict, then CollectError; what is refused or dropped is counted.
        """
        request = _current()
        made = reason = None
        try:
            kind, dtype, tail, most_rows, large, slot, marked, labels = self._shape
            if (
                type(data) is kind
                and correlation_id is None
                and request_id is None
                and timestamp is None
                and row is None
                and (context is None or isinstance(context, Context))
                and self._outbox.collecting
                and (labels is None or (array := only_block(data, labels)) is not None)
            ):
                if labels is None:
                    array = data
                if (
                    array.dtype is dtype
                    and (shape := array.shape)
                    and shape[1:] == tail
                    and 0 < (rows := shape[0]) <= most_rows
                ):
                    source = context
                    if self._takes and source is None:
                        source = self._pending.get(request)
                        if source is not None and source._taken:
                            source = None
                    asked = source._request if source is not None else None if request is None else request.id
                    if type(asked) is not marked:
                        pass
                    elif source is None:
                        now = _now()
                        made = Context(self._ids.make(now), now, rows, asked)
                    elif type(source._id) is bytes and source._keys is None:
                        same = source.rows == rows and not self._offers
                        made = source if same else Context(source._id, source.time_ns, rows, asked)
                    if made is not None:
                        if self._offers:
                            self._pending.set(request, made)
                        elif self._takes:
                            if source is None:
                                self._outbox.note(("uncorrelated",))
                            else:
                                source._taken = True
                        # A large array goes into the page directly; for a small one, the view costs more than a copy.
                        copied = rows < large or not array.flags.c_contiguous
                        raw = array.tobytes() if copied else memoryview(array).cast("B")
                        reason = self._outbox.put(slot, raw, made.time_ns, made._id, rows, asked)  # type: ignore[arg-type]
                        if reason is None:
                            return made
        except Exception as error:  # noqa: BLE001
            return self._accident(error, context, request)
        if made is None or reason is None:
            return self._long_way(data, correlation_id, request_id, context, timestamp, row, request)
        return self._dropped(reason, made, request)

    def _long_way(
        self,
        data: Any,
        correlation_id: CorrelationId | None,
        request_id: RequestId | Sequence[RequestId] | None,
        context: Context | None,
        timestamp: Timestamp | Sequence[Timestamp] | None,
        row: Sequence[int] | None,
        request: Request | None,
    ) -> Context:
        raise NotImplementedError

    def _dropped(self, reason: str, made: Context, request: Request | None) -> Context:
        """Counts the rows of `made`, which had no room."""
        raise NotImplementedError

    def _accident(self, error: Exception, context: Context | None, request: Request | None) -> Context:
        """Counts the rows of a call that failed where nothing should."""
        raise NotImplementedError


CORRELATION = "$aml_dc_correlation_id"
TIMESTAMP = "$aml_dc_scoring_timestamp"
REQUEST = "$aml_request_id"
"""The correlations that differ from call to call, as the v1 SDK calls them."""


class Correlations(dict[str, Any]):
    """What `ModelDataCollector.collect` returns: the columns that its rows carry beside their own. May be kept as JSON and
    given back later."""

    __slots__ = ("context",)

    context: Context
    """The same for this process; it also knows how many rows there were."""


def describe(context: Context, constants: dict[str, Any]) -> Correlations:
    """The correlations of one call; `constants` has those of every call, and the order of all."""
    made = Correlations(constants)
    made[CORRELATION] = text_of(context._id)
    # What is finer than a microsecond is not in the CSV either.
    made[TIMESTAMP] = moment(context.time_ns // 1000 * 1000)
    if context._request is not None:
        made[REQUEST] = text_of(context._request)
    made.context = context
    return made


def text_of(id: bytes | str) -> str:
    """An id as the CSV has it."""
    if isinstance(id, str):
        return id
    digits = id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class ValueWay:
    """`collect()` of a collector that returns its correlations by value."""

    _own: Collector
    _constants: dict[str, Any]
    _plain: bool
    """False where every call has to go the long way."""

    def collect(
        self, input_data: Any, user_correlation_id: Any = "", *, correlations: Any = None, request_id: Any = None
    ) -> Correlations:
        """Copies `input_data` into memory, to be sent in the background, and returns the columns its rows carry.

        Inputs get a correlation id of their own, behind `user_correlation_id` and a hyphen where one is given. Predictions
        in the same request get that of their inputs. What comes later, or from elsewhere, names it: by `correlations` (what
        collecting the inputs returned, also when it was JSON in between; or the id alone), by `user_correlation_id`, by
        the columns of a frame, by `add_correlations`, or by the `request_id`.
        """
        try:
            shape = self._own._shape
            if (
                self._plain
                and correlations is None
                and request_id is None
                and (user_correlation_id is None or (type(user_correlation_id) is str and not user_correlation_id))
                and type(input_data) is shape[0]
                # A frame may carry the columns of its inputs.
                and shape[7] is None
            ):
                return describe(self._own.collect(input_data), self._constants)
        except Exception as error:  # noqa: BLE001
            return self._accident(error)
        return self._long_way(input_data, user_correlation_id, correlations, request_id)

    def _long_way(self, data: Any, user_id: Any, given: Any, request_id: Any) -> Correlations:
        raise NotImplementedError

    def _accident(self, error: Exception) -> Correlations:
        """Counts the rows of a call that failed."""
        raise NotImplementedError


CORE = "pure"
"""Which one is active: "compiled" or "pure"."""

if (
    not TYPE_CHECKING
    and os.environ.get("COLLECTORD_CLIENT_PURE", "") in ("", "0")
    and getattr(sys, "_is_gil_enabled", lambda: True)()
):
    try:
        from . import _core
    except ModuleNotFoundError:
        # It was not built: there was no compiler.
        pass
    except ImportError as error:
        once(logging.WARNING, "core", "the compiled core cannot be loaded: %s", error)
    else:
        from ._core import (  # noqa: F401
            NO_SHAPE,
            Context,
            Correlations,
            Lock,
            Pending,
            Sheet,
            ShortWay,
            Slot,
            Tray,
            Uuid7,
            ValueWay,
            describe,
            only_block,
            text_of,
        )

        _core.find_requests_by(requests._current, requests._of_flask)
        CORE = "compiled"
