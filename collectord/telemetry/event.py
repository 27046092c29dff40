"""An event as a value, and as the JSON object that it is wherever it stands whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import orjson

from collectord.kinds import DIMENSIONS, EVENTS
from collectord.model import Stream, StreamKind


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a stream of events."""

    kind: StreamKind
    stream: Stream
    item_id: str
    """The event's own, for ever."""
    time_ns: int
    """When it began: nanoseconds since 1970."""
    values: Mapping[str, Any]
    """By column, in the order of `kinds.EVENTS`; what is null is not there."""
    sampling: float = 1.0
    """The fraction of such events that was kept when this one was."""

    def text(self, column: str) -> str:
        """The value of a column of texts; empty if there is none."""
        value = self.values.get(column)
        return "" if value is None else str(value)

    def dimensions(self) -> dict[str, Any] | None:
        """`customDimensions` as an object; None: its text is no JSON object."""
        text = self.text(DIMENSIONS)
        if not text:
            return {}
        try:
            found = orjson.loads(text)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def timestamp(time_ns: int) -> str:
    """ISO 8601 with microseconds, UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def document(event: Event) -> bytes:
    """The whole event as JSON, with nothing cut: the same bytes whenever it is made."""
    stream = event.stream
    whole: dict[str, Any] = {
        "itemId": event.item_id,
        "itemType": EVENTS[event.kind].item_type,
        "timestamp": timestamp(event.time_ns),
        "cloud_RoleName": stream.webservice or "default",
        "workspace": stream.workspace or "default",
        "model": stream.model or "default",
        "modelVersion": stream.version or "default",
        **event.values,
    }
    dimensions = event.dimensions()
    if dimensions:
        whole[DIMENSIONS] = dimensions
    return orjson.dumps(whole)
