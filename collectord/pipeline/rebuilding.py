"""A lost ledger is rebuilt: `rebuild.py` at work, partition by partition, beside an ingest that goes on.

Nothing is changed until everything was found out; then all of it in one transaction. A crash, or a store that does not
answer, leaves a ledger that still needs it, and the log as it was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from collectord.errors import CollectordError, described
from collectord.pipeline.journey import Pipeline
from collectord.pipeline.rebuild import Found, Options
from collectord.upload.store import BlobStore

LOOKS = 3
"""So often blobs that have grown meanwhile are looked into again; where others write into them too, they always have."""

_log = logging.getLogger("collectord.pipeline")


@dataclass(slots=True)
class Account:
    """How far it is, and in the end what was found. Written by one thread, read by any."""

    done: bool = False
    error: str = ""
    """Why it did not succeed; it may be begun again."""
    applied: bool = False
    """The ledger is whole, and uploads go on."""
    rows: int = 0
    """To be looked for."""
    looked_for: int = 0
    blob_bytes: int = 0
    landed: int = 0
    waiting: int = 0
    given_up: int = 0
    again: int = 0
    notes: list[str] = field(default_factory=list)


class Rebuilding:
    """One run at a time; whoever asks while it runs is told how far it is."""

    def __init__(
        self, pipeline: Pipeline, store: BlobStore, needed: Callable[[], bool], hindrance: Callable[[], str]
    ) -> None:
        """`hindrance`: why it may not be done at present, such as that somebody else may still upload; empty if it may."""
        self._hindrance = hindrance
        self._pipeline = pipeline
        self._store = store
        self._needed = needed
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._account: Account | None = None

    def ask(self, begin: bool, options: Options, dry_run: bool, wait: float) -> Account:
        """Begins if asked to and nothing runs; returns how far it is after `wait` seconds or when it is over.

        Raises CollectordError if nothing runs or ran and none was begun.
        """
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if begin and not running:
                self._account = Account()
                self._thread = threading.Thread(
                    target=self._run, args=(self._account, options, dry_run), name="collectord-rebuild", daemon=True
                )
                self._thread.start()
            thread, account = self._thread, self._account
        if thread is None or account is None:
            raise CollectordError("no rebuild has been begun")
        thread.join(wait)
        return account

    def _run(self, account: Account, options: Options, dry_run: bool) -> None:
        try:
            if not self._needed():
                account.notes.append("the ledger is whole: there is nothing to rebuild")
                account.applied = True
                return
            if why := self._hindrance():
                account.error = why
                return
            findings = self._look(account, options)
            if why := self._hindrance():
                account.error = why
                return
            if not dry_run:
                self._pipeline.rebuild(findings)
                account.applied = True
        except (CollectordError, OSError) as error:
            account.error = str(error)
        except Exception as error:  # noqa: BLE001  (its thread has nobody above it, and whoever asked is to hear of it)
            _log.exception("a ledger could not be rebuilt; it may be begun again")
            account.error = described(error)
        finally:
            account.done = True

    def _look(self, account: Account, options: Options) -> list[Found]:
        search = self._pipeline.search_for_landed(self._store, options)
        partitions = self._pipeline.overview.waiting_partitions()
        account.rows = sum(rows for _, rows in partitions)
        findings = []
        for partition, _ in partitions:
            found = search.look_for(partition, self._pipeline.overview.waiting_entries(partition))
            findings.append(found)
            account.looked_for = search.progress.looked_for
            account.blob_bytes = search.progress.blob_bytes
            account.landed += found.landed
            account.given_up += found.given_up
            account.waiting += found.rows - found.landed - found.given_up - found.aside
            account.again += found.again
            account.notes += found.notes
        for _ in range(LOOKS):
            grown = [
                number for number, found in enumerate(findings) if found.rows and search.has_grown(found.partition)
            ]
            if not grown:
                break
            for number in grown:
                partition = findings[number].partition
                findings[number] = search.look_for(partition, self._pipeline.overview.waiting_entries(partition))
            _sum_up(account, findings)
        return findings


def _sum_up(account: Account, findings: list[Found]) -> None:
    account.landed = sum(found.landed for found in findings)
    account.given_up = sum(found.given_up for found in findings)
    account.again = sum(found.again for found in findings)
    account.waiting = sum(found.rows - found.landed - found.given_up - found.aside for found in findings)
    account.notes = [note for found in findings for note in found.notes]
