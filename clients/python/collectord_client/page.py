"""A page: rows of one schema and one UTC hour on their way into a batch.

Everything is appended to flat byte arrays, so that a row costs its bytes and little more.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from .block import STRING, Block, Part
from .core import Sheet
from .ids import Keys
from .wire import TEXTS, UUIDS, Buffer, Schema, blob, blobs, number

POOLED = 32
POOL: list[bytearray] = []
"""Buffers of pages that were sent."""
PAGE_BYTES = 1000
COLUMN_BYTES = 300
"""What a page and a column of one cost beside their rows, as measured."""
NO_LENGTHS = array("i")
NO_SHARES = array("d")
DIGITS = bytes.maketrans(b"\0\1", b"01")


class Column:
    """The values of one column, appended to flat buffers call by call."""

    __slots__ = ("data", "lengths", "mask")

    def __init__(self, text: bool) -> None:
        self.data = bytearray()
        self.lengths: array[int] | None = array("i") if text else None
        self.mask: bytearray | None = None
        """One byte per row, 0 where the value is null; None: no nulls so far."""

    def add(self, part: Part, before: int, rows: int) -> None:
        """Appends a part of `rows` rows to the `before` that are there."""
        self.data += part.data
        if part.lengths is not None and self.lengths is not None:
            self.lengths += part.lengths
        if part.mask is not None:
            if self.mask is None:
                self.mask = bytearray(b"\1" * before)
            self.mask += part.mask
        elif self.mask is not None:
            self.mask += b"\1" * rows

    def part(self) -> Part:
        """All of it; the buffers are shared."""
        return Part(self.data, self.lengths, self.mask)  # type: ignore[arg-type]


class Page(Sheet):
    """Not thread-safe: its outbox's lock protects it until it is sealed, then it is only read."""

    __slots__ = ()

    def __init__(self, schema: Schema, hour: int, opened: float) -> None:
        self.schema = schema
        self.hour = hour
        self.opened = opened
        self.rows = 0
        self.size = 0
        self.overhead = overhead(schema)
        self.data = bytearray()
        self.buffer = None
        self.used = 0
        self.columns = [] if schema.tensor else [Column(kind == STRING) for kind in schema.types]
        self.times = array("q")
        self.counts = array("I")
        self.first_rows = None
        self.ids = bytearray()
        self.requests = bytearray()
        # Most schemas have none of these three, and nothing is ever appended to those that all share then.
        self.id_lengths = array("i") if schema.correlation == TEXTS else NO_LENGTHS
        self.request_lengths = array("i") if schema.request == TEXTS else NO_LENGTHS
        self.shares = array("d") if schema.sampled else NO_SHARES

    def add(
        self,
        block: Block | None,
        time_ns: int,
        id: bytes | str,
        request: bytes | str | None,
        first_row: int,
        count: int,
        share: float = 1.0,
    ) -> None:
        """Appends one request of `count` rows, and its values unless they are there already (`block` None)."""
        # First what may fail for want of memory: then the page is as it was.
        self.fold()
        if block is not None:
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
        if self.schema.sampled:
            self.shares.append(share)
        self.rows += count

    def add_keyed(
        self,
        block: Block,
        time_ns: int,
        keys: Keys,
        request: bytes | str | None,
        first_row: int,
        share: float = 1.0,
    ) -> None:
        """Appends a block whose rows have an id each, and what else `keys` has: to the wire, requests of one row."""
        rows = block.rows
        self.fold()
        before = len(self.times)
        times = array("q", [time_ns]) * rows if keys.times is None else array("q", keys.times)
        numbers = array("I", range(first_row, first_row + rows) if keys.numbers is None else keys.numbers)
        self._add_values(block)
        self.times += times
        self.counts += array("I", [1]) * rows
        if self.first_rows is None:
            self.first_rows = array("I", bytes(4 * before))
        self.first_rows += numbers
        _append(self.ids, self.id_lengths, keys.ids)
        if keys.requests is not None:
            _append(self.requests, self.request_lengths, keys.requests)
        elif isinstance(request, str):
            text = request.encode()
            self.requests += text * rows
            self.request_lengths += array("i", [len(text)]) * rows
        elif request is not None:
            self.requests += request * rows
        if self.schema.sampled:
            self.shares += array("d", [share]) * rows
        self.rows += rows

    def _add_values(self, block: Block) -> None:
        if block.tensor is not None:
            if self.buffer is None:
                self.data += block.tensor
            else:
                self.write(block.tensor, 0)
        else:
            before, rows = self.rows, block.rows
            for column, part in zip(self.columns, block.parts, strict=True):
                column.add(part, before, rows)

    def write(self, tensor: bytes | memoryview, room: int) -> None:
        """Copies values into a buffer that was used before: memory that is fresh costs twenty times the copy.

        A page that begins with it is furnished with one of `room` bytes.
        """
        if self.buffer is None:
            self.furnish(room)
        assert self.buffer is not None
        end = self.used + len(tensor)
        self.buffer[self.used : end] = tensor
        self.used = end

    def furnish(self, room: int) -> None:
        """Gives the page a buffer of at least `room` bytes: one that was used before, if there is one that is large enough."""
        try:
            found = POOL.pop()
        except IndexError:
            found = bytearray(room)
        if len(found) < room:
            found = bytearray(room)
        if self.data:
            found[: len(self.data)] = self.data
            self.used = len(self.data)
            self.data = bytearray()
        # Last: whatever failed for want of memory, the page is as it was.
        self.buffer = found

    def compact(self) -> None:
        """Once nothing is added any more: a buffer that is mostly empty is given back, for it may have to wait long."""
        if self.buffer is not None and self.size < len(self.buffer) * 7 // 8:
            self.fold()
            self.data = self.buffer[: self.used]
            self._give_back()

    def clear(self) -> None:
        """Lets go of the rows, once their bodies are made."""
        self.fold()
        self.data = self.ids = self.requests = bytearray()
        self.columns = []
        self.times = self.counts = array("I")
        self.id_lengths, self.request_lengths, self.shares = NO_LENGTHS, NO_LENGTHS, NO_SHARES
        self.first_rows = None
        self._give_back()

    def _give_back(self) -> None:
        if self.buffer is not None:
            if len(POOL) < POOLED:
                POOL.append(self.buffer)
            self.buffer = None
            self.used = 0

    def _values(self) -> bytes | bytearray | memoryview:
        return self.data if self.buffer is None else memoryview(self.buffer)[: self.used]

    def body(self) -> bytes:
        """The fields of `Batch` from `schema_id` on."""
        return b"".join(self.pieces())

    def pieces(self) -> list[Buffer]:
        """The body in pieces, which share the page's memory."""
        self.fold()
        pieces: list[Buffer] = [blob(2, self.schema.id), number(3, self.rows), blob(4, self._requests())]
        if self.schema.tensor:
            pieces += blobs([(5, self._values())])
        else:
            pieces += [blob(6, data) for data in self._columns()]
        return pieces

    def _requests(self) -> bytes:
        fields: list[tuple[int, Buffer]] = [(1, packed(self.times))]
        if self.rows != len(self.times):
            fields.append((2, packed(self.counts)))
        if self.first_rows is not None:
            fields.append((3, packed(self.first_rows)))
        fields.append((4, self.ids))
        if self.schema.correlation == TEXTS:
            fields.append((5, offsets(self.id_lengths)))
        if self.schema.request:
            fields.append((6, self.requests))
        if self.schema.request == TEXTS:
            fields.append((7, offsets(self.request_lengths)))
        fields.append((8, packed(self.shares)))
        return b"".join(blobs(fields))

    def _columns(self) -> list[bytes]:
        columns = []
        for column in self.columns:
            fields: list[tuple[int, Buffer]] = []
            if column.mask is not None:
                fields.append((1, bitmap(column.mask)))
            if column.lengths is not None:
                fields.append((2, offsets(column.lengths)))
            fields.append((3, column.data))
            columns.append(b"".join(blobs(fields)))
        return columns

    def fitting(self, limit: int) -> list[tuple[int, list[Buffer]]]:
        """Rows and the pieces of a body, for as many bodies as it takes for each to fit `limit` bytes or to be a single row."""
        pieces = self.pieces()
        if self.rows == 1 or sum(map(len, pieces)) <= limit:
            return [(self.rows, pieces)]
        return [body for half in self._halves() for body in half.fitting(limit)]

    def find(self, id: bytes, most: int) -> Block | None:
        """Of the request with this id, in a schema of such ids, the first rows, at most so many."""
        self.fold()
        at = self.ids.find(id)
        while at > 0 and at % len(id):
            at = self.ids.find(id, at + 1)
        if at < 0:
            return None
        place = at // len(id)
        first = sum(self.counts[:place])
        whole = Block(None, self.schema.types, self.rows, None, tuple([column.part() for column in self.columns]))
        if self.schema.tensor:
            whole = Block(None, self.schema.types, self.rows, bytes(self._values()))
        return whole.between([(first, first + min(most, self.counts[place]))])[0]

    def _halves(self) -> tuple[Page, Page]:
        half = self.rows // 2
        pages = (Page(self.schema, self.hour, self.opened), Page(self.schema, self.hour, self.opened))
        if self.schema.tensor:
            values = self._values()
            cut = len(values) // self.rows * half
            pages[0].data += values[:cut]
            pages[1].data += values[cut:]
        else:
            whole = Block(None, self.schema.types, self.rows, None, tuple([column.part() for column in self.columns]))
            for page, block in zip(pages, whole.between([(0, half), (half, self.rows)]), strict=True):
                page._add_values(block)
        ids = _items(self.ids, self.id_lengths, self.schema.correlation, len(self.times))
        requests = _items(self.requests, self.request_lengths, self.schema.request, len(self.times))
        row = 0
        for at, (time, count) in enumerate(zip(self.times, self.counts, strict=True)):
            first = self.first_rows[at] if self.first_rows is not None else 0
            left = max(0, min(count, half - row))
            share = self.shares[at] if self.shares else 1.0
            if left:
                pages[0].add(None, time, ids[at], requests[at], first, left, share)
            if count > left:
                pages[1].add(None, time, ids[at], requests[at], first + left, count - left, share)
            row += count
        return pages


