"""The ids that `collect()` makes."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable

_pack = struct.Struct(">QQ").pack


class Uuid7:
    """Makes ids. Thread-safe; a forked child calls `reseed` before its first one.

    The 74 random bits of the RFC are a random start per process plus a counter (its section 6.2, method 2): ids of a process
    grow as long as its clock does, and two processes meet with a probability that does not matter.
    """

    __slots__ = ("head", "step")

    def __init__(self) -> None:
        self.reseed()

    def reseed(self) -> None:
        """Begins at another random place, as a forked child must."""
        seed = int.from_bytes(os.urandom(10), "big")
        self.head: int = (7 << 12) | (seed & 0xFFF)
        # Starting in the lower half of 62 bits leaves 2**61 ids before the counter would reach the variant bits.
        self.step: Callable[[], int] = itertools.count((2 << 62) | ((seed >> 12) & ((1 << 61) - 1))).__next__

    def make(self, time_ns: int) -> bytes:
        """16 bytes, big-endian as in the text form, for the scoring time `time_ns` (1970 to 2262)."""
        return _pack(time_ns // 1_000_000 << 16 | self.head, self.step())
