"""The face of the package: `Client` and the collectors it makes."""

from __future__ import annotations

import datetime
import logging
import sys
import time
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

from . import process
from .context import Context, pending
from .endpoint import EndpointError, check
from .errors import CollectError
from .ids import parse_id
from .intake import tabulate
from .names import check as check_name
from .names import resolve
from .notices import once, say
from .outbox import LARGE, Outbox, Slot
from .values import EPOCH, EPOCH_UTC, MICROSECOND
from .wire import NO_IDS, TEXTS, UUIDS, Schema, Stream

CorrelationId = str | int | uuid.UUID | Sequence[str | int | uuid.UUID]
Timestamp = int | datetime.datetime

_take_ids = process.ids
_now = time.time_ns
LAST_TIME = (1 << 63) - 1


class Client:
    """Collects what one model sees and says. Thread-safe; may be made before a fork and used on both sides.

    `workspace` is `subscription/resource_group/workspace`, or the last one or two of them. `endpoint` is `unix:/path` or
    `host:port`; by default COLLECTORD_ENDPOINT, else the usual sockets, looked up whenever it connects. `outbox_bytes`
    bounds what is held until the daemon has acknowledged it; when that is full, `outbox="drop"` gives up the rows of
    the call and counts them, `outbox="block"` waits. `linger` (seconds) and `page_bytes` say when a page is sent.

    Nothing is connected before the first `collect()`. Raises ValueError for arguments that can never work, and later
    nothing at all unless `strict`, which is for tests.
    """

    def __init__(
        self,
        model: str = "",
        version: str = "",
        webservice: str = "",
        workspace: str = "",
        endpoint: str | None = None,
        *,
        outbox: str = "drop",
        outbox_bytes: int = 32 << 20,
        linger: float = 1.0,
        page_bytes: int = 256 << 10,
        strict: bool = False,
        collection: str = "",
        token: str = "",
    ) -> None:
        levels = workspace.split("/") if workspace else []
        if len(levels) > 3:
            raise ValueError(
                f"workspace {workspace!r} has more than the three parts subscription/resource_group/workspace"
            )
        if outbox not in ("drop", "block"):
            raise ValueError(f'outbox is "drop" or "block", not {outbox!r}')
        if not outbox_bytes >= 64 << 10:
            raise ValueError(f"outbox_bytes is at least 65536, not {outbox_bytes}")
        if not 1 << 10 <= page_bytes <= 1_000_000:
            raise ValueError(f"page_bytes lies between 1024 and 1000000, not {page_bytes}")
        if not 0 <= linger <= 3600:
            raise ValueError(f"linger lies between 0 and 3600 seconds, not {linger}")
        if endpoint is not None:
            check(endpoint)
        subscription, resource_group, last = ([""] * 3 + levels)[-3:]
        self._stream = Stream(subscription, resource_group, last, webservice, model, version, "", collection)
        for level in (subscription, resource_group, last, webservice, model, version, collection):
            _check_level(level)
        self.strict = strict
        self._endpoint = endpoint
        self._token = token
        self._pending = pending((subscription, resource_group, last, webservice, model, version))
        self._outbox = Outbox(
            _Carriers(endpoint, token), outbox_bytes, min(page_bytes, outbox_bytes // 4), linger, outbox == "block"
        )
        process.outboxes.add(self._outbox)
        self._collectors: dict[tuple[str, tuple[str, ...] | None], Collector] = {}
        weakref.finalize(self, setattr, self._outbox, "abandoned", True).atexit = False

    def collector(self, designation: str = "inputs", feature_names: Sequence[str] | None = None) -> Collector:
        """A collector for one designation with fixed names: the fast way. Raises ValueError for unusable names."""
        names = None if feature_names is None else tuple(str(name) for name in feature_names)
        _check_level(designation)
        try:
            for name in names or ():
                check_name(name)
        except CollectError as error:
            raise ValueError(error.detail) from None
        if len(names or ()) > 10_000:
            raise ValueError(f"{len(names or ())} feature names, at most 10000")
        return Collector(self, designation, names)

    def collect(
        self,
        data: Any,
        designation: str = "inputs",
        feature_names: Sequence[str] | None = None,
        correlation_id: CorrelationId | None = None,
        request_id: str | uuid.UUID | None = None,
        context: Context | None = None,
        timestamp: Timestamp | None = None,
    ) -> Context:
        """Copies `data` into memory, to be sent in the background; see `Collector.collect`."""
        try:
            key = (designation, None if feature_names is None else tuple(feature_names))
            found = self._collectors.get(key)
            if found is None:
                if len(self._collectors) > 1000:
                    self._collectors.clear()
                found = self._collectors[key] = self.collector(*key)
        except Exception as error:  # noqa: BLE001
            reason = "bad_name" if isinstance(error, (ValueError, TypeError)) else "internal_error"
            self._refuse(self._stream, CollectError(reason, str(error)))
            return context if context is not None else _fresh(0)
        return found.collect(data, correlation_id, request_id, context, timestamp)

    def flush(self, timeout: float = 10.0) -> bool:
        """Sends what was collected so far; True once all of it is durable or rejected for good, False after `timeout`."""
        return self._outbox.wait_settled(time.monotonic() + timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flushes, and takes nothing more. Returns what `flush` did; what was not sent by then is given up."""
        self._outbox.close()
        done = self._outbox.wait_settled(time.monotonic() + timeout)
        carrier = self._outbox.carrier
        if isinstance(carrier, process_sender()):
            carrier.detach(self._outbox)
        return done

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stats(self) -> dict[str, Any]:
        """What happened so far in this process, in rows where nothing else is said.

        `collected` = `acknowledged` + `rejected` + `waiting` + what a page lost on its way (`dropped`, reason
        `row_too_large`); everything else in `dropped` was never taken in.
        """
        outbox = self._outbox
        with outbox.lock:
            result: dict[str, Any] = {
                "collected": outbox.collected,
                "acknowledged": outbox.acknowledged,
                "rejected": dict(outbox.rejected),
                "dropped": dict(outbox.dropped),
                "notes": dict(outbox.notes),
                "waiting": outbox.collected - outbox.acknowledged - sum(outbox.rejected.values()) - outbox.lost,
                "outbox_bytes": outbox.bytes,
                "outbox_limit_bytes": outbox.limit,
                "collecting": outbox.collecting,
                "closed": outbox.closed,
            }
            carrier: Any = outbox.carrier
        result["connected"] = carrier is not None and carrier.connected
        result["reconnects"] = max(0, carrier.connects - 1) if carrier is not None else 0
        result["resent_elsewhere"] = carrier.resent_elsewhere if carrier is not None else 0
        result["last_error"] = carrier.last_error if carrier is not None else ""
        return result

    def _refuse(self, stream: Stream, error: CollectError) -> None:
        self._outbox.drop(stream, error.reason, max(1, error.rows))
        if self.strict:
            raise error
        once(logging.WARNING, f"{stream} {error.reason}", "not collected: %s (counted, said once)", error)


class Collector:
    """Collects for one designation. Made by `Client.collector`; thread-safe."""

    def __init__(self, client: Client, designation: str, names: tuple[str, ...] | None) -> None:
        base = client._stream
        self._client = client
        self._outbox = client._outbox
        self._stream = Stream(
            base.subscription, base.resource_group, base.workspace, base.webservice, base.model, base.version,
            designation, base.collection,
        )  # fmt: skip
        self._names = names
        self._pending = client._pending
        self._offers = designation == "inputs"
        self._takes = designation == "predictions"
        self._memory: list[int] = []
        self._slots: dict[tuple[object, ...], tuple[Slot, list[str]]] = {}
        # What the last array of two dimensions looked like: if the next one does as well, it goes the short way.
        self._array: Any = None
        self._dtype: object = None
        self._tail: tuple[int, ...] = ()
        self._slot: Slot | None = None
        self._most_rows = 0
        self._large = 0

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
        if (
            type(data) is self._array
            and data.dtype is self._dtype
            and data.shape[1:] == self._tail
            and 0 < (rows := data.shape[0]) <= self._most_rows
            and correlation_id is None
            and request_id is None
            and timestamp is None
            and self._slot is not None
            and self._outbox.collecting
        ):
            if context is None:
                found = self._pending.get() if self._takes else None
                if found is None or found._taken:
                    now = _now()
                    context = Context(_take_ids.make(now), now, rows)
                    if self._offers:
                        self._pending.set(context)
                    elif self._takes:
                        self._outbox.note(("uncorrelated",))
                else:
                    found._taken = True
                    context = found
            if type(context._id) is bytes and context._keys is None and context._request is None:
                # A large array goes into the page directly; for a small one, making the view costs more than a copy.
                raw = (
                    data.tobytes() if rows < self._large or not data.flags.c_contiguous else memoryview(data).cast("B")
                )
                reason = self._outbox.put(self._slot, raw, context.time_ns, context._id, rows)
                if reason is not None:
                    self._client._refuse(self._stream, CollectError(reason, "the rows of this call were dropped", rows))
                return context
        try:
            return self._collect(data, correlation_id, request_id, context, timestamp)
        except CollectError as error:
            refused = error
        except Exception as error:  # noqa: BLE001
            say(logging.ERROR, "internal", "collecting failed", exc_info=error)
            refused = CollectError("internal_error", f"{type(error).__name__}: {error}")
        if context is None:
            # A prediction must not take the inputs of an earlier request instead of these.
            context = _fresh(0)
            if self._offers:
                self._pending.set(context)
        self._client._refuse(self._stream, refused)
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
        if source is None and self._takes:
            found = self._pending.get()
            if found is not None and not found._taken:
                found._taken = True
                source = found
        time_ns = _nanoseconds(timestamp) if timestamp is not None else source.time_ns if source is not None else _now()
        if not self._outbox.collecting:
            if source is None:
                source = Context(_take_ids.make(time_ns), time_ns, 0)
                if self._offers:
                    self._pending.set(source)
            return source
        block, notes = tabulate(data, self._names, source.rows if source is not None else 0, self._memory)
        rows = block.rows
        request = parse_id(request_id) if request_id is not None else source._request if source is not None else None
        id, keys, more = self._identify(correlation_id, source, rows, time_ns)
        made = Context(id, time_ns, rows, request, keys)
        if self._offers:
            self._pending.set(made)
        layout = UUIDS if isinstance(id, bytes) else TEXTS
        asked = NO_IDS if request is None else UUIDS if isinstance(request, bytes) else TEXTS
        slot, changed = self._slot_for(block.names, block.types, block.tensor is not None, layout, asked)
        if notes or more or changed:
            self._outbox.note([*notes, *more, *changed])
        reason = self._outbox.put_block(slot, block.cut(self._outbox.page_bytes), time_ns, id, request, keys)
        if reason is not None:
            raise CollectError(reason, "the rows of this call were dropped", rows)
        if block.tensor is not None and layout == UUIDS and asked == NO_IDS and not changed:
            self._remember(data, slot)
        return made

    def _identify(
        self, given: CorrelationId | None, source: Context | None, rows: int, time_ns: int
    ) -> tuple[bytes | str, tuple[bytes | str, ...] | None, list[str]]:
        """The id of the request, or one per row, and what was doubtful."""
        if given is None:
            if source is not None and (source._keys is None or len(source._keys) == rows):
                return source._id, source._keys, []
            return _take_ids.make(time_ns), None, ["uncorrelated"] if self._takes else []
        if isinstance(given, (str, uuid.UUID)) or not hasattr(given, "__len__"):
            return parse_id(given), None, []
        listed: Any = given
        keys = tuple(parse_id(key) for key in (listed.tolist() if hasattr(listed, "tolist") else listed))
        if len(keys) != rows:
            raise CollectError("bad_id", f"{len(keys)} correlation ids for {rows} rows", rows)
        if any(isinstance(key, str) for key in keys):
            keys = tuple(key if isinstance(key, str) else str(uuid.UUID(bytes=key)) for key in keys)
        return keys[0], keys, []

    def _slot_for(
        self, own: tuple[str, ...] | None, types: tuple[int, ...], tensor: bool, correlation: int, request: int
    ) -> tuple[Slot, list[str]]:
        key = (own if self._names is None else None, types, tensor, correlation, request)
        found = self._slots.get(key)
        if found is None:
            names, notes = resolve(self._names, own, len(types))
            for note in notes:
                once(logging.WARNING, f"{self._stream} {note}", "%s for %s: see docs/client.md", note, self._stream)
            if len(self._slots) >= 1000:
                self._slots.clear()
            slot = self._outbox.slot(Schema(self._stream, names, types, tensor, correlation, request))
            found = self._slots[key] = (slot, notes)
        return found

    def _remember(self, data: Any, slot: Slot) -> None:
        numpy = sys.modules.get("numpy")
        if numpy is None or type(data) is not numpy.ndarray or data.ndim != 2 or not data.dtype.isnative:
            return
        # Only numpy's own dtype objects are one per type, so that identity is enough on the short way.
        if sys.byteorder != "little" or data.dtype is not numpy.dtype(data.dtype.type):
            return
        self._array = None
        self._dtype = data.dtype
        self._tail = data.shape[1:]
        self._slot = slot
        self._most_rows = max(0, self._outbox.page_bytes - 28) // (data.dtype.itemsize * data.shape[1])
        self._large = LARGE // (data.dtype.itemsize * data.shape[1]) + 1
        self._array = numpy.ndarray


class _Carriers:
    """Finds an outbox's sender, again after a fork."""

    def __init__(self, endpoint: str | None, token: str) -> None:
        self.endpoint = endpoint
        self.token = token

    def __call__(self, outbox: Outbox) -> Any:
        sender = process.sender_for(self.endpoint, self.token)
        sender.attach(outbox)
        return sender


def process_sender() -> type[Any]:
    from .sender import Sender

    return Sender


def _fresh(rows: int) -> Context:
    now = _now()
    return Context(_take_ids.make(now), now, rows)


def _nanoseconds(value: Timestamp) -> int:
    if isinstance(value, datetime.datetime):
        since = value - (EPOCH if value.tzinfo is None else EPOCH_UTC)
        value = since // MICROSECOND * 1000 + int(getattr(value, "nanosecond", 0))
    elif isinstance(value, float) or not hasattr(value, "__index__"):
        raise CollectError("bad_timestamp", "a timestamp is a datetime or whole nanoseconds since 1970")
    value = value.__index__()
    if not 0 <= value <= LAST_TIME:
        raise CollectError("bad_timestamp", "the timestamp lies outside 1970 to 2262")
    return value


def _check_level(level: str) -> None:
    if not isinstance(level, str):
        raise ValueError(f"a name is a str, not {type(level).__name__}")
    try:
        size = len(level.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{level!r} is not valid Unicode") from None
    if size > 255 or any(ord(letter) < 32 or ord(letter) == 127 for letter in level):
        raise ValueError(f"{level!r} has more than 255 bytes, or control characters")


__all__ = ["Client", "Collector", "EndpointError"]
