"""The segments that exist right now, shared by the writer, its readers and retention.

Threads: any. The lock guards the list and the descriptors, never a read or write of a file.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from collectord.model import Lsn, Place, Stored
from collectord.wal.damage import DamagedEntry
from collectord.wal.disk import read_into
from collectord.wal.framing import ENTRY_HEADER_BYTES, checksum, parse
from collectord.wal.segment import Segment

OPEN_FILES = 64
"""Descriptors kept open for reading."""


class Catalog:
    """Segments in order of their bases."""

    def __init__(self, segments: Iterable[Segment] = (), durable: Lsn | None = None) -> None:
        self.durable = Lsn(0) if durable is None else durable
        """End of what is durable. Set by the log's thread only; readers never pass it."""
        self._lock = threading.Lock()
        self._segments = sorted(segments, key=lambda segment: segment.base)
        self._bases = [segment.base for segment in self._segments]
        self._idle: OrderedDict[int, int] = OrderedDict()
        """Base to open descriptor, least recently used first; a descriptor in use is not in here."""

    def add(self, segment: Segment) -> None:
        """Adds a segment whose base exceeds all others."""
        with self._lock:
            self._segments.append(segment)
            self._bases.append(segment.base)

    def discard(self, segment: Segment) -> None:
        """Takes a segment out; reads of it that are under way finish."""
        with self._lock:
            index = bisect_left(self._bases, segment.base)
            if index < len(self._bases) and self._bases[index] == segment.base:
                del self._segments[index], self._bases[index]
            fd = self._idle.pop(segment.base, None)
        if fd is not None:
            os.close(fd)

    def segments(self) -> list[Segment]:
        """All segments, oldest first."""
        with self._lock:
            return list(self._segments)

    def holding(self, lsn: Lsn) -> Segment | None:
        """The segment in whose range of positions `lsn` lies."""
        with self._lock:
            index = bisect_right(self._bases, lsn) - 1
            if index < 0:
                return None
            segment = self._segments[index]
        return segment if lsn < segment.base + segment.capacity else None

    def unread(self, position: Lsn) -> Segment | None:
        """The oldest segment that has, or may get, entries at or behind `position`."""
        with self._lock:
            index = max(0, bisect_right(self._bases, position) - 1)
            for segment in self._segments[index:]:
                if segment.end is None or segment.end > max(position, segment.first):
                    return segment
        return None

    def seal(self, segment: Segment, end: Lsn) -> None:
        """States where a segment ends."""
        with self._lock:
            segment.end = end

    def schema(self, schema_id: bytes) -> bytes:
        """The raw schema as declared in any segment, read from there. Raises DamagedEntry if no declaration of it survives, and
        OSError if the disk fails."""
        with self._lock:
            found = [segment.schemas.get(schema_id) for segment in reversed(self._segments)]
        for declared in filter(None, found):
            try:
                return bytes(self.read_payload(declared.place)[: declared.length])
            except DamagedEntry:
                # There may be an older one.
                continue
        raise DamagedEntry(f"schema {schema_id.hex()} is not declared anywhere in the log")

    @contextmanager
    def opened(self, segment: Segment) -> Iterator[int]:
        """A descriptor for reading, this thread's own until the block ends. Raises DamagedEntry if the file is gone."""
        with self._lock:
            fd = self._idle.pop(segment.base, None)
        if fd is None:
            try:
                fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise DamagedEntry(f"segment {segment.path.name} is gone") from error
        try:
            yield fd
        finally:
            self._give_back(segment, fd)

    def _give_back(self, segment: Segment, fd: int) -> None:
        surplus: int | None = fd
        with self._lock:
            index = bisect_left(self._bases, segment.base)
            alive = index < len(self._bases) and self._segments[index] is segment
            if alive and segment.base not in self._idle:
                self._idle[segment.base] = fd
                surplus = self._idle.popitem(last=False)[1] if len(self._idle) > OPEN_FILES else None
        if surplus is not None:
            os.close(surplus)

    def read_payload(self, stored: Stored | Place, into: bytearray | None = None) -> memoryview:
        """The payload of an entry, verified. Callable from any thread.

        It is read into `into` where that is large enough (payload and 96 bytes), else into fresh memory; the view belongs to
        the caller until he reuses `into`. Raises DamagedEntry, and OSError if the disk fails.
        """
        segment = self.holding(stored.lsn)
        if segment is None:
            raise DamagedEntry(f"the segment of entry {stored.lsn} is gone")
        length = ENTRY_HEADER_BYTES + stored.length
        buffer = into if into is not None and len(into) >= length else bytearray(length)
        view = memoryview(buffer)[:length]
        with self.opened(segment) as fd:
            count = read_into(fd, view, stored.lsn - segment.base)
        payload = view[ENTRY_HEADER_BYTES:]
        head = parse(view, segment.marker, segment.seed, stored.lsn) if count == length else None
        if (
            head is None
            or head.stored.length != stored.length
            or checksum(payload, segment.seed) != head.payload_checksum
        ):
            raise DamagedEntry(f"entry {stored.lsn} in {segment.path.name} does not fit its checksum")
        return payload

    def close(self) -> None:
        """Closes descriptors that nobody uses."""
        with self._lock:
            idle = list(self._idle.values())
            self._idle.clear()
        for fd in idle:
            os.close(fd)
