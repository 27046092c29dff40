"""How the C library keeps the memory that a daemon frees, and when it gives it back."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

from collectord import memory

GIVEN_EVERY = 1.0
"""Seconds."""
GIVEN_FROM = 7 / 8
"""Of the memory budget."""

_libc = ctypes.CDLL(None)
_trim = getattr(_libc, "malloc_trim", None)


def tune_malloc() -> None:
    """Keeps freed memory of message size in the process: a fresh 1 MB message else costs twice its copy in page faults.

    All three limits have to be raised together (docs/architecture.md, "Memory"). Does nothing where libc has no mallopt.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 64 << 20)
        mallopt(m_top_pad, 16 << 20)


def keep_within(budget: Callable[[], int], *, sleep: Callable[[float], object] = time.sleep) -> None:
    """From now on, while the process comes near to `budget` bytes, what is free goes back to the system once a second."""

    def run() -> None:
        while True:
            sleep(GIVEN_EVERY)
            give_back(int(GIVEN_FROM * budget()))

    threading.Thread(target=run, name="collectord-memory", daemon=True).start()


def give_back(beyond: int) -> bool:
    """Gives the system what was freed and is kept, where more than `beyond` bytes are resident. Returns whether it did.

    That takes a millisecond or two, and what is needed again has to be found again: nothing to do while there is room. Does
    nothing where libc has no malloc_trim.
    """
    resident = memory.resident()
    if _trim is None or resident is None or resident <= beyond:
        return False
    _trim(0)
    return True
