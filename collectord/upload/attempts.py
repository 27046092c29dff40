"""What comes of attempts to send a frame: the results, what is known of the frames that are still open, and the counts."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from collectord.clock import Clock
from collectord.upload import backoff
from collectord.upload.store import Blocked, Failure, Unknown


@dataclass(frozen=True, slots=True)
class Landed:
    """The frame is in the blob, and the ledger says so."""

    blob: str
    end: int
    """Position right behind the frame."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The intent stays open; try again later."""

    after_seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class BlockedFor:
    """The intent stays open; somebody has to change something, and it is tried again slowly."""

    after_seconds: float
    reason: str
    detail: str


Attempt = Landed | Retry | BlockedFor


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened since the start."""

    landed: int
    """Frames confirmed."""
    settled: int
    """Of those, the ones whose answer had been lost: found in the blob."""
    races: int
    """Times that another writer's append was found where ours should have gone."""
    replaced: int
    """Blobs that were deleted or replaced behind our back."""
    rolled: int
    """Parts left because they take no more, or are not ours."""
    unknown: int
    blocked: int


class Attempts:
    """Of one appender, since its start. From any thread."""

    def __init__(self, clock: Clock, chance: random.Random, still_open: Iterable[int]) -> None:
        """`still_open`: the frames that an earlier run has left; it may have ended in the middle of an append."""
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()  # guards the three below
        self._failures: Counter[int] = Counter()  # per open frame, failures in a row
        self._unanswered = dict.fromkeys(still_open, clock.monotonic())  # when an append got no clear answer last
        self._counts: Counter[str] = Counter()

    def counts(self) -> Counts:
        """A snapshot."""
        with self._lock:
            return Counts(**{name: self._counts[name] for name in Counts.__dataclass_fields__})

    def count(self, name: str) -> None:
        """`name`: one of `Counts`."""
        with self._lock:
            self._counts[name] += 1

    def left_unanswered(self, frame_id: int) -> None:
        """An append of it got no clear answer: it may land yet."""
        with self._lock:
            self._unanswered[frame_id] = self._clock.monotonic()

    def may_arrive(self, frame_id: int, lateness: float) -> float | None:
        """Seconds for which an append of this frame may still arrive that nobody waits for any more; not above 0: it has
        arrived by now, or never will. None: each append of it got a clear answer. `lateness`: the store's."""
        with self._lock:
            since = self._unanswered.get(frame_id)
        return None if since is None else since + lateness - self._clock.monotonic()

    def failed(self, frame_id: int, outcome: Failure) -> Retry | BlockedFor:
        """One more failure of it; says when to try again."""
        with self._lock:
            self._failures[frame_id] += 1
            failures = self._failures[frame_id]
            self._counts["unknown" if isinstance(outcome, Unknown) else "blocked"] += 1
            chance = self._chance.random()
        match outcome:
            case Unknown(detail, retry_after):
                return Retry(backoff.after_unknown(failures, retry_after, chance), detail)
            case Blocked(reason, detail):
                return BlockedFor(backoff.after_blocked(failures, chance), reason, detail)

    def over(self, frame_id: int) -> None:
        """It has landed, or was given up."""
        with self._lock:
            self._failures.pop(frame_id, None)
            self._unanswered.pop(frame_id, None)
