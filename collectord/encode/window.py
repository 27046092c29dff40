"""The bytes of a file that are in memory, from some offset on; what is not wanted is passed over without being read."""

from __future__ import annotations

import os
from typing import Protocol

_BLOCK = 1024 * 1024
_FIRST = 64 * 1024
"""With hops: what is read first, at the beginning and behind a hop. Until the next hop it is twice as much each time."""
_MOST = 4 * 1024 * 1024
_HOP = 256 * 1024
"""A shorter way is read: asking a store again costs more than these bytes."""


class Source(Protocol):
    """A file as this module reads it."""

    def read(self, size: int, /) -> bytes | None: ...
    def seek(self, offset: int, whence: int, /) -> int: ...


class Window:
    """The bytes from `offset` on that are in memory. The file's position when this is made counts as offset 0.

    `hops`: the file can seek, and much of it may be passed over.
    """

    def __init__(self, file: Source, hops: bool = False) -> None:
        self.offset = 0
        self.data = bytearray()
        self._file = file
        self._hops = hops
        self._step = _FIRST
        self._rest = 0
        """With `hops`: bytes of the file behind those in memory."""
        if hops:
            begin = file.seek(0, os.SEEK_CUR)
            self._rest = file.seek(0, os.SEEK_END) - begin
            file.seek(begin, os.SEEK_SET)

    def need(self, size: int) -> bool:
        """Reads until `size` bytes are there, and some ahead; False if the file ends before."""
        while (missing := size - len(self.data)) > 0:
            ahead = self._step if self._hops else _BLOCK
            block = self._file.read(min(max(ahead, missing), _MOST))
            if not block:
                return False
            self.data += block
            if self._hops:
                self._rest -= len(block)
                if missing <= ahead:
                    self._step = min(2 * ahead, _MOST)
        return True

    def take(self, size: int) -> bool:
        """Drops `size` bytes, which need not be in memory with `hops`; False if the file ends before."""
        missing = size - len(self.data)
        if missing > self._rest:
            return False
        while _HOP > missing > 0:
            self.offset += len(self.data)
            size -= len(self.data)
            self.data.clear()
            if not self.need(1):
                return False
            missing = size - len(self.data)
        if missing > 0:
            self._file.seek(missing, os.SEEK_CUR)
            self._rest -= missing
            self._step = _FIRST
        del self.data[:size]
        self.offset += size
        return True
