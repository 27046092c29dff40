"""Where segments come from and where they go: spares, fresh files, the budget.

Threads: `begin` is called by the log's thread, `retire` by the pipeline's; the lock guards the spares and the bytes in use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from collectord.clock import Clock
from collectord.errors import SpoolFull
from collectord.model import Lsn
from collectord.wal.catalog import Catalog
from collectord.wal.counts import Tally
from collectord.wal.disk import NO_SPACE, Disk, write_all
from collectord.wal.recovery import Recovered
from collectord.wal.retention import dispose, free
from collectord.wal.segment import (
    HEADER_ALIGNMENT,
    SPARE_SUFFIX,
    UNFINISHED_SUFFIX,
    Active,
    Segment,
    SegmentHeader,
    align,
    segment_name,
)


class Supply:
    """Begins segments and disposes of them."""

    def __init__(
        self,
        directory: Path,
        spool_id: bytes,
        recovered: Recovered,
        catalog: Catalog,
        *,
        segment_bytes: int,
        budget_bytes: int,
        clock: Clock,
        disk: Disk,
        random: Callable[[int], bytes],
    ) -> None:
        self._directory = directory
        self._spool_id = spool_id
        self._catalog = catalog
        self.segment_bytes = align(segment_bytes, HEADER_ALIGNMENT)
        self.budget_bytes = budget_bytes
        self._clock = clock
        self._disk = disk
        self._random = random
        self._next_base: int = recovered.next_base
        self.haunted = False
        """Whether a segment that failed may come back after a power loss, and void what is written before another is begun.

        The next one that is begun has the same base and takes its name. The log's thread only."""
        self._lock = threading.Lock()
        self._retiring = threading.Lock()
        self._spares: list[tuple[Path, int]] = [(path, path.stat().st_size) for path in recovered.spares]
        self._used = sum(segment.size for segment in recovered.segments) + sum(size for _, size in self._spares)

    @property
    def used_bytes(self) -> int:
        """Bytes of all files: segments and spares."""
        return self._used

    @property
    def next_bytes(self) -> int:
        """Bytes of the disk that the next segment takes; 0 where there is a spare one."""
        return 0 if self._spares else self.segment_bytes

    def _no_inodes(self) -> bool:
        """Whether the disk can hold no more files, however much room it has: the same error, and other help."""
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return False
        return found.f_files > 0 and found.f_favail == 0

    def begin(self, previous_end: Lsn, counts: Tally, need: int) -> Active:
        """Begins a segment that has room for `need` bytes of entries, its header durable, and adds it to the catalog.

        Raises SpoolFull if budget or disk leave no room, else OSError; in both cases nothing has changed.
        """
        base = Lsn(self._next_base)
        header = SegmentHeader(self._random(16), self._spool_id, base, previous_end, 0, self._clock.wall_ns(), counts)
        # The length of the header does not depend on the capacity, which needs it.
        length = len(header.pack())
        capacity = max(self.segment_bytes, align(length + need, HEADER_ALIGNMENT))
        header = SegmentHeader(header.id, self._spool_id, base, previous_end, capacity, header.created_ns, counts)
        path = self._directory / segment_name(base)
        try:
            fd, source = self._file(capacity, path)
        except OSError as error:
            if error.errno in NO_SPACE:
                what = "inodes" if self._no_inodes() else "room"
                raise SpoolFull(f"the disk has no {what} for a segment of {capacity} bytes") from error
            raise
        try:
            write_all(self._disk, fd, [header.pack()], 0)
            self._disk.sync(fd)
        except OSError:
            self._abandon(fd, source, capacity)
            raise
        try:
            self._disk.rename(source, path)
        except OSError:
            self._abandon(fd, source, capacity)
            self._unname(path)
            raise
        self.haunted = False
        self._next_base = base + capacity
        segment = Segment(path, base, Lsn(base + length), capacity, header.marker, size=capacity)
        self._catalog.add(segment)
        return Active(segment, fd)

    def _file(self, capacity: int, path: Path) -> tuple[int, Path]:
        """A file of `capacity` bytes that is counted as in use: a spare, or a fresh one within the budget."""
        with self._lock:
            fitting = next((spare for spare in self._spares if spare[1] == capacity), None)
            if fitting is not None:
                self._spares.remove(fitting)
            else:
                self._make_room(capacity)
                self._used += capacity
        try:
            if fitting is not None:
                return self._disk.open(fitting[0]), fitting[0]
            source = path.with_suffix(UNFINISHED_SUFFIX)
            return self._disk.create(source, capacity), source
        except OSError:
            with self._lock:
                self._used -= capacity
            raise

    def _make_room(self, capacity: int) -> None:
        """Gives up spares of another size where the budget asks for it. Called with the lock held."""
        while self._spares and self._used + capacity > self.budget_bytes:
            misfit, size = self._spares[-1]
            self._disk.remove(misfit)
            self._spares.pop()
            self._used -= size
        if self._used + capacity > self.budget_bytes:
            raise SpoolFull(f"the log's budget is used up: {self._used} of {self.budget_bytes} bytes")

    def _abandon(self, fd: int, source: Path, capacity: int) -> None:
        """Forgets a file that failed before it became a segment."""
        self._disk.close(fd)
        self._disk.discard(source)
        with self._lock:
            self._used -= capacity

    def _unname(self, path: Path) -> None:
        """Takes back the name of a segment whose rename failed, for good or not at all."""
        try:
            self._disk.remove(path)
        except OSError:
            # On disk it may be there, and come back after a power loss.
            self.haunted = True

    def retire(self, before: Lsn) -> None:
        """Recycles or unlinks every segment that ends at or before `before`; needs no free space.

        Raises OSError; what was not disposed of then is with the next call.
        """
        with self._retiring:
            with self._lock:
                freed = free(self._catalog.segments(), before)
                disposal = dispose(freed, len(self._spares), self.segment_bytes, self._used, self.budget_bytes)
            kept = set(map(id, disposal.recycle))
            # Oldest first: a crash in between, or whoever looks on, must not find a hole in the log.
            for segment in freed:
                spare = segment.path.with_suffix(SPARE_SUFFIX)
                if id(segment) in kept:
                    # If this fails, it may have its new name all the same: next time it is unlinked under both.
                    segment.recyclable = False
                    self._disk.rename(segment.path, spare)
                else:
                    if not segment.recyclable:
                        self._disk.discard(spare)
                    self._disk.remove(segment.path)
                self._catalog.discard(segment)
                with self._lock:
                    if id(segment) in kept:
                        self._spares.append((spare, segment.size))
                    else:
                        self._used -= segment.size
