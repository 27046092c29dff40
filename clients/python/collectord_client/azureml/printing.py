"""Debug mode: what is collected, printed as the CSV that lands. Slow and simple."""

from __future__ import annotations

import struct
import sys
import threading
from itertools import accumulate, pairwise
from typing import Any

from ..block import (
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    TIMESTAMP,
    TIMESTAMP_UTC,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    Block,
    Part,
)  # fmt: skip
from ..context import Context
from ..ids import show_id
from ..intake import tabulate
from ..names import resolve
from ..values import Memory, moment, text
from . import correlations as by_value

FORMATS = {
    BOOL: "?", INT8: "b", INT16: "h", INT32: "i", INT64: "q", UINT8: "B", UINT16: "H", UINT32: "I", UINT64: "Q",
    FLOAT16: "e", FLOAT32: "f", FLOAT64: "d", TIMESTAMP: "q", TIMESTAMP_UTC: "q",
}  # fmt: skip
NARROW = {FLOAT16: "float16", FLOAT32: "float32"}

_lock = threading.Lock()
"""A call's rows are printed together."""


class Printer:
    """Prints what one collector collects; its header first, and again when it changes."""

    def __init__(self, names: tuple[str, ...] | None) -> None:
        self._names = names
        self._header: tuple[str, ...] = ()

    def show(self, data: Any, request_rows: int | None, told: dict[str, Any]) -> int:
        """Prints `data`, and returns how many rows it has. `told` has the columns' values, each one for all rows or a list.

        Raises CollectError.
        """
        block, _ = tabulate(data, self._names, request_rows, Memory())
        names, _, order = resolve(self._names, block.names, len(block.types), block.positional)
        if order is not None:
            block = block.select(order)
        columns = _columns(block)
        for name in (*by_value.HEADERS, by_value.ROW):
            value = told.get(name, range(block.rows))
            columns.append(list(map(str, value)) if isinstance(value, (list, range)) else [str(value)] * block.rows)
        header = (*names, *by_value.HEADERS, by_value.ROW)
        rows: list[tuple[str | None, ...]] = list(zip(*columns, strict=True))
        with _lock:
            if header != self._header:
                self._header = header
                rows.insert(0, header)
            sys.stdout.write("".join([",".join(map(_field, row)) + "\n" for row in rows]))
            sys.stdout.flush()
        return block.rows


def told(context: Context, constants: dict[str, Any]) -> dict[str, Any]:
    """The columns beside a call's own. Those that are missing count its rows."""
    return {
        **constants,
        by_value.CORRELATION: list(map(show_id, context._keys)) if context._keys else context.correlation,
        by_value.TIMESTAMP: show_time(context.time_ns),
        by_value.REQUEST: constants[by_value.REQUEST] if context.request_id is None else context.request_id,
    }


def show_time(time_ns: int) -> str:
    """A scoring time, to the microsecond."""
    return moment(time_ns // 1000 * 1000)


def _field(cell: str | None) -> str:
    if cell is None:
        return ""
    if cell and not any(letter in cell for letter in ',"\r\n'):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _columns(block: Block) -> list[list[str | None]]:
    if block.tensor is None:
        return [_cells(kind, part) for kind, part in zip(block.types, block.parts, strict=True)]
    kind, width = block.types[0], len(block.types)
    cells = _cells(kind, Part(block.tensor))
    return [cells[at::width] for at in range(width)]


def _cells(kind: int, part: Part) -> list[str | None]:
    cells: list[str | None]
    if part.lengths is not None:
        ends = list(accumulate(part.lengths, initial=0))
        cells = [part.data[at:end].decode() for at, end in pairwise(ends)]
    else:
        width = struct.calcsize(FORMATS[kind])
        values = struct.unpack(f"<{len(part.data) // width}{FORMATS[kind]}", part.data)
        numpy = sys.modules.get("numpy")
        if kind in NARROW and numpy is not None:
            # Its own shortest text, not that of the wider number.
            cells = [text(float(str(one))) for one in numpy.frombuffer(part.data, NARROW[kind])]
        elif kind in (TIMESTAMP, TIMESTAMP_UTC):
            cells = [moment(value) + ("Z" if kind == TIMESTAMP_UTC else "") for value in values]
        else:
            cells = [text(value) for value in values]
    if part.mask is None:
        return cells
    return [cell if there else None for cell, there in zip(cells, part.mask, strict=True)]
