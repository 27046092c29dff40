"""Who may upload what waits in a spool: one holder at a time, claimed in the store itself.

`_collectord/spools/<spool id>.json` names the holder. He renews it; whoever finds it unchanged for long enough takes it
over by its tag, and the one who lost it stops. No two clocks are compared: a holder counts his own seconds since his last
renewal, a watcher his own since he first saw the document as it is.

Promises
  * `held` is true only within `LEASE` intervals after a renewal was sent that succeeded; a claim that is neither released
    nor of this very place is taken only after it stood still for `WATCH` intervals, which is longer.
  * Each taking has a number, the epoch, and counts its renewals. The spool remembers the ones it took part in: if somebody
    else has taken or renewed it since, this spool's ledger is behind, and nothing may be uploaded from it any more
    (`superseded`). A copy made within an interval of its daemon's death cannot be told from the original: copies are to
    be made of a spool whose daemon is dead.
  * The document is never written without its tag.

The place is what only the directory itself has, not a copy of it: its lock file's inode and time of change. Whoever holds
that lock and finds his own place in the document knows that the holder before him is dead.

Threads: `step` and `release` one at a time; the properties may be read from any.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from collectord.clock import Clock
from collectord.errors import SpoolFull
from collectord.logs import event
from collectord.upload.documents import Conflict, Document, DocumentStore, Written
from collectord.upload.store import CONTROL_PREFIX, Blocked, NoContainer, Unknown

LEASE = 2.0
"""Intervals after the last renewal in which the holder may upload."""
WATCH = 2.5
"""Intervals for which a claim must stand still before it may be taken over."""
RETRY = 12.0
"""Fractions of an interval after which a request that failed is sent again, but at most `MOST_RETRY` seconds."""
MOST_RETRY = 5.0
MOST_TRIED = 100
"""Takings in a row whose outcome nobody has learned."""

_log = logging.getLogger("collectord.claim")


class Keeper(Protocol):
    """Where the spool remembers its takings: the ledger."""

    def remember(self, key: str, value: str) -> None: ...

    def recall(self, key: str) -> bytes | int | str | None: ...


@dataclass(frozen=True, slots=True)
class Claimant:
    """What the document says."""

    epoch: int
    """How many takings there were."""
    session: str
    """The holder: 32 hexadecimal digits of chance, other ones each time a program starts."""
    place: str
    """Of the holder's directory, see `place_of`."""
    node: str
    """A label, for people."""
    since: str
    """When it was taken by the holder's clock, for people."""
    interval: float
    """Seconds between the holder's renewals."""
    beats: int = 0
    """Changes with each renewal, so that a watcher sees it."""
    renewals: int = 0
    """The same, but counted only if the spool has written it down first: a copy that knows fewer is behind."""
    released: bool = False
    """The holder is done: whoever comes next need not wait."""

    def pack(self) -> bytes:
        return (json.dumps({"format": 1, **asdict(self)}, indent=1) + "\n").encode()

    @staticmethod
    def unpack(data: bytes) -> Claimant | None:
        """None: it is nothing that we understand."""
        try:
            fields = json.loads(data)
            known = {name: fields[name] for name in Claimant.__dataclass_fields__}
            found = Claimant(**known)
            return found if fields["format"] == 1 and found.epoch > 0 and float(found.interval) > 0 else None
        except (ValueError, KeyError, TypeError):
            return None


def document_of(spool_id: bytes) -> str:
    """The name of a spool's claim in the store."""
    return f"{CONTROL_PREFIX}spools/{spool_id.hex()}.json"


def place_of(lock: Path) -> str:
    """Stands for the directory of a lock file: another one for every copy of its files.

    Not for a clone of the whole volume, block by block (a snapshot, an image of a disk): there inode and time of change are
    the same, and whoever runs on it looks like the one who was cloned.
    """
    status = lock.stat()
    return hashlib.sha256(f"{status.st_ino}:{status.st_ctime_ns}".encode()).hexdigest()[:32]


