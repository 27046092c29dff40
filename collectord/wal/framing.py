"""Entries as bytes: `docs/formats/log.md`, "Entry". Pure functions; nothing here touches a file.

The marker in front of every entry is the first half of its segment's random id, and also the seed of both checksums: an
entry left over in a recycled file, or forged inside a payload, fits neither. Because the marker stands in the entry
itself, entries can still be verified when the segment's own header is lost.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import xxhash

from collectord.model import ENTRY_BYTES, NO_SCHEMA, Entry, EntryKind, Lsn, Stored

MARKER_BYTES = 8
ENTRY_HEADER_BYTES = ENTRY_BYTES
ALIGNMENT = 8
OWN_LSN_AT = 24
MAX_PAYLOAD_BYTES = 8 << 20

_HEAD = struct.Struct("<8sQ")
"""Marker; checksum of the 80 bytes that follow."""
_BODY = struct.Struct("<QQQIBBHIi16sQ16s")
"""Checksum of the payload, own LSN, durable LSN, length, kind, zero, boundary minutes, rows, start hour, client, sequence,
schema id."""
_KINDS = {int(kind): kind for kind in EntryKind}

Buffer = bytes | bytearray | memoryview

_checksum = xxhash.xxh3_64_intdigest


class Head(NamedTuple):
    """A verified entry header."""

    stored: Stored
    durable: Lsn
    """End of what was durable before the group that this entry belongs to was written."""
    payload_checksum: int


def seed_of(marker: bytes) -> int:
    """The seed of all checksums of a segment."""
    return int.from_bytes(marker, "little")


def entry_bytes(length: int) -> int:
    """Bytes that an entry with `length` bytes of payload takes in the log, padding included."""
    return (ENTRY_HEADER_BYTES + length + ALIGNMENT - 1) & -ALIGNMENT


def checksum(payload: Buffer, seed: int) -> int:
    """The payload's checksum as an entry header carries it."""
    return _checksum(payload, seed)


def pack_entry(entry: Entry, marker: bytes, seed: int, lsn: int, durable: int) -> bytes:
    """The header of `entry` at position `lsn`."""
    partition = entry.partition
    return _pack(
        marker,
        seed,
        lsn,
        durable,
        entry.payload,
        entry.kind,
        partition.boundary_minutes if partition else 0,
        entry.rows,
        partition.start_hour if partition else 0,
        entry.client,
        entry.sequence,
        entry.schema.id if entry.schema else NO_SCHEMA,
    )


def declare_payload(raw: bytes, key: str) -> bytes:
    """The payload of a DECLARE: the schema's raw bytes, then the key of its stream."""
    return raw + key.encode()


def pack_declare(
    schema_id: bytes, raw: bytes, payload: bytes, marker: bytes, seed: int, lsn: int, durable: int
) -> bytes:
    """The header of a DECLARE; its sequence says how many bytes of the payload are the raw schema."""
    return _pack(marker, seed, lsn, durable, payload, EntryKind.DECLARE, 0, 0, 0, bytes(16), len(raw), schema_id)


def _pack(
    marker: bytes,
    seed: int,
    lsn: int,
    durable: int,
    payload: Buffer,
    kind: EntryKind,
    boundary: int,
    rows: int,
    start_hour: int,
    client: bytes,
    sequence: int,
    schema_id: bytes,
) -> bytes:
    length = payload.nbytes if isinstance(payload, memoryview) else len(payload)
    body = _BODY.pack(
        _checksum(payload, seed), lsn, durable, length, kind, 0, boundary, rows, start_hour, client, sequence, schema_id
    )
    return _HEAD.pack(marker, _checksum(body, seed)) + body


def parse(view: memoryview, marker: bytes, seed: int, lsn: int) -> Head | None:
    """The entry header that `view` begins with, or None unless it is whole, of this segment and at its own position."""
    if len(view) < ENTRY_HEADER_BYTES:
        return None
    found, head_checksum = _HEAD.unpack_from(view)
    if found != marker:
        return None
    body = view[_HEAD.size : ENTRY_HEADER_BYTES]
    if _checksum(body, seed) != head_checksum:
        return None
    (payload_checksum, own, durable, length, kind, _, boundary, rows, start_hour, client, sequence, schema_id) = (
        _BODY.unpack(body)
    )
    known = _KINDS.get(kind)
    if own != lsn or known is None or length > MAX_PAYLOAD_BYTES:
        return None
    stored = Stored(
        Lsn(lsn), Lsn(lsn + entry_bytes(length)), known, client, sequence, rows, schema_id, start_hour, boundary, length
    )
    return Head(stored, Lsn(durable), payload_checksum)
