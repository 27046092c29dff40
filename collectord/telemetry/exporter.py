"""What an exporter must do: make an item of an event, and send items.

Outcomes are values; what an exporter raises is a fault of its own. None of them quotes an event, or what an endpoint has said in
its own words: either may hold what users sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from collectord.telemetry.event import Event


class Fate(Enum):
    """What has become of an item."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """It will never be taken."""
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Item:
    """An event as the endpoint wants it."""

    body: Any
    """The exporter's own."""
    size: int
    """Bytes that it takes in a request, about."""
    lane: str = ""
    """Items of different lanes are not sent together."""
    whole: tuple[str, bytes] | None = None
    """The blob that has to be there before this is sent, and its bytes: the item refers to it."""
    cut: bool = False
    """Something in it is shorter than it was; it says so itself."""

    @property
    def held(self) -> int:
        """Bytes of memory that it takes, about."""
        return self.size + (len(self.whole[1]) if self.whole else 0)


@dataclass(frozen=True, slots=True)
class Unfit:
    """There is no way to say this event to the endpoint."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """The endpoint has said of each item what became of it, with a reason where it was not delivered."""

    fates: tuple[tuple[Fate, str], ...]
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TooMuch:
    """The request was refused as a whole, for what is in it: a smaller one may pass."""

    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Not now. `doubtful`: it may have arrived all the same, and will be there twice."""

    reason: str
    detail: str
    retry_after: float | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nothing more is taken until a quota is renewed."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Barred:
    """Nothing is taken until somebody changes something."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The endpoint has no place for anything of this lane at the moment, and takes items of another: if it stays so, these will never
    be taken."""

    reason: str


Answer = Sorted | TooMuch | Later | Exhausted | Barred | Unwanted


class Exporter(Protocol):
    """One destination. Belongs to one thread."""

    name: str
    """Labels metrics, and is the key of the position in the ledger."""

    def prepare(self, event: Event) -> Item | Unfit:
        """The event as an item. Sends nothing; the same event always makes the same item."""
        ...

    def send(self, items: Sequence[Item]) -> Answer:
        """Sends the items, of one lane, in one request, and waits for its answer a bounded time. May be repeated."""
        ...

    def probe(self) -> str:
        """Why nothing would be taken, as far as that can be seen without sending anything; empty: it answers."""
        ...

    def describe(self) -> str:
        """Where to, on one line, without secrets."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...
