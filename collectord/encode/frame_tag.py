"""The tag of a frame as bytes: who wrote it, its number, its rows. What they look like is written down in docs/formats/blob.md."""

from __future__ import annotations

import struct
import zlib

from collectord.model import FrameTag

MAGIC = b"cdT1"
_BODY = struct.Struct("<16sQI")
_HEAD = struct.Struct("<4sI")
LENGTH = _HEAD.size + _BODY.size


def encode_tag(tag: FrameTag) -> bytes:
    """A tag as 36 bytes. Raises ValueError if a field does not fit."""
    if len(tag.writer) != 16:
        raise ValueError(f"writer has {len(tag.writer)} bytes, it must have 16")
    try:
        body = _BODY.pack(tag.writer, tag.sequence, tag.rows)
    except struct.error as error:
        raise ValueError(f"sequence {tag.sequence} or rows {tag.rows} does not fit: {error}") from error
    return _HEAD.pack(MAGIC, zlib.crc32(body)) + body


def decode_tag(data: bytes | memoryview) -> FrameTag | None:
    """The tag that these bytes are, or None if they are something else. Raises ValueError for a damaged tag."""
    if bytes(data[:4]) != MAGIC:
        return None
    if len(data) != LENGTH:
        raise ValueError(f"a tag of {len(data)} bytes, it must have {LENGTH}")
    _magic, checksum = _HEAD.unpack_from(data)
    if zlib.crc32(data[_HEAD.size :]) != checksum:
        raise ValueError("the tag's checksum is wrong")
    writer, sequence, rows = _BODY.unpack_from(data, _HEAD.size)
    return FrameTag(writer, sequence, rows)
