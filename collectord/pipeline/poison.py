"""What can never land, told from what cannot land now.

An entry is poison if making a frame of it alone fails, after several tries with pauses between them. A frame is poison if
the store has refused it for a reason in its own bytes or name, and nothing else, many times over a long time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from collectord.buffer.index import Slice
from collectord.errors import CallHuman, TryAgain, described
from collectord.model import Partition
from collectord.upload.attempts import BlockedFor

TRIES = 3
"""Failures to make a frame before the entry at fault is looked for."""
FIRST_PAUSE = 5.0
"""Seconds before the second try; doubled for the next."""
GIVE_UP_TRIES = 10
GIVE_UP_SECONDS = 3600.0
"""A frame is given up after so many refusals over so long a time, whichever comes last."""
NEVER_HEALS = frozenset(("bad_request", "bad_name", "too_large"))
"""Refusals that no permission, lease, network or disk is the reason of."""
MAX_SUSPECTS = 10_000
NOT_ITS_FAULT = (TryAgain, CallHuman, OSError, MemoryError)
"""What is wrong with the spool or with the memory says nothing about an entry."""

Made = TypeVar("Made")


class Unencodable(TryAgain):
    """A frame could not be made; it is tried again in `pause` seconds."""

    def __init__(self, error: Exception, pause: float) -> None:
        super().__init__(f"cannot be encoded: {described(error)}")
        self.pause = pause


@dataclass(frozen=True, slots=True)
class Poisoned:
    """The first of the slices fails alone."""

    error: Exception


class Suspects:
    """Partitions of which no frame could be made lately. A partition is one thread's at a time."""

    def __init__(self) -> None:
        self._failures: dict[Partition, int] = {}

    def make(
        self,
        partition: Partition,
        slices: Sequence[Slice],
        payloads: Sequence[memoryview],
        make: Callable[[Partition, Sequence[Slice], Sequence[memoryview]], Made],
    ) -> tuple[Made, int] | Poisoned:
        """A frame of the first so many slices: of all of them, unless that fails again and again.

        Raises Unencodable while it is too early to look for the entry at fault. What is wrong with the spool or with the
        memory is no fault of the entry, and raised as it is.
        """
        try:
            made = make(partition, slices, payloads)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            failures = self._failures.pop(partition, 0) + 1
            self._failures[partition] = failures
            if len(self._failures) > MAX_SUSPECTS:
                del self._failures[next(iter(self._failures))]
            if failures < TRIES:
                raise Unencodable(error, FIRST_PAUSE * 2 ** (failures - 1)) from error
            return _narrow(partition, slices, payloads, make, error)
        self._failures.pop(partition, None)
        return made, len(slices)


def _narrow(
    partition: Partition,
    slices: Sequence[Slice],
    payloads: Sequence[memoryview],
    make: Callable[[Partition, Sequence[Slice], Sequence[memoryview]], Made],
    error: Exception,
) -> tuple[Made, int] | Poisoned:
    """Halves until it is known how many of the first slices make a frame."""
    good, bad = 0, len(slices)
    made: Made | None = None
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            made, good = make(partition, slices[:middle], payloads[:middle]), middle
        except NOT_ITS_FAULT:
            raise
        except Exception as failure:  # noqa: BLE001
            error, bad = failure, middle
    return Poisoned(error) if made is None else (made, good)


@dataclass(slots=True)
class _Refused:
    since: float
    times: int = 0


class Refusals:
    """Per open frame, what the store has said so far. A frame is one thread's at a time. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._of: dict[int, _Refused] = {}

    def refused(self, frame_id: int, result: BlockedFor, now: float) -> bool:
        """The store has said no. Returns whether it is time to give up."""
        one = self._of.setdefault(frame_id, _Refused(now))
        if result.reason not in NEVER_HEALS:
            one.since, one.times = now, 0
            return False
        if not one.times:
            one.since = now
        one.times += 1
        return one.times >= GIVE_UP_TRIES and now - one.since >= GIVE_UP_SECONDS

    def over(self, frame_id: int) -> None:
        """It has landed, or was given up."""
        self._of.pop(frame_id, None)
