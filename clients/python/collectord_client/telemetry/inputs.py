"""The inputs of a request, for what is told of an exception in it."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from .. import failures
from ..block import TIMESTAMP, TIMESTAMP_UTC, Block, Part
from ..cells import FORMATS, cells
from ..ids import show_id

if TYPE_CHECKING:
    from ..context import Context
    from ..request import Request

CORRELATIONS, VALUES = "Correlation Ids", "Inputs"
MODELS = 10
"""Of a request, whose inputs are told."""
ROWS = 10
"""Of each of them."""
CELLS = 2000
"""Of all of these together."""


def told(request: Request, values: bool) -> dict[str, Any]:
    """The correlation ids of the inputs that were collected, by which their rows are found; and the `values` of the first rows,
    as they were collected and as far as they have not been sent yet."""
    ids: list[str] = []
    rows: list[dict[str, Any]] = []
    left = CELLS
    for pending, context in islice(list(request.inputs.items()), MODELS):
        if not context.rows:
            continue
        for client in failures.clients(pending):
            rules = client._rules
            id = str(show_id(context._id if rules is None else rules.id(context._id)))
            if id not in ids:
                ids.append(id)
            found = _rows(client, context, left) if values and left > 0 else []
            if found:
                rows += found
                left -= sum(map(len, found))
                break
    dimensions: dict[str, Any] = {CORRELATIONS: ids} if ids else {}
    if rows:
        dimensions[VALUES] = rows
    return dimensions


def _rows(client: Any, context: Context, most: int) -> list[dict[str, Any]]:
    if not isinstance(context._id, bytes) or context._keys is not None:
        # With an id for each row, or ids of their own: by these the rows are found.
        return []
    found = client._outbox.held(replace(client._stream, designation="inputs"), context._id, ROWS)
    if found is None:
        return []
    schema, block = found
    columns = [_values(kind, part) for kind, part in zip(block.types, _parts(block), strict=True)]
    rows = [dict(zip(schema.names, row, strict=True)) for row in zip(*columns, strict=True)]
    return rows[: most // len(schema.names)]


def _parts(block: Block) -> tuple[Part, ...] | list[Part]:
    if block.tensor is None:
        return block.parts
    count = len(block.types)
    width = len(block.tensor) // (block.rows * count)
    cut = [block.tensor[at : at + width] for at in range(0, len(block.tensor), width)]
    return [Part(b"".join(cut[at::count])) for at in range(count)]


def _values(kind: int, part: Part) -> list[Any]:
    """Numbers as numbers; texts and times as the CSV has them."""
    if part.lengths is not None or kind in (TIMESTAMP, TIMESTAMP_UTC):
        return cells(kind, part)
    form = FORMATS[kind]
    values = struct.unpack(f"<{len(part.data) // struct.calcsize(form)}{form}", part.data)
    if part.mask is None:
        return list(values)
    return [value if there else None for value, there in zip(values, part.mask, strict=True)]
