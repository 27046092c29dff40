"""Bytes that end where the memory ends: whoever reads one too many ends the process."""

from __future__ import annotations

import ctypes
import mmap

PAGE = mmap.PAGESIZE
PROT_NONE = 0


class Guarded:
    """Room for up to `longest` bytes in front of a page that cannot be read."""

    def __init__(self, longest: int) -> None:
        self._room = -(-longest // PAGE) * PAGE
        self._map = mmap.mmap(-1, self._room + PAGE)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        library = ctypes.CDLL(None, use_errno=True)
        if library.mprotect(ctypes.c_void_p(self._start + self._room), ctypes.c_size_t(PAGE), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def hold(self, data: bytes) -> memoryview:
        """A view of `data` at the end of the room, valid until the next call."""
        at = self._start + self._room - len(data)
        ctypes.memmove(at, data, len(data))
        return memoryview((ctypes.c_char * len(data)).from_address(at)).cast("B") if data else memoryview(b"")
