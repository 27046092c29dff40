"""The thread that keeps a spool's claim, and holds the pipeline back while it is not held."""

from __future__ import annotations

import logging
import threading

from collectord.clock import Clock
from collectord.errors import SpoolFull
from collectord.pipeline import Pipeline
from collectord.pipeline.troubles import Trouble
from collectord.upload.claim import MOST_RETRY, Claim
from collectord.upload.store import Blocked

HOLD = "claim"
MOST_AT_ONCE = 5
"""Steps without a pause, whatever the store answers."""

_log = logging.getLogger("collectord.claim")


class Claiming:
    """Steps a claim until stopped. Nothing else waits for it: rows are taken in whether it is held or not."""

    def __init__(self, claim: Claim, pipeline: Pipeline, clock: Clock) -> None:
        self.claim = claim
        self._clock = clock
        self._told = threading.Event()
        self._pipeline = pipeline
        self._ended = False
        self._wake = threading.Event()
        self._release = False
        self._thread = threading.Thread(target=self._run, name="collectord-claim", daemon=True)
        self.tell()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, release: bool, patience: float) -> bool:
        """Ends the thread, and lets the next one take the claim at once if `release`. Returns whether it ended within
        `patience` seconds; if not, a request to the store is under way."""
        self._release = release
        self._ended = True
        self._wake.set()
        if self._thread.ident is None:
            return True
        self._thread.join(patience)
        return not self._thread.is_alive()

    def hurry(self) -> None:
        """A claim that is not held is tried for at once."""
        if not self.claim.held:
            self._wake.set()

    def await_claim(self, patience: float) -> str:
        """Why the claim is not held, after at most so many seconds; empty as soon as it is."""
        deadline = self._clock.monotonic() + patience
        while not self.claim.held and not self.claim.superseded and self._clock.monotonic() < deadline:
            self._told.wait(0.05)
            self._told.clear()
        return "" if self.claim.held else self.claim.why

    def troubles(self) -> list[tuple[str, Trouble]]:
        """As of a blob that takes nothing: the store refuses the claim, or does not answer."""
        failure = self.claim.failure
        if failure is None:
            return []
        now = self._clock.monotonic()
        code = failure.reason if isinstance(failure, Blocked) else ""
        detail = f"{code}: {failure.detail}" if code else failure.detail
        return [(self.claim.document, Trouble(now + MOST_RETRY, now, detail, code, now))]

    def tell(self) -> None:
        """Lets the pipeline know how it stands."""
        self._told.set()
        if self.claim.held:
            self._pipeline.dispatch.let_go(HOLD)
        else:
            self._pipeline.dispatch.hold(HOLD, self.claim.why, lasting=self.claim.superseded)

    def _run(self) -> None:
        pause, at_once = 0.0, 0
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._ended:
                break
            try:
                pause = self.claim.step()
                at_once = 0 if pause else at_once + 1
                if at_once > MOST_AT_ONCE:
                    pause = 1.0
            except SpoolFull as error:
                # Uploading is what makes room, and it begins with the claim.
                self._pipeline.make_room(error)
                pause = 0.1
            except Exception:  # noqa: BLE001
                # The ledger's disk, mostly. Without a renewal it lapses by itself.
                pause = 1.0
                _log.exception("the spool's claim could not be renewed; it is tried again")
            self.tell()
        if self._release:
            self.claim.release()
