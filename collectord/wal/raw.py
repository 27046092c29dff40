"""An entry as its bytes are now, damaged or not: for those who move it, or keep what cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from collectord.model import Place, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import DamagedEntry
from collectord.wal.disk import read_into
from collectord.wal.framing import ENTRY_HEADER_BYTES, checksum, parse


@dataclass(frozen=True, slots=True)
class Raw:
    """What stands where an entry was written."""

    stored: Stored | None
    """Its header; None if that is damaged."""
    payload: bytes
    """As many bytes as it should have, or fewer where the file ends."""
    good: bool
    """Whether header and payload fit their checksums."""


def read_raw(log: Catalog, place: Place) -> Raw:
    """An entry of the log. Raises DamagedEntry if its segment is gone, OSError if the disk fails. From any thread."""
    segment = log.holding(place.lsn)
    if segment is None:
        raise DamagedEntry(f"the segment of entry {place.lsn} is gone")
    with log.opened(segment) as fd:
        return read_at(fd, place.lsn - segment.base, place, segment.marker, segment.seed)


def read_at(fd: int, offset: int, place: Place, marker: bytes, seed: int) -> Raw:
    """The entry of this place at an offset of a file whose checksums have this seed. Raises OSError."""
    view = memoryview(bytearray(ENTRY_HEADER_BYTES + place.length))
    count = read_into(fd, view, offset)
    head = parse(view[:count], marker, seed, place.lsn)
    payload = bytes(view[ENTRY_HEADER_BYTES:count])
    good = (
        head is not None
        and head.stored.length == place.length == len(payload)
        and checksum(payload, seed) == head.payload_checksum
    )
    return Raw(head.stored if head else None, payload, good)
