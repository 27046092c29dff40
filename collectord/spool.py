"""A spool is opened: the ledger first, for it says whose log it is; and one of the two may have been lost."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from collectord import files
from collectord.errors import SpoolInUse
from collectord.logs import event
from collectord.upload.ledger import Ledger, LedgerDamaged
from collectord.wal.identity import spool_of

_BEFORE = "before"
"""Name of the ledger's count of rows that had been received when the log was lost, as far as the ledger knew."""

_log = logging.getLogger("collectord.spool")


def take_lock(path: Path, message: str) -> int:
    """A lock that ends with the process: the descriptor to keep. Raises SpoolInUse with `message` if somebody has it."""
    fd = files.try_lock(path)
    if fd is None:
        raise SpoolInUse(message)
    return fd


@dataclass(frozen=True, slots=True)
class Opened:
    """What a spool has."""

    ledger: Ledger
    log_lost: bool
    """The ledger knows of a log, and there is none."""

    def received(self, in_log: dict[str, int]) -> dict[str, int]:
        """Rows ever received per stream key, where the log has counted `in_log`."""
        total = dict(in_log)
        for (stream, name), rows in self.ledger.counts().items():
            if name == _BEFORE:
                total[stream] = total.get(stream, 0) + rows
        return total


def open_ledger(spool: Path, log_directory: Path) -> Opened:
    """The ledger of a spool whose lock is held. One that is damaged is set aside; one that is missing beside a log is
    begun again, and has to be rebuilt before anything is uploaded.

    Raises FormatTooNew, before anything is changed, and SpoolUnusable.
    """
    log_spool_id = spool_of(log_directory)
    try:
        ledger = Ledger(spool, log_spool_id)
    except LedgerDamaged as error:
        aside = Ledger.set_aside(spool, datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"))
        event(_log, logging.ERROR, "the ledger is damaged and was set aside", why=str(error), now_called=str(aside))
        ledger = Ledger(spool, log_spool_id)
    log_lost = log_spool_id is None and ledger.lsn_floor() > 0
    if log_lost:
        _note_lost_log(ledger)
    return Opened(ledger, log_lost)


def _note_lost_log(ledger: Ledger) -> None:
    """From here on the books begin with what the ledger knows; what the log alone knew is gone."""
    before = {stream: totals.rows for stream, totals in ledger.landed_totals().items()}
    for (stream, _), rows in ledger.quarantined_totals().items():
        before[stream] = before.get(stream, 0) + rows
    for (stream, name), rows in ledger.counts().items():
        if name == "lost":
            before[stream] = before.get(stream, 0) + rows
    for intent in ledger.intents():
        before[intent.stream_key] = before.get(intent.stream_key, 0) + intent.rows
    ledger.checkpoint(ledger.checkpoint_lsn(), (), (), {(stream, _BEFORE): rows for stream, rows in before.items()})
    event(
        _log, logging.ERROR,
        "the log is gone: rows that were acknowledged and had not landed are lost, and nobody can say how many",
        ledger=str(ledger.path), frames_under_way=len(ledger.intents()),
    )  # fmt: skip
