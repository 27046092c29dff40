"""Rows of one call, copied and ready to be put into a page."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import accumulate, pairwise

from .errors import CollectError

BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT16, FLOAT32, FLOAT64 = range(1, 13)
STRING, TIMESTAMP, TIMESTAMP_UTC = 13, 14, 15
"""Column types, with the numbers of `ColumnType` in the proto."""

WIDTHS = {
    BOOL: 1, INT8: 1, INT16: 2, INT32: 4, INT64: 8, UINT8: 1, UINT16: 2, UINT32: 4, UINT64: 8,
    FLOAT16: 2, FLOAT32: 4, FLOAT64: 8, TIMESTAMP: 8, TIMESTAMP_UTC: 8,
}  # fmt: skip

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

    def rows(self, kind: int) -> int:
        """How many values of column type `kind` these are."""
        return len(self.lengths) if self.lengths is not None else len(self.data) // WIDTHS[kind]

    def size(self) -> int:
        return len(self.data) + (4 * len(self.lengths) if self.lengths is not None else 0) + len(self.mask or b"")


@dataclass(slots=True)
class Block:
    """Rows, either as one row-major tensor or as columns. `types` has one entry per column."""

    names: tuple[str, ...] | None
    """What the data itself calls its columns; None: it does not."""
    types: tuple[int, ...]
    rows: int
    tensor: bytes | None
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        return len(self.tensor) if self.tensor is not None else sum(part.size() for part in self.parts)

    def cut(self, page_bytes: int) -> list[tuple[int, Block]]:
        """The rows in pieces of about `page_bytes`, each with the index of its first row.

        Raises CollectError `row_too_large` where a single row is too large for the wire.
        """
        if self.size <= page_bytes:
            return [(0, self)]
        if self.tensor is not None:
            width = len(self.tensor) // self.rows
            if width > MAX_ROW_BYTES:
                raise CollectError("row_too_large", f"a row has {width} bytes, at most {MAX_ROW_BYTES} fit", self.rows)
            step = max(1, page_bytes // width)
            return [
                (
                    at,
                    Block(
                        self.names, self.types, min(step, self.rows - at), self.tensor[at * width : (at + step) * width]
                    ),
                )
                for at in range(0, self.rows, step)
            ]
        ends = [0] * self.rows
        for part in self.parts:
            if part.lengths is not None:
                ends = [end + length for end, length in zip(ends, part.lengths, strict=True)]
        fixed = sum(5 if part.lengths is not None else len(part.data) // self.rows + 1 for part in self.parts)
        cuts, held = [0], 0
        for at, length in enumerate(ends):
            size = fixed + length
            if size > MAX_ROW_BYTES:
                raise CollectError(
                    "row_too_large", f"row {at} has {size} bytes, at most {MAX_ROW_BYTES} fit", self.rows
                )
            if held and held + size > page_bytes:
                cuts.append(at)
                held = 0
            held += size
        cuts.append(self.rows)
        return list(zip(cuts, self.between(cuts), strict=False))

    def between(self, cuts: list[int]) -> list[Block]:
        """The rows of a block of columns between each two neighbours in `cuts`."""
        starts = [None if p.lengths is None else list(accumulate(p.lengths, initial=0)) for p in self.parts]
        pieces = []
        for at, end in pairwise(cuts):
            parts = []
            for part, text in zip(self.parts, starts, strict=True):
                mask = None if part.mask is None else part.mask[at:end]
                if text is None or part.lengths is None:
                    width = len(part.data) // self.rows
                    parts.append(Part(part.data[at * width : end * width], None, mask))
                else:
                    parts.append(Part(part.data[text[at] : text[end]], part.lengths[at:end], mask))
            pieces.append(Block(self.names, self.types, end - at, None, tuple(parts)))
        return pieces
