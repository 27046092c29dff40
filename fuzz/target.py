"""What a target is: a function that bytes are given to, bytes to begin with, and a way to change bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Target(NamedTuple):
    """`one` raises (or ends the process) if an input is a finding."""

    one: Callable[[bytes], object]
    seeds: Sequence[bytes]
    longest: int = 4096
    """Bytes of the largest input worth trying."""


NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)


def mutate(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """`data` with a few changes: bits, bytes, integers, runs moved, doubled, dropped, or taken from another seed."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randint(0, len(out))
        length = chance.choice((1, 1, 2, 4, 8, 16, chance.randint(1, 256)))
        match chance.randrange(8):
            case 0 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(out):
                out[at] = chance.randrange(256)
            case 2:
                size = chance.choice((1, 2, 4, 8))
                number = chance.choice(NUMBERS) + chance.randint(-2, 2)
                out[at : at + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
            case 3:
                del out[at : at + length]
            case 4:
                out[at:at] = chance.randbytes(length)
            case 5:
                start = chance.randint(0, len(out))
                out[at:at] = out[start : start + length]
            case 6 if others:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                out[at : at + length * chance.randrange(2)] = other[start : start + length]
            case _:
                if chance.randrange(4) == 0:
                    del out[at:]
    return bytes(out)
