"""Debug mode: what is collected, printed as the CSV that lands. Slow and simple."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from ..block import Block, Part, all_read
from ..cells import cells
from ..columns import Rules, outcome
from ..context import Context
from ..ids import show_id
from ..intake import tabulate
from ..names import resolve
from ..notices import once
from ..values import Memory, moment
from . import correlations as by_value

_lock = threading.Lock()
"""A call's rows are printed together."""


class Printer:
    """Prints what one collector collects; its header first, and again when it changes."""

    def __init__(self) -> None:
        self._header: tuple[str, ...] = ()

    def show(
        self,
        data: Any,
        names: tuple[str, ...] | None,
        request_rows: int | None,
        told: dict[str, Any],
        rules: Rules | None = None,
    ) -> int:
        """Prints `data`, of these feature names, as the column rules leave it, and returns how many rows it has. `told` has the
        columns' values, each one for all rows or a list.

        Raises CollectError.
        """
        names, block = landing(data, names, request_rows, rules)
        if rules is not None:
            told = rules.shown(told)
        columns = columns_of(block)
        for name in (*by_value.HEADERS, by_value.ROW):
            value = told.get(name, range(block.rows))
            columns.append(list(map(str, value)) if isinstance(value, (list, range)) else [str(value)] * block.rows)
        header = (*names, *by_value.HEADERS, by_value.ROW)
        rows: list[tuple[str | None, ...]] = list(zip(*columns, strict=True))
        with _lock:
            if header != self._header:
                self._header = header
                rows.insert(0, header)
            try:
                sys.stdout.write("".join([",".join(map(_field, row)) + "\n" for row in rows]))
                sys.stdout.flush()
            except (OSError, ValueError, AttributeError) as error:
                # It is closed, or not there, or knows no letter beyond ASCII. What is collected is collected all the same.
                once(logging.WARNING, "print", "stdout does not take what debug mode prints: %s", type(error).__name__)
        return block.rows


def landing(
    data: Any, feature_names: tuple[str, ...] | None, request_rows: int | None, rules: Rules | None
) -> tuple[tuple[str, ...], Block]:
    """The columns' names and the rows as they land, the column rules applied. Raises CollectError."""
    drops = all_read if rules is None else rules.unread(feature_names)
    block, _ = tabulate(data, feature_names, request_rows, Memory(), drops)
    names, _, order = resolve(feature_names, block.names, len(block.types), block.positional)
    plan = None if rules is None else rules.plan(names, block.names, order, block.rows)
    if order is not None:
        block = block.select(order)
    if rules is not None and plan is not None:
        names, _, _ = outcome(plan, names, block.types, False)
        block = rules.apply(block, plan)
    return names, block


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


def columns_of(block: Block) -> list[list[str | None]]:
    """The cells of each column."""
    if block.tensor is None:
        return [cells(kind, part) for kind, part in zip(block.types, block.parts, strict=True)]
    width = len(block.types)
    shown = cells(block.types[0], Part(block.tensor))
    return [shown[at::width] for at in range(width)]
