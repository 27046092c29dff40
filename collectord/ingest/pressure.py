"""Whose stream ends when messages that never become whole fill the memory.

gRPC gathers a message until it is whole and shows nothing of it before. A thousand streams that stop one byte before the
end of 4 MiB hold 4 GiB that no credit counts. So what the process has allocated is looked at, and when it has grown too
far, the streams that have been silent for longest end, as many as it takes. One that delivers messages is never silent
for long; one that has nothing to say connects again within a second, and has lost nothing. Without HTTP/2 it is known which
streams hold something: they end first, and those that hold nothing do not.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from collectord.errors import TooManyClients

LOOK_SECONDS = 0.05
CALM_SECONDS = 1.0
"""Between looks while all streams tell what they take."""
HARMLESS = 4
"""So many streams at a time are never ended: what they can hold is less than what is allowed."""


class MemoryShort(TooManyClients):
    """The memory is used up, and this stream is one of those that have to end for it."""


def to_end(grown: int, allowed: int, streams: int) -> int:
    """How many of the streams have to end: the share of them that holds what is beyond half of what is allowed. Pure.

    After a few looks enough are gone, whoever of them it is that holds the memory.
    """
    if grown <= allowed or streams <= HARMLESS:
        return 0
    return min(streams - HARMLESS, math.ceil(streams * (grown - allowed / 2) / grown))


@dataclass(slots=True)
class Pressure:
    """What the process may have allocated beyond what it had when it began to listen, in bytes."""

    allowed: int
    allocated: Callable[[], int]
    before: int

    @staticmethod
    def from_now(allowed: int) -> Pressure:
        return Pressure(allowed, allocated, allocated())

    def excess(self, streams: int) -> int:
        """How many of so many streams have to end now."""
        return to_end(self.allocated() - self.before, self.allowed, streams)


_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    """malloc.h: `struct mallinfo2`, of all arenas."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


_mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
if _mallinfo is not None:
    _mallinfo.restype = _Mallinfo
    _mallinfo.argtypes = []


def allocated() -> int:
    """Bytes that the process has from malloc and has not freed; gRPC's messages are among them.

    What it has freed and the libc keeps does not count, where the libc tells (glibc from 2.33); else what is resident does.
    """
    if _mallinfo is not None:
        found = _mallinfo()
        return int(found.uordblks + found.hblkhd)
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
