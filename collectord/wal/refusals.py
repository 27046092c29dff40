"""Keeps a client's entries in order across a failure.

When an entry fails, its successors may already be queued. Were they written, the client's mark would pass the failed one,
and sending it again would count as a repeat: the rows would be lost. So what follows a failed entry fails with it, until
it is handed in again.
"""

from __future__ import annotations

from collections.abc import Sequence

from collectord.clock import Clock
from collectord.errors import CollectordError
from collectord.model import Entry

FORGET_AFTER = 60.0
"""Seconds. By then whoever hands in entries has long heard of the failure and starts again where the log is."""


class Refusals:
    """Per client the lowest sequence number that failed. Used by the log's thread only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failed: dict[bytes, tuple[int, float, CollectordError]] = {}

    def refusal(self, entries: Sequence[Entry]) -> CollectordError | None:
        """Why these entries must fail because of an earlier failure, or None. A repeat of what failed opens the way."""
        if not self._failed:
            return None
        for entry in entries:
            failed = self._failed.get(entry.client) if entry.sequence else None
            if failed is None:
                continue
            if entry.sequence > failed[0] and self._clock.monotonic() - failed[1] < FORGET_AFTER:
                return failed[2]
            del self._failed[entry.client]
        return None

    def remember(self, entries: Sequence[Entry], failure: CollectordError) -> None:
        """Notes that these entries failed."""
        now = self._clock.monotonic()
        for entry in entries:
            if not entry.sequence:
                continue
            failed = self._failed.get(entry.client)
            if failed is None or entry.sequence < failed[0]:
                self._failed[entry.client] = (entry.sequence, now, failure)
        for client in [client for client, failed in self._failed.items() if now - failed[1] >= FORGET_AFTER]:
            del self._failed[client]
