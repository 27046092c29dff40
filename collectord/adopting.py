"""A spool that a dead daemon or node has left behind is finished: what waits in it lands, exactly once.

The same pipeline as a daemon's, without a door: the spool's lock and its claim in the store are taken, open intents are
settled, everything is uploaded. Whoever is interrupted leaves a spool that the next one can finish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from collectord.daemon import Daemon
from collectord.errors import CallHuman, CollectordError, LedgerMissing, TryAgain
from collectord.settings import Settings
from collectord.spoolfiles import LOCK_FILE

STEP = 1.0

Show = Callable[[str, int, int], None]
"""What is being done, how much of it is done, of how much."""


class ClaimRefused(CallHuman):
    """Somebody else holds the spool, or has held it since this copy of it was made."""


@dataclass(frozen=True, slots=True)
class Left:
    """What an adoption has done."""

    landed: int
    """Rows that it has brought into their blobs."""
    quarantined: int
    """Rows that lie in the spool's quarantine, or were lost before."""
    streams: int


def adopt(settings: Settings, show: Show, *, force: bool = False, rebuild: bool = False, timeout: float = 0.0) -> Left:
    """Finishes the spool that `settings.spool` names, within `timeout` seconds (0: whatever it takes).

    Raises:
        CallHuman: there is no such spool, or a daemon runs on it, or it cannot be opened.
        ClaimRefused: somebody else has it.
        LedgerMissing: its ledger was lost, and `rebuild` is not set.
        TryAgain: not everything has landed in time; the rest stays where it is.
    """
    if not (settings.spool / LOCK_FILE).is_file():
        raise CallHuman(f"{settings.spool} is no spool: there is no lock file in it")
    if not settings.claim_interval and not force:
        raise CallHuman(
            "claim_interval: 0 means that nobody claims a spool, so nobody can tell that it is left; use --force"
        )
    daemon = Daemon(settings, adopting=True, force=force)
    daemon.open()
    deadline = time.monotonic() + timeout if timeout else float("inf")
    try:
        if daemon.rebuild_needed and not rebuild:
            raise LedgerMissing(
                f"{settings.spool}: its ledger was lost; with --rebuild the store tells what has landed"
            )
        _claim(daemon, show, deadline)
        daemon.export()
        if daemon.rebuild_needed:
            _rebuild(daemon, show)
        first = daemon.answers.waiting_rows()
        insist = True
        while not daemon.answers.flush(STEP, insist=insist):
            insist = False
            rows = daemon.answers.waiting_rows()
            show("landing", first - rows, first)
            if daemon.claiming is not None and daemon.claiming.claim.superseded:
                raise ClaimRefused(daemon.claiming.claim.why)
            if time.monotonic() >= deadline:
                raise TryAgain(
                    f"{rows:,} rows have not landed: {daemon.answers.last_error() or 'the timeout has passed'}"
                )
        show("landing", first, first)
        while (why := daemon.answers.deliver(STEP)) is not None:
            show("delivering events", 0, 0)
            if why or time.monotonic() >= deadline:
                raise TryAgain(f"events have not been delivered: {why or 'the timeout has passed'}")
        books = daemon.answers.books()
        return Left(first, sum(book.quarantined for book in books), len(books))
    finally:
        daemon.close()


def _claim(daemon: Daemon, show: Show, deadline: float) -> None:
    if daemon.claiming is None:
        return
    claim = daemon.claiming.claim
    while True:
        pause = claim.step()
        if claim.held:
            break
        if claim.superseded:
            raise ClaimRefused(claim.why)
        if claim.changed_hands:
            raise ClaimRefused(f"its daemon lives and renews its claim: {claim.why}")
        if time.monotonic() >= deadline:
            raise TryAgain(claim.why)
        waited, needed = claim.watched
        show(f"watching its claim for {needed:.0f} s", int(waited), int(needed))
        time.sleep(min(max(pause, 0.05), 1.0))
    daemon.claiming.start()


def _rebuild(daemon: Daemon, show: Show) -> None:
    ask = partial(daemon.answers.rebuild, skip_doubtful=False, everywhere=False, dry_run=False, wait=STEP)
    account = ask(begin=True)
    while not account.done:
        show("looking for what has landed", account.looked_for, account.rows)
        account = ask(begin=False)
    if account.error:
        raise CollectordError(f"the ledger could not be rebuilt: {account.error}")
