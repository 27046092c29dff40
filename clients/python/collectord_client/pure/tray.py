"""Where rows are laid down: the sheet that a page is to the short way, a schema's slot, and the tray of an outbox."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..outbox import Carrier
    from ..page import Column, Page
    from ..wire import Schema

HOUR = 3_600_000_000_000
REQUEST_BYTES = 28
"""What a request costs beside its values: time, id and row count."""
LARGE = 8192
"""Bytes from which on values go into a pooled buffer."""
MOST_BUFFERS = 32
"""With more open pages than this, none begins with a buffer: it would be mostly empty."""

Lock = threading.Lock
Raw = bytes


class Sheet:
    """What the short way writes of a page. Protected by its outbox's lock until the page is sealed."""

    __slots__ = (
        "buffer", "columns", "counts", "data", "first_rows", "hour", "id_lengths", "ids", "opened", "overhead",
        "request_lengths", "requests", "rows", "schema", "shares", "size", "times", "used",
    )  # fmt: skip

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
    id_lengths: array[int]
    request_lengths: array[int]
    shares: array[float]
    """The fraction of requests that each stands for, where the schema is sampled."""
    columns: list[Column]
    schema: Schema
    opened: float
    """Monotonic seconds."""
    overhead: int
    """Bytes of the page itself, which the outbox counts as well."""

    def fold(self) -> None:
        """Moves what the short way has noted elsewhere into the arrays: in Python, nothing."""


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
    pool: list[bytearray]
    """Buffers of pages that were sent."""
    sealed: int
    carrier: Carrier | None
    _watched: bool
    """True while the sender will look again before the pages that are open have lingered."""
    _forgetful: bool
    """True once slots were forgotten. Until then none has to be looked up, which takes as long as all else of a page."""
    _full: int
    """Pages that were sealed since the sender last looked."""
    _enough: int
    """So many of them wake it."""

    def put(
        self, slot: Slot, tensor: Raw | memoryview, time_ns: int, id: Raw, rows: int, request: Raw | None
    ) -> str | None:
        """Copies one request of a tensor schema into its page. Returns the reason if it was dropped.

        `request` is 16 bytes where the schema has request ids.
        """
        length = len(tensor)
        size = length + (REQUEST_BYTES if request is None else REQUEST_BYTES + 16)
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
            if page.buffer is None and (length < LARGE or len(self._open) > MOST_BUFFERS):
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
