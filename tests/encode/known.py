"""Texts whose repetitions are known, as `_matches.h` tells of them."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

LONGEST = (8, 300, 5000, 600_000)
LITERALS = (0, 3, 100, 140_000)
"""What `anywhere` is to be given."""


class Known:
    """A text that grows by literals and matches."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = bytearray(text)
        self.matches = bytearray()
        self._waiting = len(text)

    def literals(self, own: bytes) -> None:
        self.text += own
        self._waiting += len(own)

    def match(self, offset: int, length: int) -> None:
        self.matches += struct.pack("=IIII", offset, self._waiting, length, 0)
        repeated = bytes(self.text[-offset:])
        self.text += (repeated * (length // offset + 1))[:length]
        self._waiting = 0


def anywhere(longest: int, literals: int) -> Iterator[Known]:
    """Longer than a block of the codec's (zstd 128 KiB, ours of gzip 256 KiB) and shorter, with matches of at most `longest` bytes
    and at most so many literals in between: at its borders, next to each other, over what they repeat."""
    chance = random.Random(longest + literals)
    for farthest in (1, 7, 292, 131_072):
        known = Known(b"7")
        size = chance.choice([300_000, 2 * 131_072, 2 * 262_144, 1_000_000])
        while len(known.text) < size:
            known.literals(chance.randbytes(chance.randint(0, literals)))
            known.match(chance.randint(1, min(farthest, len(known.text))), chance.randint(6, longest))
        known.literals(chance.randbytes(chance.choice([0, 1, 50])))
        yield known
