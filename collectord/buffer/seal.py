"""When a partition's waiting rows become a frame. Pure.

The end of a partition's day needs no rule of its own: no row waits longer than the flush interval, so the last rows of a
day are uploaded within it, spread out by the same jitter.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

from collectord.model import Partition

MAX_FRAME_ROWS = 16_384
"""Most rows of a frame. A row of few bytes still becomes text with ids, names and times: up to 8 KiB of it."""


class Cause(str, Enum):
    """Why a frame was cut."""

    BYTES = "bytes"
    AGE = "age"
    FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class SealRules:
    """The settings that decide."""

    flush_bytes: int
    """Expected compressed bytes that make a frame."""
    frame_payload: int
    """Most bytes of the log that go into one frame, however well they compress: bounds the memory of encoding."""
    flush_interval: float
    """Seconds that a row waits at most."""
    salt: bytes
    """Differs between daemons, so that a fleet does not march in step."""


def age_limit(rules: SealRules, partition: Partition) -> float:
    """Seconds that the oldest row of this partition may wait: the flush interval, less a fixed share of up to a fifth."""
    seed = rules.salt + partition.schema_id + partition.start_hour.to_bytes(8, "little", signed=True)
    return rules.flush_interval * (1.0 - 0.2 * zlib.crc32(seed) / 0xFFFFFFFF)


def wanted(rules: SealRules, ratio: float) -> float:
    """Bytes of the log that make a frame, where a byte of it becomes `ratio` bytes of a frame."""
    return min(float(rules.frame_payload), rules.flush_bytes / ratio)


def cause(rules: SealRules, payload: int, rows: int, ratio: float, overdue: bool, flush: bool) -> Cause | None:
    """Why a partition with `payload` bytes and `rows` waiting is due now, or None if it is not."""
    if payload >= wanted(rules, ratio) or rows >= MAX_FRAME_ROWS:
        return Cause.BYTES
    if flush:
        return Cause.FLUSH
    return Cause.AGE if overdue else None
