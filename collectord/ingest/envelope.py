"""The outside of a `ClientMessage`: which one of its kinds it holds, and where. Pure.

A batch is not parsed by protobuf: what the client sent is what the log keeps. The wire format is that of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from enum import IntEnum

from collectord.errors import ProtocolError
from collectord.model import Buffer

MAX_FIELDS = 16
"""At the outermost level, those that we do not know included."""


class Kind(IntEnum):
    """Field numbers of `ClientMessage`."""

    HELLO = 1
    DECLARE = 2
    BATCH = 3
    DROPPED = 4
    FOLLOW = 5


def unwrap(raw: Buffer) -> tuple[Kind, memoryview] | None:
    """The kind of a message and its content, not copied. None: it holds only fields of a later version.

    Raises:
        ProtocolError: it is torn, empty, or holds several messages.
    """
    view = memoryview(raw)
    found: tuple[Kind, memoryview] | None = None
    at = fields = 0
    while at < len(view):
        fields += 1
        if fields > MAX_FIELDS:
            raise ProtocolError(f"not a ClientMessage: more than {MAX_FIELDS} fields")
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(view, at)
        elif wire == 2:
            size, at = _varint(view, at)
            content = view[at : at + size]
            if len(content) != size:
                raise ProtocolError(f"not a ClientMessage: a field of {size} bytes is cut to {len(content)}")
            at += size
            if number in Kind.__members__.values():
                if found is not None:
                    raise ProtocolError("a ClientMessage holds exactly one of hello, declare, batch, dropped, follow")
                found = Kind(number), content
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ProtocolError(f"not a ClientMessage: wire type {wire}")
        if number == 0 or at > len(view):
            raise ProtocolError("not a ClientMessage: a field is cut short or has number 0")
    if not fields:
        raise ProtocolError("an empty ClientMessage")
    return found


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in view[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ProtocolError("not a ClientMessage: a number is torn")
