"""Says in the log that batches are rejected: of each stream and reason once in a while, whatever comes. The books count the rows."""

from __future__ import annotations

import logging

from collectord.ingest.validate import Refusal
from collectord.logs import event
from collectord.model import Schema

PAUSE_SECONDS = 10.0
MOST = 1000
"""Streams and reasons that are remembered."""

_log = logging.getLogger("collectord.ingest")


class Rejections:
    """Belongs to the event loop."""

    def __init__(self) -> None:
        self._said: dict[tuple[bytes, str], tuple[float, int]] = {}
        """When it was said last, and the rows since then."""

    def tell(self, schema: Schema | None, refusal: Refusal, rows: int, now: float) -> None:
        """A batch is rejected. `schema`: if it is known; `now`: monotonic seconds."""
        key = (schema.id if schema is not None else b"", str(refusal.reason))
        at, held = self._said.get(key, (now - PAUSE_SECONDS, 0))
        if now - at < PAUSE_SECONDS:
            self._said[key] = at, held + rows
            return
        if len(self._said) >= MOST:
            self._said.clear()
        self._said[key] = now, 0
        of = {} if schema is None else {"stream": schema.stream.key()}
        event(
            _log, logging.WARNING, "rows are rejected", **of, reason=str(refusal.reason), detail=refusal.detail,
            rows=rows + held,
        )  # fmt: skip