class Claim:
    """One spool's claim, as one program sees it."""

    def __init__(
        self,
        store: DocumentStore,
        spool_id: bytes,
        keeper: Keeper,
        clock: Clock,
        *,
        node: str,
        place: str,
        interval: float,
        unknown_past: bool = False,
        force: bool = False,
    ) -> None:
        """`place`: empty for one who takes over from elsewhere. `unknown_past`: the ledger has been begun anew and will be
        rebuilt from the store, so that takings it does not know of do no harm. `force`: take it from whomever."""
        self._store = store
        self._name = document_of(spool_id)
        self._keeper = keeper
        self._clock = clock
        self._interval = interval
        self._force = force
        if unknown_past:
            self._keeper.remember("claim_any", "1")
        since = datetime.fromtimestamp(clock.wall_ns() / 1e9, timezone.utc).isoformat(timespec="seconds")
        self._mine = Claimant(0, secrets.token_hex(16), place, node, since, interval)
        self._etag: str | None = None
        self._renewed_at: float | None = None
        self._seen: tuple[str, float] | None = None
        """The tag that is watched, and since when."""
        self.superseded = False
        """Somebody else has taken the spool: what is here is behind, for good."""
        self.changed_hands = 0
        """How often the document changed while it was watched: its holder lives."""
        self.failure: Blocked | Unknown | None = None
        """What the store answered last, if it did not do what it was asked."""
        self._said = ""
        """What kept it from being taken or renewed, as the log has it; empty: nothing does."""
        self.why = "the spool's claim in the store has not been taken yet"
        """Why it is not held."""

    @property
    def document(self) -> str:
        """Its name in the store."""
        return self._name

    @property
    def held(self) -> bool:
        """Whether uploading is allowed at this moment."""
        renewed = self._renewed_at
        return (
            not self.superseded and renewed is not None and self._clock.monotonic() - renewed < LEASE * self._interval
        )

    @property
    def watched(self) -> tuple[float, float]:
        """For how many seconds somebody's claim has been standing still, and for how many it has to."""
        seen = self._seen
        return (0.0 if seen is None else self._clock.monotonic() - seen[1]), WATCH * self._interval

    def step(self) -> float:
        """Takes or renews it, as far as one or two requests lead. Returns after how many seconds to come back."""
        self.failure = None
        if self.superseded:
            return self._interval
        return self._take() if self._etag is None else self._renew()

    def release(self) -> None:
        """Says that the next one need not wait. A claim that is not held, or a store that fails, is left alone."""
        etag, self._etag, self._renewed_at = self._etag, None, None
        if etag is not None and not self.superseded:
            self._mine = replace(self._mine, beats=self._mine.beats + 1, released=True)
            self._store.put_document(self._name, self._mine.pack(), etag)

    # ------------------------------------------------------------------ taking

    def _take(self) -> float:
        found = self._store.get_document(self._name)
        match found:
            case Blocked() | Unknown():
                return self._failed(found)
            case None:
                if not self._mine.place and self._last_epoch() and not self._force:
                    self.superseded = True
                    self.why = (
                        f"{self._store.describe()} holds no claim of this spool, though it once had one: is it the "
                        "store that its daemon had?"
                    )
                    return self._interval
                return self._write(self._mine.epoch or self._last_epoch() + 1, None)
            case Document(data, etag):
                return self._take_from(Claimant.unpack(data), etag)

    def _take_from(self, holder: Claimant | None, etag: str) -> float:
        if holder is None:
            self.why = (
                f"the claim {self._name} in the store cannot be understood; remove it if no daemon has this spool"
            )
            return self._soon
        if holder.session == self._mine.session:
            # An answer was lost, and it was carried out.
            self._etag, self._mine = etag, holder
            return 0.0
        if not self._force:
            if not self._is_ours(holder):
                return self._lose(holder)
            if not holder.released and holder.place != self._mine.place and not self._stands_still(holder, etag):
                return self._soon
        return self._write(holder.epoch + 1, etag)

    def _stands_still(self, holder: Claimant, etag: str) -> bool:
        now = self._clock.monotonic()
        if self._seen is None or self._seen[0] != etag:
            self.changed_hands += self._seen is not None
            self._seen = (etag, now)
        needed = WATCH * max(self._interval, float(holder.interval))
        self.why = (
            f"the spool is claimed by {holder.node!r} since {holder.since}; it is taken over if that one does not renew "
            f"it for {needed:.0f} s"
        )
        return now - self._seen[1] >= needed

    def _write(self, epoch: int, etag: str | None) -> float:
        self._mine = replace(self._mine, epoch=epoch, beats=self._mine.beats + 1)
        # First in the spool: a document that names us is recognized, whatever happens in between.
        # All of them since the last taking: a request of one that was killed may be carried out later than ours is sent.
        tried = [*self._tried(), f"{epoch} {self._mine.session}"][-MOST_TRIED:]
        self._keeper.remember("claim_tried", ",".join(dict.fromkeys(tried)))
        self._keeper.remember("claim_intended", f"{epoch} {self._mine.session}")
        sent = self._clock.monotonic()
        outcome = self._store.put_document(self._name, self._mine.pack(), etag)
        match outcome:
            case Written(tag):
                self._keeper.remember("claim_taken", f"{epoch} {self._mine.session}")
                self._keeper.remember("claim_any", "")
                self._keeper.remember("claim_tried", "")
                self._etag, self._renewed_at, self._seen, self.why, self._said = tag, sent, None, "", ""
                event(_log, logging.INFO, "the spool is claimed", document=self._name, epoch=epoch)
                return self._interval
            case Conflict():
                self.why = "somebody else was taking the spool's claim at the same moment"
                return 0.0
            case NoContainer():
                made = self._store.create_container()
                return self._failed(made) if isinstance(made, Blocked | Unknown) else 0.0
            case Blocked() | Unknown():
                return self._failed(outcome)

    def _is_ours(self, holder: Claimant) -> bool:
        """Whether this spool, and not another copy of it, has done all that was done under this claim."""
        known = {self._keeper.recall("claim_intended"), self._keeper.recall("claim_taken"), *self._tried()}
        ours = f"{holder.epoch} {holder.session}" in known and holder.renewals <= self._renewals(holder)
        return ours or bool(self._keeper.recall("claim_any"))

    def _tried(self) -> list[str]:
        return str(self._keeper.recall("claim_tried") or "").split(",")

    def _renewals(self, holder: Claimant) -> int:
        """How many renewals of a claim the spool has written down."""
        session, _, number = str(self._keeper.recall("claim_renewals") or "").partition(" ")
        return int(number) if session == holder.session else 0

    def _last_epoch(self) -> int:
        taken = str(self._keeper.recall("claim_intended") or "0 ")
        return int(taken.partition(" ")[0])

    # ------------------------------------------------------------------ keeping

    def _renew(self) -> float:
        sent = self._clock.monotonic()
        mine = replace(self._mine, beats=self._mine.beats + 1)
        try:
            self._keeper.remember("claim_renewals", f"{mine.session} {mine.renewals + 1}")
            mine = replace(mine, renewals=mine.renewals + 1)
        except SpoolFull:
            # What empties a full disk is uploading, so the claim is kept.
            pass
        outcome = self._store.put_document(self._name, mine.pack(), self._etag)
        match outcome:
            case Written(tag):
                self._etag, self._renewed_at, self._mine, self.why = tag, sent, mine, ""
                if self._said:
                    self._said = ""
                    event(_log, logging.INFO, "the spool's claim is renewed again", document=self._name)
                return self._interval
            case Conflict() | NoContainer():
                return self._look_again()
            case Blocked() | Unknown():
                return self._failed(outcome)

    def _look_again(self) -> float:
        """The document is not as we left it: an answer was lost, somebody removed it, or somebody took it."""
        found = self._store.get_document(self._name)
        match found:
            case Blocked() | Unknown():
                return self._failed(found)
            case None:
                self._etag = None
                return 0.0
            case Document(data, etag):
                holder = Claimant.unpack(data)
                if holder is not None and holder.session == self._mine.session:
                    self._etag, self._mine = etag, holder
                    return 0.0
                return self._lose(holder)

    def _lose(self, holder: Claimant | None) -> float:
        self.superseded = True
        self._etag, self._renewed_at = None, None
        who = f"{holder.node!r} since {holder.since}" if holder else "somebody else"
        self.why = (
            f"the spool is held, or was finished, by {who}; what landed there is not known here, so nothing is uploaded "
            'from here any more (docs/operations.md, "Claims")'
        )
        event(
            _log, logging.ERROR, "another holder has this spool's claim; uploading stops", document=self._name, by=who
        )
        return self._interval

    def _failed(self, outcome: Blocked | Unknown) -> float:
        self.failure = outcome
        blocked = isinstance(outcome, Blocked)
        # It may count seconds, which differ each time.
        said = re.sub(r"\d+", "", outcome.detail)
        if said != self._said:
            self._said = said
            event(
                _log, logging.ERROR if blocked else logging.WARNING,
                "the spool's claim could not be taken or renewed; nothing is uploaded while it is not held",
                store=self._store.describe(), why=outcome.detail, held=self.held,
            )  # fmt: skip
        if not self.held:
            self.why = f"the spool's claim could not be taken or renewed: {outcome.detail}"
        return self._soon

    @property
    def _soon(self) -> float:
        return min(MOST_RETRY, self._interval / RETRY)
