"""A spool is opened: the ledger first, for it says whose log it is; and one of the two may have been lost."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from collectord import files
from collectord.books import LOST
from collectord.errors import Rejected, SpoolInUse, SpoolUnusable
from collectord.logs import event
from collectord.model import Cursor, Lsn, Stored
from collectord.schema import parse_schema
from collectord.spoolfiles import LOCK_FILE, PARKED_DIRECTORY, RESERVE_FILE
from collectord.upload.database import Database, LedgerDamaged
from collectord.upload.held import DROPPED, REQUEUED
from collectord.upload.ledger import Ledger
from collectord.wal.identity import spool_of
from collectord.wal.parked import ParkedLog

RESERVE_BYTES = 12 << 20
"""A frame of 4 MiB for two workers, and what the ledger needs meanwhile."""
LEAST_ROOM = 1 << 20
"""Bytes on the disk below which a ledger cannot be opened, with the files that SQLite keeps beside it."""

_BEFORE = "before"
"""Name of the ledger's count of rows that had been received when the log was lost, as far as the ledger knew."""

_log = logging.getLogger("collectord.spool")


def take_lock(path: Path, message: str) -> int:
    """A lock that ends with the process: the descriptor to keep. Raises SpoolInUse with `message` if somebody has it."""
    fd = files.try_lock(path)
    if fd is None:
        raise SpoolInUse(message)
    return fd


def lock_spool(spool: Path) -> int:
    """Makes the spool's directory if it is absent, and takes its lock: the descriptor to keep. Raises SpoolInUse,
    SpoolUnusable."""
    try:
        files.make_private_directory(spool)
        owner, user = spool.stat().st_uid, os.geteuid()
        if user != 0 and owner not in (0, user):
            raise SpoolUnusable(
                f"spool: {spool} belongs to user {owner}, who can read and change all that is in it, and this is user {user}; "
                "give the directory to this user, or choose another with --spool"
            )
        return take_lock(
            spool / LOCK_FILE,
            f"another daemon runs on the spool {spool}; stop it, or give this one a spool and sockets of its own",
        )
    except OSError as error:
        raise SpoolUnusable(
            f"spool: {spool} cannot be written ({error.strerror}); make it a directory that user "
            f"{os.getuid()} owns, or choose another with --spool"
        ) from None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a spool has."""

    ledger: Ledger
    log_lost: bool
    """The ledger knows of a log, and there is none."""
    parked: ParkedLog

    def reads_from(self, first: Lsn) -> Lsn:
        """Where a log whose first entry may be at `first` has to be read from.

        A segment that was retired, and is back from a backup, has landed: nobody remembers its partitions' cursors.
        """
        return max(first, self.ledger.forgotten())

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
    full = shutil.disk_usage(spool).free < LEAST_ROOM
    if full and files.Reserve(spool / RESERVE_FILE, RESERVE_BYTES).release():
        event(_log, logging.WARNING, "the spool's disk is full; its reserve is used to start", spool=str(spool))
    log_spool_id = spool_of(log_directory)
    try:
        ledger = Ledger(spool, log_spool_id)
    except LedgerDamaged as error:
        aside = Database.set_aside(spool, datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ"))
        event(_log, logging.ERROR, "the ledger is damaged and was set aside", why=str(error), now_called=str(aside))
        ledger = Ledger(spool, log_spool_id)
    parked = ParkedLog(spool / PARKED_DIRECTORY, ledger.spool_id)
    log_lost = log_spool_id is None and ledger.lsn_floor() > 0
    if log_lost:
        _note_lost_log(ledger, parked)
    return Opened(ledger, log_lost, parked)


def _note_lost_log(ledger: Ledger, parked: ParkedLog) -> None:
    """From here on the books begin with what the ledger and parked files know; what the log alone knew is gone."""
    before: dict[str, int] = {}

    def add(stream: str, rows: int) -> None:
        before[stream] = before.get(stream, 0) + rows

    for stream, totals in ledger.landed_totals().items():
        add(stream, totals.rows)
    for (stream, _), rows in ledger.quarantined_totals().items():
        add(stream, rows)
    for (stream, name), rows in ledger.counts().items():
        # What was requeued was received twice, and the pipeline takes it off again.
        if name in (LOST, DROPPED, REQUEUED):
            add(stream, rows)
    served = _add_parked(ledger, parked, add)
    for intent in ledger.intents():
        add(intent.stream_key, max(0, intent.rows - served.get(intent.frame_id, 0)))
    ledger.checkpoint(Lsn(0), (), (), {(stream, _BEFORE): rows for stream, rows in before.items()})
    event(
        _log, logging.ERROR,
        "the log is gone: rows that were acknowledged and had not landed are lost, and nobody can say how many",
        ledger=str(ledger.path), frames_under_way=len(ledger.intents()),
    )  # fmt: skip


def _add_parked(ledger: Ledger, parked: ParkedLog, add: Callable[[str, int], None]) -> dict[int, int]:
    """Adds the parked rows that still wait. Returns how many of them each frame under way holds."""
    cursors = {partition: progress.cursor for partition, progress in ledger.cursors().items()}
    landed_before = ledger.forgotten()
    under_way = {intent.partition: intent for intent in ledger.intents()}
    streams: dict[bytes, str | None] = {}
    served: dict[int, int] = {}
    for stored in parked.entries():
        if stored.lsn < landed_before:
            continue
        if stored.schema_id not in streams:
            streams[stored.schema_id] = _stream_of(parked.schema(stored.schema_id))
        stream = streams[stored.schema_id]
        if stream is None:
            # Nobody can land it, nor say whose it was.
            continue
        partition = stored.partition
        begin = _rows_before(cursors.get(partition), stored)
        add(stream, stored.rows - begin)
        intent = under_way.get(partition)
        if intent is not None:
            rows = max(0, _rows_before(intent.after, stored) - begin)
            served[intent.frame_id] = served.get(intent.frame_id, 0) + rows
    return served


def _rows_before(cursor: Cursor | None, stored: Stored) -> int:
    """How many of an entry's rows lie before a cursor."""
    if cursor is None or stored.lsn > cursor.lsn:
        return 0
    return cursor.row if stored.lsn == cursor.lsn else stored.rows


def _stream_of(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else parse_schema(raw).stream.key()
    except Rejected:
        return None
