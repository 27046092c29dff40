"""How the C library keeps the memory that a daemon frees."""

from __future__ import annotations

import ctypes


def tune_malloc() -> None:
    """Keeps freed memory of message size in the process: a fresh 1 MB message else costs twice its copy in page faults.

    All three limits have to be raised together (docs/architecture.md, "Memory"). Does nothing where libc has no mallopt.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        mallopt(m_mmap_threshold, 32 << 20)
        mallopt(m_trim_threshold, 64 << 20)
        mallopt(m_top_pad, 16 << 20)
