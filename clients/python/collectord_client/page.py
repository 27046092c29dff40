"""A page: rows of one schema and one UTC hour on their way into a batch.

The hot end of `collect()`; everything is appended to flat byte arrays, so that a row costs its bytes and little more, and
nothing here is tracked by the garbage collector. A compiled page may take this file's place one day.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from .block import STRING, Block, Part
from .wire import TEXTS, UUIDS, Buffer, Schema, blob, blobs, number

HOUR = 3_600_000_000_000
POOLED = 16
POOL: list[bytearray] = []
"""Buffers of pages that were sent."""
REQUEST_BYTES = 28
"""What a request costs beside its values: time, id and row count."""


class Page:
    """Not thread-safe: its outbox's lock protects it until it is sealed, then it is only read."""

    __slots__ = (
        "blocks", "buffer", "counts", "data", "first_rows", "hour", "id_lengths", "ids", "opened",
        "request_lengths", "requests", "rows", "schema", "size", "times", "used",
    )  # fmt: skip

    def __init__(self, schema: Schema, hour: int, opened: float) -> None:
        self.schema = schema
        self.hour = hour
        """Hours since 1970."""
        self.opened = opened
        """Monotonic seconds."""
        self.rows = 0
        self.size = 0
        """Bytes, as the outbox counts them."""
        self.data = bytearray()
        """Of a tensor schema, unless they are in `buffer`."""
        self.buffer: bytearray | None = None
        self.used = 0
        self.blocks: list[tuple[Part, ...]] = []
        """Of a columns schema, one per call: joined when the page is sent."""
        self.times = array("q")
        self.counts = array("I")
        self.first_rows: array[int] | None = None
        """None while all are 0."""
        self.ids = bytearray()
        self.id_lengths = array("i")
        self.requests = bytearray()
        self.request_lengths = array("i")

    def add(
        self, block: Block, time_ns: int, id: bytes | str, request: bytes | str | None, first_row: int, count: int
    ) -> None:
        """Appends one request and, with its first call, the block's values. `count` is the request's number of rows."""
        # First what may fail for want of memory: then the page is as it was.
        self._add_values(block)
        self.times.append(time_ns)
        self.counts.append(count)
        if first_row and self.first_rows is None:
            self.first_rows = array("I", bytes(4 * (len(self.times) - 1)))
        if self.first_rows is not None:
            self.first_rows.append(first_row)
        if isinstance(id, str):
            encoded = id.encode()
            self.ids += encoded
            self.id_lengths.append(len(encoded))
        else:
            self.ids += id
        if isinstance(request, str):
            encoded = request.encode()
            self.requests += encoded
            self.request_lengths.append(len(encoded))
        elif request is not None:
            self.requests += request
        self.rows += count

    def _add_values(self, block: Block) -> None:
        if block.tensor is not None:
            if self.buffer is None:
                self.data += block.tensor
            else:
                self.write(block.tensor, 0)
        elif block.parts:
            self.blocks.append(block.parts)

    def write(self, tensor: bytes | memoryview, room: int) -> None:
        """Copies values into a buffer that was used before: memory that is fresh costs twenty times the copy.

        A page that begins with it takes a buffer of `room` bytes from the pool, or makes one.
        """
        if self.buffer is None:
            try:
                self.buffer = POOL.pop()
            except IndexError:
                self.buffer = bytearray(room)
            self.buffer[: len(self.data)] = self.data
            self.used = len(self.data)
            self.data = bytearray()
        end = self.used + len(tensor)
        # Grows where the buffer came from a client with smaller pages.
        self.buffer[self.used : end] = tensor
        self.used = end

    def release(self) -> None:
        """Gives the buffer back. The page is empty then."""
        if self.buffer is not None:
            if len(POOL) < POOLED:
                POOL.append(self.buffer)
            self.buffer = None
            self.used = 0

    def _values(self) -> bytes | bytearray | memoryview:
        return self.data if self.buffer is None else memoryview(self.buffer)[: self.used]

    def body(self) -> bytes:
        """The fields of `Batch` from `schema_id` on."""
        pieces: list[Buffer] = [blob(2, self.schema.id), number(3, self.rows), blob(4, self._requests())]
        if self.schema.tensor:
            pieces += blobs([(5, self._values())])
        else:
            pieces += [blob(6, data) for data in self._columns()]
        return b"".join(pieces)

    def _requests(self) -> bytes:
        fields: list[tuple[int, Buffer]] = [(1, packed(self.times))]
        if self.rows != len(self.times):
            fields.append((2, packed(self.counts)))
        if self.first_rows is not None:
            fields.append((3, packed(self.first_rows)))
        fields.append((4, bytes(self.ids)))
        if self.schema.correlation == TEXTS:
            fields.append((5, offsets(self.id_lengths)))
        if self.schema.request:
            fields.append((6, bytes(self.requests)))
        if self.schema.request == TEXTS:
            fields.append((7, offsets(self.request_lengths)))
        return b"".join(blobs(fields))

    def _columns(self) -> list[bytes]:
        columns = []
        for part in self._merged():
            fields: list[tuple[int, Buffer]] = []
            if part.mask is not None:
                fields.append((1, bitmap(part.mask)))
            if part.lengths is not None:
                fields.append((2, offsets(part.lengths)))
            fields.append((3, part.data))
            columns.append(b"".join(blobs(fields)))
        return columns

    def _merged(self) -> tuple[Part, ...]:
        if len(self.blocks) > 1:
            kinds = self.schema.types
            self.blocks = [
                tuple(_join(kind, parts) for kind, parts in zip(kinds, zip(*self.blocks, strict=True), strict=True))
            ]
        return self.blocks[0]

    def fitting(self, limit: int) -> list[tuple[int, bytes]]:
        """Rows and body, in as many pieces as it takes for each to fit `limit` bytes or to be a single row."""
        body = self.body()
        if len(body) <= limit or self.rows == 1:
            return [(self.rows, body)]
        return [piece for half in self._halves() for piece in half.fitting(limit)]

    def _halves(self) -> tuple[Page, Page]:
        half = self.rows // 2
        pages = (Page(self.schema, self.hour, self.opened), Page(self.schema, self.hour, self.opened))
        if self.schema.tensor:
            values = self._values()
            cut = len(values) // self.rows * half
            pages[0].data += values[:cut]
            pages[1].data += values[cut:]
        else:
            blocks = Block(None, self.schema.types, self.rows, None, self._merged()).between([0, half, self.rows])
            for page, block in zip(pages, blocks, strict=True):
                page.blocks.append(block.parts)
        ids = _items(self.ids, self.id_lengths, self.schema.correlation, len(self.times))
        requests = _items(self.requests, self.request_lengths, self.schema.request, len(self.times))
        row = 0
        for at, (time, count) in enumerate(zip(self.times, self.counts, strict=True)):
            first = self.first_rows[at] if self.first_rows is not None else 0
            left = max(0, min(count, half - row))
            if left:
                pages[0].add(NOTHING, time, ids[at], requests[at], first, left)
            if count > left:
                pages[1].add(NOTHING, time, ids[at], requests[at], first + left, count - left)
            row += count
        return pages


