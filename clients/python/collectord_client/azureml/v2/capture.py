"""Local mode: what is collected, printed as the v2 SDK's local capture prints it. Slow and simple."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from ...block import STRING, TIMESTAMP, TIMESTAMP_UTC
from ...columns import Rules
from ...context import Context
from ...ids import show_id
from ..printing import columns_of, landing

QUOTED = (STRING, TIMESTAMP, TIMESTAMP_UTC)
NO_NUMBERS = ("NaN", "Inf", "-Inf")
"""JSON has none for them."""

_lock = threading.Lock()
"""A line is printed as a whole."""


def show(collection: str, data: Any, context: Context, rules: Rules | None = None) -> int:
    """Prints `data`, as the column rules leave it, as one line with a JSON array of records, in ASCII as the v2 SDK has them, and
    returns how many rows it has. Raises CollectError."""
    names, block = landing(data, None, context._request_rows, rules)
    id = context._id if rules is None else rules.id(context._id)
    columns = [
        [_value(cell, kind in QUOTED) for cell in column]
        for kind, column in zip(block.types, columns_of(block), strict=True)
    ]
    keys = [json.dumps(name) for name in names]
    records = [
        "{" + ",".join([f"{key}:{value}" for key, value in zip(keys, row, strict=True)]) + "}"
        for row in zip(*columns, strict=True)
    ]
    now = time.time_ns() // 1_000_000
    said = (
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now // 1000))},{now % 1000:03d}", "local.capture", "INFO",
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(context.time_ns // 1_000_000_000)), collection,
        str(show_id(id)), "[" + ",".join(records) + "]",
    )  # fmt: skip
    with _lock:
        sys.stdout.write(" | ".join(said) + "\n")
        sys.stdout.flush()
    return block.rows


def _value(cell: str | None, quoted: bool) -> str:
    if cell is None or (not quoted and cell in NO_NUMBERS):
        return "null"
    return json.dumps(cell) if quoted else cell
