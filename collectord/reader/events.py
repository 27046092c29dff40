"""Lines of JSON read again: what docs/formats/mdc-jsonl.md says of a line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from collectord.errors import NeverAgain

MAX_LINE = 8 << 20
"""Bytes. None is longer than an append."""

_ID = re.compile(r"([0-9a-f]{32})-(\d+)-(\d+)")
_RANGE = re.compile(r"rows (\d+)-(\d+)/\*")
_ROWS_AT_END = re.compile(rb'"rows (\d+)-(\d+)/\*"\}\n?\Z')


class BadEvent(NeverAgain):
    """A line that is not as we write them."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line: rows of one request."""

    writer: bytes
    sequence: int
    """Of the frame that it came with."""
    number: int
    """Of the line in its frame, from 0."""
    first: int
    """Index in the request of its first row."""
    rows: list[dict[str, Any]]
    correlation: str
    time: str
    envelope: dict[str, Any]
    """Everything but the rows."""


def read(line: bytes) -> Event:
    """The event that a line is. Raises BadEvent, saying what is wrong with it."""
    if not line.endswith(b"\n"):
        raise BadEvent("it does not end with a whole line")
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise BadEvent(f"it is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadEvent("it is no JSON object")
    rows = fields.pop("data", None)
    texts = [fields.get(name) for name in ("id", "contentrange", "correlationid", "time")]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadEvent("its data are not a list of objects")
    if not all(isinstance(text, str) for text in texts):
        raise BadEvent("it has not the fields of an event of ours")
    ours, rest = _ID.fullmatch(str(texts[0])), _RANGE.fullmatch(str(texts[1]))
    if ours is None or rest is None:
        raise BadEvent("its id or its range is not of our form")
    first, last = int(rest[1]), int(rest[2])
    if len(rows) != last - first + 1:
        raise BadEvent(f"it holds {len(rows)} rows, but its range is {rest[0]}")
    return Event(
        bytes.fromhex(ours[1]), int(ours[2]), int(ours[3]), first, rows, str(texts[2]), str(texts[3]), fields
    )  # fmt: skip


def rows_in(line: bytes) -> int:
    """How many rows a line says to have, without a look at them. 0 if it does not end like one of ours."""
    found = _ROWS_AT_END.search(line, max(0, len(line) - 64))
    return int(found[2]) - int(found[1]) + 1 if found else 0


def same_rows(event: Event) -> list[bytes]:
    """One text for each row, the same wherever the row's request was cut into lines, frames or batches."""
    fields = event.envelope
    names = ("source", "type", "time", "correlationid", "xrequestid", "modelversion", "samplingrate")
    request = repr([fields.get(name) for name in names])
    return [f"{request}{event.first + at}{row!r}".encode() for at, row in enumerate(event.rows)]
