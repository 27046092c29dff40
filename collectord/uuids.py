"""UUIDs as the ids of rows (RFC 9562). One of version 7 tells when it was made, and nothing else."""

from __future__ import annotations

import os
import uuid


def new_v7(now_ns: int) -> str:
    """One that is made at `now_ns`, nanoseconds since 1970."""
    chance = int.from_bytes(os.urandom(10), "big")
    high = (now_ns // 1_000_000 & (1 << 48) - 1) << 16 | 7 << 12 | chance >> 68
    return str(uuid.UUID(int=high << 64 | 2 << 62 | chance & (1 << 62) - 1))


def raw_uuid(text: str) -> bytes | None:
    """The 16 bytes that a client may have sent for an id with this text; None if it cannot have been a uuid."""
    try:
        known = uuid.UUID(text)
    except ValueError:
        return None
    return known.bytes if str(known) == text else None


def is_v7(raw: bytes) -> bool:
    """Whether these 16 bytes are a uuid of version 7 (section 5.7)."""
    return raw[6] >> 4 == 7 and raw[8] >> 6 == 2


def milliseconds(raw: bytes) -> int:
    """When a UUIDv7 was made, since 1970."""
    return int.from_bytes(raw[:6], "big")
