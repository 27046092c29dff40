"""What the clients of a session dropped, as the daemon is told: running totals for each client id."""

from __future__ import annotations

from collections import Counter

from .wire import Stream, dropped


class Drops:
    """Rows by stream and reason. Protected by the sender's lock."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Stream, str]] = Counter()
        self._told: Counter[tuple[Stream, str]] = Counter()
        """The counts when they were told last."""
        self._told_before: Counter[tuple[Stream, str]] = Counter()
        """What was told under earlier client ids."""
        self.changed = False
        """True while there is something to tell."""

    def add(self, stream: Stream, reason: str, rows: int) -> None:
        self._counts[stream, reason] += rows
        self.changed = True

    def tell(self) -> bytes | None:
        """The message with all that was dropped under this client id; None where that is nothing."""
        self.changed = False
        self._told = Counter(self._counts)
        totals = self._counts - self._told_before
        return dropped(totals) if totals else None

    def tell_again(self) -> None:
        """On another connection: what was told on the one before may not have arrived, and a total may be repeated."""
        self.changed = bool(self._counts)

    def begin_again(self) -> None:
        """Under another client id: what was told stands in the books already, all else is still to be told."""
        self._told_before = self._told
