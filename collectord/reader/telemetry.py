"""Lines of telemetry events read again: what docs/formats/telemetry-jsonl.md says of a line."""

from __future__ import annotations

import json
import re
from typing import Any

from collectord.encode.frame import ITEM
from collectord.errors import NeverAgain
from collectord.kinds import EVENTS

MAX_LINE = 8 << 20
"""Bytes. None is longer than an append."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_WRITER = re.compile(r"/([0-9a-f]{32})(?:\.\d+)?\.jsonl\Z")
_ITEM_TYPES = {kind.item_type for kind in EVENTS.values()}


class BadItem(NeverAgain):
    """A line that is not as we write them."""


def read(line: bytes) -> dict[str, Any]:
    """The event that a line is. Raises BadItem, saying what is wrong with it."""
    if not line.endswith(b"\n"):
        raise BadItem("it does not end with a whole line")
    if not line.startswith(ITEM):
        raise BadItem("it does not begin with an event's id")
    try:
        event = json.loads(line, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise BadItem(f"it is not JSON: {error}") from error
    if not _ID.fullmatch(str(event["itemId"])):
        raise BadItem("its id is not of our form")
    if event.get("itemType") not in _ITEM_TYPES:
        raise BadItem("its type is none of ours")
    if not _TIME.fullmatch(str(event.get("timestamp"))):
        raise BadItem("its time is not of our form")
    return event  # type: ignore[no-any-return]


def begin_of(item: str) -> bytes:
    """How the line of an event begins."""
    return ITEM + json.dumps(item, ensure_ascii=False).encode()[1:]


def writer_of(blob: str) -> bytes | None:
    """The writer that a blob's name says."""
    found = _WRITER.search(f"/{blob}")
    return bytes.fromhex(found[1]) if found else None


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
