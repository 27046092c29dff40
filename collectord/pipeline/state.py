"""What the threads of the pipeline share, and the one lock that guards it.

Who changes what: `Reading` fills index and books and moves `taken_to`; `Sending` opens and closes intents and troubles, and
takes what has landed, or was set aside, off the index and into the books; `Dispatch` has frames made ahead; `Shelf` and its parts likewise what enters and leaves
the quarantine; `Pipeline.rebuild` all of these at once; `Upkeep` forgets what is over. `Overview` and `Parking` only look. What
else one of these classes holds is its own, and its own thread's, unless it says otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from collectord.books import LOST, Books
from collectord.buffer.index import Index
from collectord.buffer.seal import SealRules
from collectord.clock import Clock
from collectord.model import Lsn
from collectord.pipeline.ahead import Ahead
from collectord.pipeline.last_errors import LastErrors
from collectord.pipeline.troubles import Troubles
from collectord.upload.held import DROPPED, REQUEUED
from collectord.upload.ledger import Ledger
from collectord.upload.records import Intent

PATIENCE = 5.0
"""Seconds to wait for what is durable and was not read yet."""


class State:
    """Begins as the ledger has it."""

    def __init__(
        self,
        ledger: Ledger,
        rules: SealRules,
        received: Mapping[str, int],
        position: Lsn,
        clock: Clock,
        workers: int,
    ) -> None:
        """`received`, `workers`: see `Pipeline`; `position`: where the log will be read from."""
        self._clock = clock
        self.lock = threading.Condition()
        """Guards everything below but `errors`; notified when something lands or there is something to do."""
        self.index = Index(rules, {partition: progress.cursor for partition, progress in ledger.cursors().items()})
        self.intents: dict[str, Intent] = {intent.base: intent for intent in ledger.intents()}
        """The frames under way, by base of their blob."""
        self.ahead = Ahead(self.index, workers)
        """The frames that are made before their turn."""
        self.troubles = Troubles()
        self.books = _books(ledger, received)
        self.taken_to = position
        """How far the log has been taken in."""
        self.work = False
        """There is something to do for the pipeline's thread."""
        self.stopping = False
        self.errors = LastErrors(clock)
        """Told and read from any thread without the lock."""

    def wake(self) -> None:
        """There is something to do. With the lock held."""
        self.work = True
        self.lock.notify_all()

    def take_in(self, durable: Lsn, patience: float = PATIENCE) -> None:
        """Has the log read up to there, and waits for it for so many seconds at most. With the lock held."""
        deadline = self._clock.monotonic() + patience
        while self.taken_to < durable and not self.stopping and self._clock.monotonic() < deadline:
            self.wake()
            self.lock.wait(0.01)


def _books(ledger: Ledger, received: Mapping[str, int]) -> Books:
    quarantined = Counter[str]()
    for (stream, _), rows in ledger.quarantined_totals().items():
        quarantined[stream] += rows
    counts = ledger.counts()

    def counted(wanted: str) -> dict[str, int]:
        return {stream: rows for (stream, name), rows in counts.items() if name == wanted}

    requeued = counted(REQUEUED)
    return Books(
        # What went from the quarantine through the log again has been counted by it twice.
        {stream: rows - requeued.get(stream, 0) for stream, rows in received.items()},
        {stream: totals.rows for stream, totals in ledger.landed_totals().items()},
        quarantined,
        counted(LOST),
        {(drop.client, drop.stream_key, drop.reason): drop.rows for drop in ledger.dropped()},
        counted(DROPPED),
    )
