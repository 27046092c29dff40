"""The thread that keeps a daemon's switches as the document in the store has them, and whoever changes that document.

It is looked at every few seconds. Whatever the store answers, and whatever the document holds, the last good one counts, also
after a restart: it is kept in the spool. Removed, it says nothing any more.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from collectord import files
from collectord.clock import Clock
from collectord.errors import CallHuman, TryAgain
from collectord.logs import event
from collectord.switches import DOCUMENT, NOTHING, SAMPLING, BadSwitches, Patch, Rules, Switches, completed, parse
from collectord.upload.documents import Conflict, Document, DocumentStore, GetOutcome, Written
from collectord.upload.store import AlreadyExists, Blocked, Created, NoContainer, Unknown

CACHE_FILE = "services.json"
ATTEMPTS = 20
"""At a change, while others change the document too."""
PATIENCE = 15.0
"""Seconds after which a store that did not answer is not asked once more for a change."""
MOST_TOLD = 100
"""Services whose change is said one by one."""
SPREAD = 0.2
"""Of the interval, so that a fleet does not ask in step."""

_log = logging.getLogger("collectord.switches")


def change(
    store: DocumentStore,
    webservice: str,
    patch: Patch,
    pause: Callable[[float], object] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> tuple[Switches, str]:
    """Changes what the document says of a service. Returns the document as it is then, and its tag.

    Raises:
        BadSwitches: the change, or the document that is there, makes no sense; nothing was written.
        CallHuman: the store refuses.
        TryAgain: the store did not answer, or others changed the document all the time.
    """
    patch = _completed(patch)
    pending: Switches | None = None
    deadline = now() + PATIENCE
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(random.uniform(0.01, 0.05) * attempt)
        found = store.get_document(DOCUMENT)
        if isinstance(found, Unknown):
            if attempt == ATTEMPTS - 1 or now() > deadline:
                raise TryAgain(f"{store.describe()} did not answer: {found.detail}")
            continue
        if isinstance(found, Blocked):
            raise _refused(store, found)
        before = NOTHING if found is None else parse(found.data)
        if pending is not None and found is not None and found.data == pending.render():
            # An earlier attempt whose answer was lost.
            return pending, found.etag
        pending = before.patched(webservice, patch)
        match store.put_document(DOCUMENT, pending.render(), None if found is None else found.etag):
            case Written(etag):
                return pending, etag
            case Conflict():
                continue
            case NoContainer():
                _make_container(store)
            case Blocked() as blocked:
                raise _refused(store, blocked)
            case Unknown() as unknown if attempt == ATTEMPTS - 1 or now() > deadline:
                raise TryAgain(f"{store.describe()} did not answer: {unknown.detail}; look whether it was changed")
            case Unknown():
                continue
    raise TryAgain(f"{DOCUMENT} in {store.describe()} is changed by others all the time; nothing was changed")


def read(store: DocumentStore) -> Switches:
    """The document. Raises BadSwitches, CallHuman, TryAgain as `change` does."""
    match store.get_document(DOCUMENT):
        case Document(data):
            return parse(data)
        case None:
            return NOTHING
        case Blocked() as blocked:
            raise _refused(store, blocked)
        case Unknown(detail):
            raise TryAgain(f"{store.describe()} did not answer: {detail}")


def _completed(patch: Patch) -> Patch:
    # By the clock of whoever is asked to: it is the same for all nodes.
    return completed(patch, datetime.now(timezone.utc), os.urandom(6).hex())


def _make_container(store: DocumentStore) -> None:
    made = store.create_container()
    if not isinstance(made, Created | AlreadyExists):
        raise CallHuman(f"{store.describe()} cannot be made: {made.detail}")


def _refused(store: DocumentStore, blocked: Blocked) -> CallHuman:
    return CallHuman(f"{store.describe()} refuses {DOCUMENT}: {blocked.reason}: {blocked.detail}")


class Switchboard:
    """The rules of one daemon. From any thread; `tell` hears of new ones, one call at a time."""

    def __init__(self, store: DocumentStore, spool: Path, clock: Clock, settled: Rules, interval: float) -> None:
        """`settled`: what the settings say. `interval` is in seconds; 0: the document is not looked at."""
        self._store = store
        self._cache = spool / CACHE_FILE
        self._clock = clock
        self._interval = interval
        self._asking = threading.Lock()
        """Held by whoever asks the store, until it is known here what came of it: else an answer from before a change would
        undo it. Taken before `_lock`."""
        self._lock = threading.Lock()
        """Guards everything below, and is held while `tell` is called."""
        self.rules = settled
        """As of now; replaced as a whole."""
        self.problem = ""
        """Why the document that counts may not be the newest; empty: it is."""
        self._said = ""
        self._read_at: float | None = None
        self._etag: str | None = None
        self._document = NOTHING
        self._here: dict[str, dict[str, Any]] = {}
        """Changes for this node only, by service, until the document has another version."""
        self._tell: Callable[[Rules], None] = lambda _: None
        self._wake, self._looked = threading.Event(), threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="collectord-switches", daemon=True)

    def open(self) -> None:
        """Takes what was known at the end of the last run."""
        if not self._interval:
            return
        try:
            self._take(parse(self._cache.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, BadSwitches) as error:
            event(
                _log, logging.WARNING, "the last known switches cannot be read", file=str(self._cache), why=str(error)
            )

    def lead_to(self, tell: Callable[[Rules], None]) -> None:
        """Who hears of the rules from now on, beginning with those that there are."""
        with self._lock:
            self._tell = tell
            tell(self.rules)

    def settle(self, settled: Rules) -> None:
        """The settings say something else; what is switched stays."""
        with self._lock:
            self.rules = replace(settled, switches=self.rules.switches)
            self._tell(self.rules)

    def start(self) -> None:
        """Starts the thread, if it has anything to do."""
        if self._interval:
            self._thread.start()

    def await_look(self, patience: float) -> None:
        """Waits until it was looked once, whatever came of it, for so many seconds at most."""
        if self._interval:
            self._looked.wait(patience)

    def stop(self, patience: float) -> bool:
        """Nothing asks the store any more, within so many seconds; if not, returns False: a request is under way."""
        self._ended = True
        self._wake.set()
        if not self._asking.acquire(timeout=patience):
            return False
        self._asking.release()
        if self._thread.ident is not None:
            self._thread.join(patience)
        return not self._thread.is_alive()

    @property
    def age(self) -> float | None:
        """Seconds since the store last said what the document is; None: it never did."""
        return None if self._read_at is None else self._clock.monotonic() - self._read_at

    def look(self) -> None:
        """Looks at the document now."""
        with self._asking:
            if not self._ended:
                self._learn(self._store.get_document(DOCUMENT))

    def _learn(self, found: GetOutcome) -> None:
        with self._lock:
            if isinstance(found, Blocked | Unknown):
                self._note(f"{DOCUMENT} cannot be read", found.detail)
                return
            self._read_at = self._clock.monotonic()
            etag = None if found is None else found.etag
            if etag == self._etag and not self.problem:
                return
            try:
                switches = NOTHING if found is None else parse(found.data)
            except BadSwitches as bad:
                self._note(f"{bad}; the last good one counts")
                return
            self._etag = etag
            self._note("")
            if switches != self._document:
                self._keep(switches)
                self._take(switches)

    def change(self, webservice: str, patch: Patch) -> None:
        """Changes the document for all nodes; here it counts at once. Raises as the module's `change`."""
        with self._asking:
            if self._ended:
                raise TryAgain("the daemon stops; nothing was changed")
            switches, etag = change(self._store, webservice, patch)
            with self._lock:
                self._etag = etag
                self._read_at = self._clock.monotonic()
                self._note("")
                self._keep(switches)
                self._take(switches)

    def change_here(self, webservice: str, patch: Patch) -> None:
        """Changes what counts on this node until the document has another version. Raises BadSwitches."""
        patch = _completed(patch)
        with self._lock:
            merged = self.rules.switches.patched(webservice, patch)
            name = webservice or "default"
            before = self._here.get(name, {})
            changed = {**before, **patch}
            if isinstance(before.get(SAMPLING), dict) and isinstance(patch.get(SAMPLING), dict):
                changed[SAMPLING] = {**before[SAMPLING], **patch[SAMPLING]}
            self._here = {**self._here, name: changed}
            self._count(replace(merged, version=self._document.version))

    @property
    def here(self) -> dict[str, dict[str, Any]]:
        """What was changed for this node only."""
        return self._here

    def _take(self, switches: Switches) -> None:
        self._document = switches
        if self._here:
            event(_log, logging.INFO, "what was switched for this node only ends", services=sorted(self._here))
            self._here = {}
        self._count(switches)

    def _count(self, switches: Switches) -> None:
        before = self.rules.switches
        self.rules = replace(self.rules, switches=switches)
        event(_log, logging.INFO, "switches", version=switches.version, services=len(switches.services))
        changed = [
            name
            for name in sorted(before.services.keys() | switches.services.keys())
            if before.of(name) != switches.of(name)
        ]
        for name in changed[:MOST_TOLD]:
            said = switches.raw.get("services", {}).get(name, {})
            event(_log, logging.INFO, "a service is switched", webservice=name, to=said)
        self._tell(self.rules)

    def _note(self, problem: str, detail: str = "") -> None:
        """Says once what is wrong, whatever else the store says the next time, and once that it is not any more."""
        self.problem = f"{problem}: {detail}" if detail else problem
        if problem != self._said:
            self._said = problem
            if problem:
                event(_log, logging.WARNING, "switches may be old", why=self.problem)
            else:
                event(_log, logging.INFO, "switches are read again")

    def _keep(self, switches: Switches) -> None:
        try:
            if switches is NOTHING:
                files.remove_durably(self._cache)
            else:
                files.write_durably(self._cache, switches.render())
        except OSError as error:
            event(_log, logging.WARNING, "switches cannot be kept for the next start", why=str(error.strerror))

    def _run(self) -> None:
        while not self._ended:
            try:
                self.look()
            except Exception:  # noqa: BLE001
                # A fault of ours must not end the thread: the switches would stay as they are for ever.
                _log.exception("switches could not be looked at")
            self._looked.set()
            self._wake.wait(self._interval * random.uniform(1 - SPREAD, 1))
            self._wake.clear()
