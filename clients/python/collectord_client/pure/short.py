"""The short way of `collect()`: one array or frame of a kind that was seen before, on its way into an open page."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Sequence
from typing import Any

from .. import request as requests
from ..request import Request
from .context import Context, Pending
from .ids import Uuid7
from .tray import Tray

# Assigned, not imported: CPython binds a method anew for each call where the name comes from an import.
_now = time.time_ns
_current = requests.current

Shape = tuple[Any, object, tuple[int, ...], int, int, Any, type, object]
"""What goes the short way: type of the data, dtype, shape of a row, most rows, rows from which on an array is large, slot,
type of the request's id, and of a frame its columns, as `columns_of`."""
NO_SHAPE: Shape = (None, None, (), 0, 0, None, type(None), None)

CorrelationId = str | int | uuid.UUID | Sequence[str | int | uuid.UUID]
Timestamp = int | datetime.datetime
RequestId = str | int | uuid.UUID

Told = tuple[
    CorrelationId | None,
    RequestId | Sequence[RequestId] | None,
    Context | None,
    Timestamp | Sequence[Timestamp] | None,
    Sequence[int] | None,
    Request | None,
]
"""What a call says of its rows beside the data, in the order of the arguments of `collect`, and the request it is in."""


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
        # Bound once: to find two methods takes as long as to set the variable.
        self._set_pending = pending._variable.set
        self._make_id = ids.make
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
                        made = Context(self._make_id(now), now, rows, asked)
                    elif type(source._id) is bytes and source._keys is None:
                        same = source.rows == rows and not self._offers
                        made = source if same else Context(source._id, source.time_ns, rows, asked)
                    if made is not None:
                        if self._offers:
                            if request is None:
                                self._set_pending(made)
                            else:
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
            return self._long_way(data, (correlation_id, request_id, context, timestamp, row, request))
        return self._dropped(reason, made, request)

    def _long_way(self, data: Any, told: Told) -> Context:
        raise NotImplementedError

    def _dropped(self, reason: str, made: Context, request: Request | None) -> Context:
        """Counts the rows of `made`, which had no room."""
        raise NotImplementedError

    def _accident(self, error: Exception, context: Context | None, request: Request | None) -> Context:
        """Counts the rows of a call that failed where nothing should."""
        raise NotImplementedError
