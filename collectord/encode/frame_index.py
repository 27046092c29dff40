"""What stands in front of a frame's rows: how long it is, how many rows it has, and which correlation ids may be in it.

Whoever looks for an id passes over the frames that cannot hold it, without reading them. The bytes are described in
docs/formats/blob.md. Ids that are UUIDv7 are known by the first and last of the milliseconds in them; all others by a
Bloom filter, which is never wrong about an id that is there and takes few for present that are not.

The filter's probes are `a + i * b` of two halves of one hash (A. Kirsch, M. Mitzenmacher: Less Hashing, Same Performance:
Building a Better Bloom Filter, 2006). The hash is XXH64 with seed 0, after its published specification
(https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). The kernel of `buffer/assemble.py` makes the filters.

Everything here is pure.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import xxhash

from collectord.model import MAX_FILTER, FrameIds, IdLayout
from collectord.uuids import is_v7, milliseconds, raw_uuid

MAGIC = b"cdI1"
PROBES = 5
MIN_FILTER = 8
"""Bytes of the smallest filter. One has a byte for each request at least, and as a power of two less than twice as many;
beyond `MAX_FILTER` it gets less selective, never wrong."""

_BODY = struct.Struct("<IIIQQ")
_HEAD = struct.Struct("<4sI")
HEAD_LENGTH = _HEAD.size + _BODY.size
MAX_LENGTH = HEAD_LENGTH + MAX_FILTER


class FrameIndex(NamedTuple):
    """The index of a frame."""

    length: int
    """Bytes of the frame behind its index."""
    rows: int
    ids: FrameIds


def encode_index(index: FrameIndex) -> bytes:
    """An index as bytes, at most `MAX_LENGTH`. Raises ValueError if something does not fit."""
    ids = index.ids
    if not _is_filter_size(len(ids.filter)):
        raise ValueError(f"a filter of {len(ids.filter)} bytes")
    try:
        body = _BODY.pack(index.length, index.rows, ids.layout, ids.first_ms, ids.last_ms) + ids.filter
    except struct.error as error:
        raise ValueError(f"length {index.length}, rows {index.rows} or a time does not fit: {error}") from error
    return _HEAD.pack(MAGIC, zlib.crc32(body)) + body


def decode_index(data: bytes | memoryview) -> FrameIndex | None:
    """The index that these bytes are, or None if they are something else. Raises ValueError for a damaged index."""
    if bytes(data[:4]) != MAGIC:
        return None
    if len(data) < HEAD_LENGTH or not _is_filter_size(len(data) - HEAD_LENGTH):
        raise ValueError(f"an index of {len(data)} bytes")
    _magic, checksum = _HEAD.unpack_from(data)
    if zlib.crc32(data[_HEAD.size :]) != checksum:
        raise ValueError("the index's checksum is wrong")
    length, rows, layout, first_ms, last_ms = _BODY.unpack_from(data, _HEAD.size)
    if layout not in (IdLayout.UUID, IdLayout.TEXT):
        raise ValueError(f"an index of ids of layout {layout}")
    return FrameIndex(length, rows, FrameIds(IdLayout(layout), first_ms, last_ms, bytes(data[HEAD_LENGTH:])))


def _is_filter_size(size: int) -> bool:
    return size == 0 or (MIN_FILTER <= size <= MAX_FILTER and size & (size - 1) == 0)


def may_hold(ids: FrameIds, wanted: str) -> bool:
    """Whether a frame with these ids can hold rows of the id whose text is `wanted`: never no where it does."""
    one = wanted.encode() if ids.layout is IdLayout.TEXT else raw_uuid(wanted)
    if one is None:
        return False
    if ids.layout is IdLayout.UUID and is_v7(one):
        return ids.first_ms <= milliseconds(one) <= ids.last_ms
    return bool(ids.filter) and _in_filter(ids.filter, one)


def _in_filter(bits: bytes, one: bytes) -> bool:
    place = xxhash.xxh64_intdigest(one)
    step, mask = place >> 32 | 1, 8 * len(bits) - 1
    places = ((place + probe * step) & mask for probe in range(PROBES))
    return all(bits[at >> 3] >> (at & 7) & 1 for at in places)
