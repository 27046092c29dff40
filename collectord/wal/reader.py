"""Hands out what is in the log, in order: the same code live and after a crash.

It reads headers only, up to what is durable; payloads are fetched by whoever needs them. Declarations are not handed out:
ask `schema`. Ranges that recovery found damaged are stepped over; what goes bad later is skipped, and listed in `damages`.
"""

from __future__ import annotations

from collectord.model import EntryKind, Lsn, Place, Stored
from collectord.wal.catalog import Catalog
from collectord.wal.damage import Damage, DamagedEntry
from collectord.wal.disk import Window
from collectord.wal.framing import ENTRY_HEADER_BYTES, parse
from collectord.wal.scan import Extent, find_entry
from collectord.wal.segment import Segment

_CHUNK_BYTES = 256 << 10
_SMALL_ENTRY_BYTES = 16 << 10
_PAGE_BYTES = 4096


class LogReader:
    """A position in the log. `read` belongs to one thread; `read_payload` and `schema` may be called from any."""

    def __init__(self, log: Catalog, start: Lsn) -> None:
        """`start` is where an entry begins or ends, or any LSN below the log's first."""
        self._log = log
        self.position = start
        """Where the next entry to be read begins, or a position before it."""
        self.damages: list[Damage] = []
        """Found while reading, after recovery had found the bytes good; the caller may clear it."""
        self._window = Window(-1, _CHUNK_BYTES)

    def read(self, limit: int) -> list[Stored]:
        """The next entries, at most `limit`; empty when caught up. Raises OSError if the disk fails."""
        entries: list[Stored] = []
        while len(entries) < limit:
            # Before the segment is looked up: a segment sealed in between then ends at or behind it.
            durable = self._log.durable
            segment = self._log.unread(self.position)
            if segment is None:
                break
            end = durable if segment.end is None else segment.end
            position = max(self.position, segment.first)
            if position >= end:
                break
            try:
                with self._log.opened(segment) as fd:
                    self._walk(segment, fd, position, Lsn(end), limit, entries)
            except DamagedEntry:
                # Its file is gone: there is nothing to wait for.
                self.damages.append(Damage(segment.base, Lsn(position), Lsn(end), "missing segment"))
                self.position = Lsn(end)
            except OSError:
                # The position has passed what was gathered, so that is handed out first; the next call meets the error again.
                if not entries:
                    raise
                break
        return entries

    def schema(self, schema_id: bytes) -> bytes:
        """The raw bytes of a schema that an entry names. Raises DamagedEntry if no declaration of it survives."""
        return self._log.schema(schema_id)

    def read_payload(self, stored: Stored | Place, into: bytearray | None = None) -> memoryview:
        """See `Catalog.read_payload`."""
        return self._log.read_payload(stored, into)

    def _walk(self, segment: Segment, fd: int, position: int, end: Lsn, limit: int, entries: list[Stored]) -> None:
        """Reads on in one segment until it ends, or `limit` is reached."""
        base, marker, seed = segment.base, segment.marker, segment.seed
        gaps = dict(segment.gaps)
        window = self._window
        # What was read ahead last time may have been written since.
        window.look_at(fd)
        ahead = _CHUNK_BYTES
        try:
            while position < end and len(entries) < limit:
                if gaps and position in gaps:
                    position = gaps[Lsn(position)]
                    continue
                want = min(ahead, end - position)
                head = parse(window.at(position - base, ENTRY_HEADER_BYTES, want), marker, seed, position)
                if head is None or head.stored.end > end:
                    following = self._skip(segment, window, position, end)
                    self.damages.append(Damage(base, Lsn(position), following, "entry"))
                    position = following
                    continue
                stored = head.stored
                position = stored.end
                # Reading ahead pays while several headers lie in a chunk.
                ahead = _CHUNK_BYTES if stored.length < _SMALL_ENTRY_BYTES else _PAGE_BYTES
                if stored.kind is not EntryKind.DECLARE:
                    entries.append(stored)
        finally:
            # Also where the disk fails in the middle: what was gathered is not read again.
            self.position = Lsn(position)

    def _skip(self, segment: Segment, window: Window, position: int, end: Lsn) -> Lsn:
        extent = Extent(segment.base, segment.first, segment.marker, end, Lsn(0))
        return find_entry(window, extent, position + 8) or end