NOTHING = Block(None, (), 0, None)


def _items(data: bytearray, lengths: array[int], layout: int, count: int) -> list[Any]:
    if not layout:
        return [None] * count
    if layout == UUIDS:
        return [bytes(data[at : at + 16]) for at in range(0, len(data), 16)]
    ends = list(accumulate(lengths, initial=0))
    return [data[at:end].decode() for at, end in pairwise(ends)]


def _join(kind: int, parts: Sequence[Part]) -> Part:
    """The parts of one column, one behind the other."""
    mask = None
    if any(part.mask is not None for part in parts):
        mask = b"".join(b"\1" * part.rows(kind) if part.mask is None else part.mask for part in parts)
    lengths = None
    if kind == STRING:
        lengths = array("i")
        for part in parts:
            if part.lengths is not None:
                lengths += part.lengths
    return Part(b"".join([part.data for part in parts]), lengths, mask)


def packed(values: array[int]) -> bytes:
    """Little-endian."""
    if sys.byteorder != "little":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def offsets(lengths: array[int]) -> bytes:
    """int32 offsets from 0, one more than there are lengths."""
    return packed(array("i", accumulate(lengths, initial=0)))


def bitmap(mask: bytes) -> bytes:
    """A mask of bytes as one of bits, least significant first."""
    # Eight bytes of 0 or 1, read as one number and multiplied, have their bits side by side in the topmost byte.
    padded = mask + bytes(-len(mask) % 8)
    words = array("Q", padded)
    if sys.byteorder != "little":
        words.byteswap()
    return bytes((word * 0x0102040810204080 >> 56) & 0xFF for word in words)
