"""Why the batches of a client are not taken at the moment, and from which one on it is asked to send them again."""

from __future__ import annotations

import logging
from collections.abc import Callable

from collectord.errors import SpoolFull
from collectord.ingest.gate import Gate
from collectord.ingest.purses import Purse
from collectord.logs import event

STALL_SECONDS = 1.0

_log = logging.getLogger("collectord.ingest")


class Stall:
    """Of one stream. Belongs to the event loop."""

    def __init__(self, gate: Gate, wanted: Callable[[], int | None], wake: Callable[[], None]) -> None:
        """`wanted`: the sequence number that comes next, None once the stream is over; `wake`: there is something to say."""
        self._gate = gate
        self._wanted = wanted
        self._wake = wake
        self.why = ""
        """Said with a credit of nothing; empty: they are taken."""
        self._lacks: tuple[Purse, int] | None = None
        """Whose share of the spool has no room for a batch of so many bytes."""
        self._asked_from: int | None = None
        self._resume_to: int | None = None
        self._timer_runs = False

    def begin(self, error: Exception) -> None:
        """The log cannot take anything: what was lost is asked for after a while."""
        self._begin("the spool is full" if isinstance(error, SpoolFull) else "the log cannot write", str(error))

    def lack(self, purse: Purse, size: int) -> None:
        """What the tenant or service has waiting in the log leaves no room for a batch: it is asked for again when there is. That
        may be hours, and what else the client says is heard meanwhile."""
        if not self.why:
            self._gate.admission.waits("share")
        self._lacks = purse, size
        why = f"the share of the {purse.name} in the spool is used up"
        self._begin(why, why)

    def landed(self) -> None:
        """The log has taken a batch."""
        if self._lacks is None:
            self.why = ""

    def ask_for(self, sequence: int) -> None:
        """A gap: everything behind it is refused until this one comes. Asked once, not for each."""
        if not self.why and self._asked_from != sequence:
            self._asked_from = self._resume_to = sequence
            self._wake()

    def resume(self) -> int | None:
        """The sequence number that the client has to be asked for now, once."""
        sequence, self._resume_to = self._resume_to, None
        return sequence

    def _begin(self, why: str, detail: str) -> None:
        if not self.why and self._gate.closed:
            self.why = self._gate.closed
        elif not self.why:
            self.why = why
            event(_log, logging.WARNING, "batches are not acknowledged", why=detail)
        if not self._timer_runs:
            self._look_later()
        self._wake()

    def _look_later(self) -> None:
        self._timer_runs = True
        self._gate.later(STALL_SECONDS, self._look)

    def _look(self) -> None:
        self._timer_runs = False
        wanted = self._wanted()
        if wanted is None:
            return
        if self._gate.closed or not (self._lacks is None or self._gate.has_share(*self._lacks)):
            # Asked for now, it would only be refused again.
            self._look_later()
            return
        self.why, self._lacks, self._asked_from = "", None, None
        self.ask_for(wanted)
