"""Walks one segment, entry by entry, every checksum verified, and decides what is damage and what is the tail.

A bad entry below the highest LSN that any good later entry (or a later segment) names as durable is damage: it was
acknowledged, so it is reported and stepped over. A bad entry at or above it is the tail: it was never acknowledged, so the
log ends there, even if entries behind it look good.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import eq

from collectord.model import Lsn
from collectord.wal.damage import Damage
from collectord.wal.disk import Window
from collectord.wal.framing import (
    ALIGNMENT,
    ENTRY_HEADER_BYTES,
    MARKER_BYTES,
    OWN_LSN_AT,
    Head,
    checksum,
    parse,
    seed_of,
)
from collectord.wal.segment import HEADER_ALIGNMENT

_FIND_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a segment's entries are."""

    base: Lsn
    first: Lsn
    marker: bytes
    limit: Lsn
    """No entry ends behind it: the file's end, or where later segments say that this one ends."""
    durable: Lsn
    """What is known from elsewhere to have been durable; 0 if nothing is."""


@dataclass(slots=True)
class Scan:
    """What one walk found."""

    end: Lsn
    """Where the last entry ends that counts, damaged or not."""
    durable: Lsn
    """Highest LSN named as durable."""
    beyond: Lsn
    """Where the last entry ends whose header is good, counted or not."""
    entries: int = 0
    damages: list[Damage] = field(default_factory=list)


Visit = Callable[[Head, memoryview | None], None]
"""Called in order for every entry that counts; the payload is valid during the call, and None if it is damaged."""


def scan(window: Window, extent: Extent, visit: Visit) -> Scan:
    """Walks a segment. Raises OSError only if the file cannot be read at all."""
    base, seed = extent.base, seed_of(extent.marker)
    found = Scan(end=extent.first, durable=extent.durable, beyond=extent.first)
    undecided: list[Damage | tuple[Head, bytes]] = []
    position = int(extent.first)
    while position < extent.limit:
        view = window.at(position - base, ENTRY_HEADER_BYTES)
        head = parse(view, extent.marker, seed, position)
        if head is None or head.stored.end > extent.limit:
            following = find_entry(window, extent, position + ALIGNMENT)
            undecided.append(Damage(base, Lsn(position), following or extent.limit, "entry"))
            if following is None:
                break
            position = following
            continue
        stored = head.stored
        found.durable = max(found.durable, head.durable)
        found.beyond = max(found.beyond, stored.end)
        if undecided and _first_bad(undecided) < found.durable:
            _settle(undecided, found, visit)
        whole = window.at(position - base, ENTRY_HEADER_BYTES + stored.length)
        payload = whole[ENTRY_HEADER_BYTES:]
        if len(payload) != stored.length or checksum(payload, seed) != head.payload_checksum:
            bad = Damage(base, stored.lsn, stored.end, "payload", stored)
            undecided.append(bad)
        elif undecided:
            undecided.append((head, bytes(payload)))
        else:
            _count(found, head, payload, visit)
        position = stored.end
    _settle(undecided, found, visit)
    return found


def _first_bad(undecided: list[Damage | tuple[Head, bytes]]) -> int:
    first = undecided[0]
    assert isinstance(first, Damage)
    return first.from_lsn


def _settle(undecided: list[Damage | tuple[Head, bytes]], found: Scan, visit: Visit) -> None:
    """Takes over what stands before the first bad entry that is not below the durable mark."""
    while undecided:
        item = undecided[0]
        if isinstance(item, tuple):
            _count(found, item[0], memoryview(item[1]), visit)
        elif item.from_lsn >= found.durable:
            return
        else:
            to = min(item.to_lsn, found.durable) if item.stored is None else item.to_lsn
            found.damages.append(Damage(item.segment, item.from_lsn, to, item.reason, item.stored))
            found.end = to
            if item.stored is not None:
                visit(Head(item.stored, found.durable, 0), None)
            if to < item.to_lsn:
                undecided[0] = Damage(item.segment, to, item.to_lsn, item.reason)
                return
        del undecided[0]


def _count(found: Scan, head: Head, payload: memoryview, visit: Visit) -> None:
    visit(head, payload)
    found.end = head.stored.end
    found.entries += 1


def find_entry(window: Window, extent: Extent, position: int) -> Lsn | None:
    """Where the next verified entry header at or behind `position` begins, before the extent's limit."""
    base, marker, seed = extent.base, extent.marker, seed_of(extent.marker)
    for offset, view in marked(window, marker, position - base, extent.limit - base):
        head = parse(view, marker, seed, base + offset)
        if head is not None and head.stored.end <= extent.limit:
            return Lsn(base + offset)
    return None


def marked(window: Window, marker: bytes, offset: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Where, from `offset` on and before `size`, a marker stands and an entry may begin; and the file's bytes from there on.

    At least an entry's header of them, valid until the next one is taken. `offset` is one at which an entry may begin.
    """
    while offset + ENTRY_HEADER_BYTES <= size:
        haystack = bytes(window.at(offset, min(_FIND_BYTES, size - offset)))
        usable = len(haystack) - ENTRY_HEADER_BYTES
        if usable < 0:
            return
        at = haystack.find(marker)
        while 0 <= at <= usable:
            if at % ALIGNMENT == 0:
                yield offset + at, memoryview(haystack)[at:]
            at = haystack.find(marker, at + 1)
        offset += usable // ALIGNMENT * ALIGNMENT + ALIGNMENT


def first_entry(
    window: Window, base: Lsn, size: int, position: int = HEADER_ALIGNMENT
) -> tuple[Lsn, bytes, Lsn] | None:
    """Position, marker and named durable LSN of the first entry that proves itself, at or behind the offset `position`.

    An entry proves itself by its own LSN and by a checksum that is seeded with its own marker, so that neither the segment's
    header nor its marker is needed. None if no entry does.
    """
    while position + ENTRY_HEADER_BYTES <= size:
        view = window.at(position, min(_FIND_BYTES, size - position))
        usable = len(view) // ALIGNMENT * ALIGNMENT
        if usable < ENTRY_HEADER_BYTES:
            return None
        words = array("Q", bytes(view[:usable]))
        if sys.byteorder == "big":
            words.byteswap()
        # A cheap sieve first: its own position stands in every entry.
        begins = range(base + position, base + position + usable - ENTRY_HEADER_BYTES + 1, ALIGNMENT)
        fits = bytes(map(eq, words[OWN_LSN_AT // ALIGNMENT :], begins))
        at = fits.find(1)
        while at >= 0:
            entry = view[at * ALIGNMENT :]
            marker = bytes(entry[:MARKER_BYTES])
            head = parse(entry, marker, seed_of(marker), begins[at]) if any(marker) else None
            if head is not None:
                return head.stored.lsn, marker, head.durable
            at = fits.find(1, at + 1)
        position += usable - ENTRY_HEADER_BYTES + ALIGNMENT
    return None