def overhead(schema: Schema) -> int:
    """What a page costs beside its rows, in bytes: its object, and one per column with its buffers."""
    return PAGE_BYTES + (0 if schema.tensor else COLUMN_BYTES * len(schema.types))


def _append(data: bytearray, lengths: array[int], ids: Sequence[bytes | str]) -> None:
    """Appends ids of one kind."""
    encoded = [id.encode() for id in ids if isinstance(id, str)]
    if encoded:
        data += b"".join(encoded)
        lengths.extend(map(len, encoded))
    else:
        data += b"".join([id for id in ids if isinstance(id, bytes)])


def _items(data: bytearray, lengths: array[int], layout: int, count: int) -> list[Any]:
    if not layout:
        return [None] * count
    if layout == UUIDS:
        return [bytes(data[at : at + 16]) for at in range(0, len(data), 16)]
    ends = list(accumulate(lengths, initial=0))
    return [data[at:end].decode() for at, end in pairwise(ends)]


def packed(values: array[int] | array[float]) -> bytes:
    """Little-endian."""
    if sys.byteorder != "little":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def offsets(lengths: array[int]) -> bytes:
    """int32 offsets from 0, one more than there are lengths."""
    return packed(array("i", accumulate(lengths, initial=0)))


def bitmap(mask: bytes | bytearray) -> bytes:
    """A mask of bytes as one of bits, least significant first."""
    # As the digits of one binary number, whose last is the lowest bit of the first byte.
    digits = b"0" + mask[::-1].translate(DIGITS)
    return int(digits, 2).to_bytes((len(mask) + 7) // 8, "little")
