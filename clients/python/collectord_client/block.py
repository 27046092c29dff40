"""Rows of one call, copied and ready to be put into a page."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Literal

from .errors import CollectError

BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT16, FLOAT32, FLOAT64 = range(1, 13)
STRING, TIMESTAMP, TIMESTAMP_UTC = 13, 14, 15
"""Column types, with the numbers of `ColumnType` in the proto."""

WIDTHS = {
    BOOL: 1, INT8: 1, INT16: 2, INT32: 4, INT64: 8, UINT8: 1, UINT16: 2, UINT32: 4, UINT64: 8,
    FLOAT16: 2, FLOAT32: 4, FLOAT64: 8, TIMESTAMP: 8, TIMESTAMP_UTC: 8,
}  # fmt: skip

WORDS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""How a value of so many bytes is moved as a whole."""

Unread = Callable[[tuple[str, ...], bool], frozenset[int]]
"""Which columns of data that calls them so are not to be looked at; the second says whether the names are mere positions."""

MAX_COLUMNS = 10_000
MAX_ROW_BYTES = 3 << 20
"""A row must fit a message and, as text, one append of 4 MiB."""


@dataclass(slots=True)
class Part:
    """A column's values: `data` is little-endian and packed, or UTF-8 with `lengths` in bytes, one per row."""

    data: bytes
    lengths: array[int] | None = None
    mask: bytes | None = None
    """One byte per row, 0 where the value is null; None: no nulls."""

    def between(self, starts: list[int] | None, width: int, at: int, end: int) -> Part:
        """The rows from `at` to `end`; a text column needs where each text starts, any other its width in bytes."""
        mask = None if self.mask is None else self.mask[at:end]
        if starts is None or self.lengths is None:
            return Part(self.data[at * width : end * width], None, mask)
        return Part(self.data[starts[at] : starts[end]], self.lengths[at:end], mask)

    def take(self, cuts: list[tuple[int, int]], rows: int) -> Part:
        """Of its `rows` rows those from each first number to the second."""
        mask = None if self.mask is None else _take(self.mask, 1, cuts)
        if self.lengths is None:
            return Part(_take(self.data, len(self.data) // rows, cuts), None, mask)
        starts = list(accumulate(self.lengths, initial=0))
        lengths = array("i", chain.from_iterable([self.lengths[at:end] for at, end in cuts]))
        return Part(_take(self.data, 1, [(starts[at], starts[end]) for at, end in cuts]), lengths, mask)


@dataclass(slots=True)
class Block:
    """Rows, either as one row-major tensor or as columns. `types` has one entry per column."""

    names: tuple[str, ...] | None
    """What the data itself calls its columns; None: it does not."""
    types: tuple[int, ...]
    rows: int
    tensor: bytes | None
    parts: tuple[Part, ...] = ()
    positional: bool = False
    """True where `names` are nothing but positions: a frame's 0, 1, 2, …"""
    changed: bool = False
    """True where a column of lists has another type than in an earlier call."""

    @property
    def size(self) -> int:
        """The bytes that the rows take in a page."""
        if self.tensor is not None:
            return len(self.tensor)
        # A page keeps a byte per value for nulls once there is one in the column; it is counted from the beginning.
        size = self.rows * len(self.parts)
        for part in self.parts:
            size += len(part.data)
            if part.lengths is not None:
                size += 4 * self.rows
        return size

    def select(self, order: tuple[int, ...]) -> Block:
        """The columns at these places, in this order."""
        types = tuple([self.types[at] for at in order])
        if self.tensor is None:
            return Block(None, types, self.rows, None, tuple([self.parts[at] for at in order]))
        old, width = len(self.types), WIDTHS[self.types[0]]
        if self.rows == 1:
            return Block(None, types, 1, b"".join([self.tensor[at * width : (at + 1) * width] for at in order]))
        values = memoryview(self.tensor).cast(WORDS[width])
        new = len(order)
        if new == 1:
            return Block(None, types, self.rows, values[order[0] :: old].tobytes())
        tensor = bytearray(width * new * self.rows)
        places = memoryview(tensor).cast(WORDS[width])
        for to, at in enumerate(order):
            places[to::new] = values[at::old]
        return Block(None, types, self.rows, bytes(tensor))

    def take(self, taken: list[bool]) -> Block:
        """The rows that are `taken`."""
        edges = [at for at in range(1, self.rows) if taken[at] != taken[at - 1]]
        cuts = [(at, end) for at, end in pairwise([0, *edges, self.rows]) if taken[at]]
        rows = sum([end - at for at, end in cuts])
        if self.tensor is not None:
            tensor = _take(self.tensor, len(self.tensor) // self.rows, cuts)
            return Block(self.names, self.types, rows, tensor, (), self.positional)
        parts = tuple([part.take(cuts, self.rows) for part in self.parts])
        return Block(self.names, self.types, rows, None, parts, self.positional)

    def cut(self, page_bytes: int) -> list[tuple[int, Block]]:
        """The rows in pieces of about `page_bytes`, each with the index of its first row.

        A row that is too large for the wire is left out. Raises CollectError `row_too_large` where no row remains.
        """
        if self.size <= page_bytes:
            return [(0, self)]
        pieces = self._cut_tensor(page_bytes) if self.tensor is not None else self._cut_columns(page_bytes)
        if not pieces:
            raise CollectError("row_too_large", f"a row has more than the {MAX_ROW_BYTES} bytes that fit", self.rows)
        return pieces

    def _cut_tensor(self, page_bytes: int) -> list[tuple[int, Block]]:
        assert self.tensor is not None
        width = len(self.tensor) // self.rows
        if width > MAX_ROW_BYTES:
            return []
        step = max(1, page_bytes // width)
        return [
            (
                at,
                Block(self.names, self.types, min(step, self.rows - at), self.tensor[at * width : (at + step) * width]),
            )
            for at in range(0, self.rows, step)
        ]

    def _cut_columns(self, page_bytes: int) -> list[tuple[int, Block]]:
        ends = [0] * self.rows
        for part in self.parts:
            if part.lengths is not None:
                ends = [end + length for end, length in zip(ends, part.lengths, strict=True)]
        fixed = sum(5 if part.lengths is not None else len(part.data) // self.rows + 1 for part in self.parts)
        cuts: list[tuple[int, int]] = []
        first, held = 0, 0
        for at, length in enumerate(ends):
            size = fixed + length
            if size > MAX_ROW_BYTES:
                cuts.append((first, at))
                first, held = at + 1, 0
                continue
            if held and held + size > page_bytes:
                cuts.append((first, at))
                first, held = at, 0
            held += size
        cuts.append((first, self.rows))
        cuts = [(at, end) for at, end in cuts if at < end]
        return list(zip([at for at, _ in cuts], self.between(cuts), strict=True))

    def between(self, cuts: list[tuple[int, int]]) -> list[Block]:
        """The rows from each first number to the second."""
        if self.tensor is not None:
            width = len(self.tensor) // self.rows
            return [Block(self.names, self.types, end - at, self.tensor[at * width : end * width]) for at, end in cuts]
        starts = [None if p.lengths is None else list(accumulate(p.lengths, initial=0)) for p in self.parts]
        widths = [0 if p.lengths is not None else len(p.data) // self.rows for p in self.parts]
        return [
            Block(
                self.names, self.types, end - at, None,
                tuple([p.between(s, w, at, end) for p, s, w in zip(self.parts, starts, widths, strict=True)]),
            )
            for at, end in cuts
        ]  # fmt: skip


def all_read(own: tuple[str, ...], positional: bool) -> frozenset[int]:
    """See `Unread`: where no rule drops anything."""
    return frozenset()


def unread(rows: int) -> tuple[int, Part]:
    """Stands for a column that is not looked at, since it will be dropped: its type and values."""
    return BOOL, Part(bytes(rows))


def _take(data: bytes, width: int, cuts: list[tuple[int, int]]) -> bytes:
    return b"".join([data[at * width : end * width] for at, end in cuts])
