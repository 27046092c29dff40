"""Which part of a day takes the next frame: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MAX_APPENDS = 49_000
"""A part is left alone from here on; the Azure service refuses the 50,001st append, and 49,000 of 4 MiB stay below its
195 GiB per blob. Writers that share a blob and each count only their own still find the limit by being refused."""


class PartState(str, Enum):
    """What is known about a part."""

    OPEN = "open"
    CLOSED = "closed"
    FOREIGN = "foreign"
    """Its beginning is not a header that we can read."""


@dataclass(frozen=True, slots=True)
class Part:
    """One blob of a day, as the ledger remembers it."""

    base: str
    part: int
    header: bytes | None
    """Hash of its header's text (`header_hash`); None where it is not known."""
    length: int
    """A length that it has had; other writers may have made it longer."""
    appends: int
    """How many appends it has seen, as far as we know."""
    state: PartState
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where to try first."""

    part: int
    position: int


def is_full(appends: int) -> bool:
    """Whether a part that has seen that many appends should take no more."""
    return appends >= MAX_APPENDS


def first_place(parts: Sequence[Part], header: bytes) -> Place:
    """The first open part with this header, from part 0 upwards; failing that, the first part nothing is known about.

    `parts` are all known parts of one base. A part nothing is known about is tried at position 0, where an append
    carries its header: if the blob is absent it is created, if it is not, its header is looked at.
    """
    known = {part.part: part for part in parts}
    number = 0
    while (part := known.get(number)) is not None:
        if part.state is PartState.OPEN and part.header == header and not is_full(part.appends):
            return Place(number, part.length)
        number += 1
    return Place(number, 0)
