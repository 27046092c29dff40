"""What is sent when, and what becomes of it, for one exporter. Pure: the caller brings time, chance and the answers.

Items are sent in the order of the log, one request at a time. What a request leaves behind is tried again while newer items go
on; only an answer that concerns the endpoint as a whole holds up everything. After a failure one item goes first, and twice as
many after each that was taken, so an outage does not end in a flood.

A refusal counts only if the endpoint takes others: since the item was first refused, or in the same answer. Until then the key
or the address may be wrong, and nothing is given up for that. Nor is it for a moment in which a lane seems to be missing, as while
what stands before a receiver is restarted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from collectord.model import Cursor, Lsn
from collectord.telemetry.exporter import Answer, Barred, Exhausted, Fate, Item, Later, Sorted, TooMuch, Unwanted

MAX_ITEMS = 500
"""Of one request."""
MAX_BYTES = 1 << 20
"""Of one request, before it is compressed; a single item may have more."""
HELD_ITEMS = 1000
HELD_BYTES = 4 << 20
"""Read from the log and not settled: no more is read."""
GAP = 0.05
"""Seconds between two full requests."""
LINGER = 0.5
"""Seconds between a request and one that is not full, in which more may come."""
AGAIN_FIRST, AGAIN_MOST = 0.5, 60.0
BARRED_FIRST, BARRED_MOST = 5.0, 300.0
QUOTA_FIRST, QUOTA_MOST = 60.0, 3600.0
MISSING_FIRST, MISSING_MOST = 1.0, 30.0
MISSING_SECONDS = 300.0
"""For so long the endpoint must have had no place for a lane, whenever it was asked, before what is of that lane is given up."""
RETRY_AFTER_MOST = 3600.0
QUOTA_AFTER_MOST = 86_400.0
"""An endpoint that asks for more is asked again after these seconds all the same."""


@dataclass(slots=True)
class Pending:
    """An item that was read from the log and is not settled."""

    at: Cursor
    item: Item
    tries: int = 0
    not_before: float = 0.0
    refused_at: int = -1
    """How many items had been taken when it was first refused; below 0: it was not."""


@dataclass(slots=True)
class _Missing:
    """A lane that the endpoint has no place for, as far as it was asked."""

    reason: str
    since: float
    tries: int = 0
    not_before: float = 0.0
    sure: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one answer has settled."""

    delivered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Items given up for good, by reason."""
    again: Counter[str] = field(default_factory=Counter)
    """Items that will be sent again, by reason."""
    doubtful: int = 0
    """Of these, items that may have arrived."""

    @property
    def settled(self) -> int:
        return self.delivered + self.refused.total()


class Delivery:
    """The items of one exporter on their way."""

    def __init__(self) -> None:
        self.pending: list[Pending] = []
        """In the order of the log."""
        self._trouble = ""
        self.barred = False
        """Somebody has to act."""
        self._limit = 1
        self._failures: Counter[type[Answer]] = Counter()
        """Since something was taken, by kind: an hour of 503 makes the pause after the first 401, or after a quota, no longer."""
        self._not_before = 0.0
        self._taken = 0
        self._missing: dict[str, _Missing] = {}
        """By lane, until it answers otherwise."""
        self._sent_to: Cursor | None = None
        """The last item of those that were ever sent: what lies before it may be settled or not."""

    # ------------------------------------------------------------------ what it wants

    @property
    def trouble(self) -> str:
        """Why nothing is delivered at the moment, or nothing of a lane; empty: nothing stands in the way."""
        waits = (
            f"the endpoint takes nothing of a kind ({one.reason})" for one in self._missing.values() if not one.sure
        )
        return self._trouble or next(waits, "")

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        return len(self.pending) < HELD_ITEMS and sum(one.item.held for one in self.pending) < HELD_BYTES

    def add(self, at: Cursor, item: Item, *, tried: bool = False) -> None:
        """The next event of the log, at `at`; `tried`: it was sent before the process began, and comes before all new ones."""
        self.pending.append(Pending(at, item, int(tried)))
        if tried:
            self._sent_to = at if self._sent_to is None else max(self._sent_to, at)

    def next(self, now: float) -> list[Pending]:
        """What is to be sent now; nothing: it is not the time, or there is nothing."""
        if now < self._not_before:
            return []
        ready = [one for one in self.pending if self._ready_at(one) <= now]
        if self.barred or self._failures:
            # One that was never refused says most about whether anything is taken again.
            ready.sort(key=lambda one: one.refused_at >= 0)
        batch: list[Pending] = []
        size = 0
        for one in ready:
            if len(batch) >= self._limit or (batch and size + one.item.size > MAX_BYTES):
                break
            if batch and one.item.lane != batch[0].item.lane:
                continue
            batch.append(one)
            size += one.item.size
        return batch

    def wake_at(self) -> float:
        """The monotonic second at which `next` may have something; infinite where only a new event can."""
        if not self.pending:
            return float("inf")
        return max(self._not_before, min(self._ready_at(one) for one in self.pending))

    def _ready_at(self, one: Pending) -> float:
        missing = self._missing.get(one.item.lane)
        return one.not_before if missing is None else max(one.not_before, missing.not_before)

    def left(self, cursor: Cursor) -> tuple[Cursor, tuple[Cursor, ...]]:
        """What has to be written down, where everything before `cursor` was added: all before the first is settled, but what
        is at the second. Nothing from the first on was ever sent: items of one lane overtake those of another."""
        sent = self._sent_to
        fresh = next((one.at for one in self.pending if sent is None or one.at > sent), cursor)
        return fresh, tuple(one.at for one in self.pending if one.at < fresh)

    def entries(self) -> list[Lsn]:
        """The entries of the log that have items here."""
        return [one.at.lsn for one in self.pending]

    # ------------------------------------------------------------------ what has become of it

    def settle(self, batch: Sequence[Pending], answer: Answer, now: float, chance: float) -> Outcome:
        """Takes an answer in. `chance` is uniform in [0, 1)."""
        for one in batch:
            one.tries += 1
            self._sent_to = one.at if self._sent_to is None else max(self._sent_to, one.at)
        if batch and not isinstance(answer, Unwanted):
            self._missing.pop(batch[0].item.lane, None)
        match answer:
            case Sorted(fates, retry_after):
                return self._sort(batch, fates, retry_after, now, chance)
            case TooMuch(reason):
                return self._halve(batch, reason, now, chance)
            case Later(reason, detail, retry_after, doubtful):
                self._fail(
                    Later, detail, now, _pause(AGAIN_FIRST, AGAIN_MOST, self._failures[Later], chance), retry_after
                )
                return Outcome(again=Counter({reason: len(batch)}), doubtful=len(batch) if doubtful else 0)
            case Exhausted(reason, retry_after):
                first, most = (QUOTA_FIRST, QUOTA_MOST) if retry_after is None else (AGAIN_FIRST, AGAIN_MOST)
                pause = _pause(first, most, self._failures[Exhausted], chance)
                self._fail(
                    Exhausted,
                    "the quota is used up; nothing is taken until it is renewed",
                    now,
                    pause,
                    retry_after,
                    QUOTA_AFTER_MOST,
                )
                return Outcome(again=Counter({reason: len(batch)}))
            case Barred(reason, detail):
                self._bar(detail, now, chance)
                return Outcome(again=Counter({reason: len(batch)}))
            case Unwanted(reason):
                return self._miss(batch, reason, now, chance)

    def expire(self, before: Lsn, flying: Sequence[Pending] = ()) -> int:
        """Gives up what lies before `before`, but what is `flying`: its answer is awaited. Returns how many items these were."""
        kept = [one for one in self.pending if one.at.lsn >= before or any(one is other for other in flying)]
        gone = len(self.pending) - len(kept)
        self.pending = kept
        return gone

    def put_off(self, one: Pending, now: float, chance: float) -> None:
        """It cannot be sent yet, and holds up nobody else."""
        one.tries += 1
        one.not_before = now + _pause(AGAIN_FIRST, AGAIN_MOST, one.tries, chance)

    def _sort(
        self, batch: Sequence[Pending], fates: Sequence[tuple[Fate, str]], retry_after: float | None, now: float,
        chance: float,
    ) -> Outcome:  # fmt: skip
        delivered = sum(fate is Fate.DELIVERED for fate, _ in fates)
        for one, (fate, _) in zip(batch, fates, strict=True):
            if fate is Fate.REFUSED and one.refused_at < 0:
                one.refused_at = self._taken
        self._taken += delivered
        outcome = Outcome(delivered, Counter(), Counter())
        gone: set[int] = set()
        for one, (fate, reason) in zip(batch, fates, strict=True):
            if fate is Fate.DELIVERED or (fate is Fate.REFUSED and self._taken > one.refused_at):
                gone.add(id(one))
                if fate is Fate.REFUSED:
                    outcome.refused[reason] += 1
                continue
            outcome.again[reason] += 1
            wait = min(retry_after or 0.0, RETRY_AFTER_MOST)
            one.not_before = now + wait + _pause(AGAIN_FIRST, AGAIN_MOST, one.tries, chance)
            if fate is Fate.REFUSED:
                one.not_before = now
        self.pending = [one for one in self.pending if id(one) not in gone]
        if delivered:
            self._succeed(now)
        elif any(fate is Fate.REFUSED for fate, _ in fates) and not gone:
            self._bar("the endpoint refuses every item; is the instrumentation key right?", now, chance)
        else:
            self._not_before = now + GAP
        return outcome

    def _halve(self, batch: Sequence[Pending], reason: str, now: float, chance: float) -> Outcome:
        if len(batch) == 1:
            return self._sort(batch, [(Fate.REFUSED, reason)], None, now, chance)
        for one in batch:
            if one.refused_at < 0:
                one.refused_at = self._taken
        self._limit = max(1, len(batch) // 2)
        self._not_before = now + GAP
        return Outcome(again=Counter({reason: len(batch)}))

    def _miss(self, batch: Sequence[Pending], reason: str, now: float, chance: float) -> Outcome:
        """The other lanes go on at once. What is behind a gateway is missing for a moment when that is restarted."""
        lane = batch[0].item.lane
        missing = self._missing.setdefault(lane, _Missing(reason, now))
        missing.sure = now - missing.since >= MISSING_SECONDS
        if not missing.sure:
            missing.not_before = now + _pause(MISSING_FIRST, MISSING_MOST, missing.tries, chance)
            missing.tries += 1
            self._not_before = now + GAP
            return Outcome(again=Counter({reason: len(batch)}))
        gone = {id(one) for one in batch}
        self.pending = [one for one in self.pending if id(one) not in gone]
        self._succeed(now)
        return Outcome(refused=Counter({reason: len(batch)}))

    def _succeed(self, now: float) -> None:
        self._limit = min(MAX_ITEMS, 2 * self._limit)
        self._failures.clear()
        self._trouble, self.barred = "", False
        full = len(self.pending) >= self._limit or sum(one.item.size for one in self.pending) >= MAX_BYTES
        self._not_before = now + (GAP if full else LINGER)

    def _fail(
        self, kind: type[Answer], why: str, now: float, pause: float, retry_after: float | None,
        most: float = RETRY_AFTER_MOST,
    ) -> None:  # fmt: skip
        self._failures[kind] += 1
        self._limit = 1
        self._trouble, self.barred = why, False
        self._not_before = now + min(retry_after or 0.0, most) + pause

    def _bar(self, why: str, now: float, chance: float) -> None:
        self._fail(Barred, why, now, _pause(BARRED_FIRST, BARRED_MOST, self._failures[Barred], chance), None)
        self.barred = True


def fitting(batch: Sequence[Pending]) -> list[Pending]:
    """As many of them as fit into one request; at least one."""
    size = 0
    fit: list[Pending] = []
    for one in batch:
        size += one.item.size
        if fit and size > MAX_BYTES:
            break
        fit.append(one)
    return fit


def _pause(first: float, most: float, failures: int, chance: float) -> float:
    """Seconds after so many failures in a row before this one: doubled each time, half of them by chance."""
    return (0.5 + 0.5 * chance) * min(most, first * 2.0 ** min(failures, 30))
