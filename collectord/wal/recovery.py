"""From a directory as a crash left it to a log that can be read and written again.

Promises: what was acknowledged is either readable afterwards or reported as damage, with a copy in quarantine; what was
reported as failed stays void once a later segment says so; damaged content never raises. Nothing is changed before every
header has been looked at, so a spool of a later version is left as it is. One thread, before the writer starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collectord.errors import SpoolUnusable
from collectord.model import Lsn
from collectord.spoolfiles import LOG_DIRECTORY, QUARANTINE_DIRECTORY
from collectord.wal.counts import Tally
from collectord.wal.damage import Damage, Loss, SetAside
from collectord.wal.disk import NO_SPACE, Disk, read_into, write_all
from collectord.wal.quarantine import Quarantine
from collectord.wal.scan import Scan
from collectord.wal.segment import HEADER_ALIGNMENT, SPARE_SUFFIX, UNFINISHED_SUFFIX, Segment, align
from collectord.wal.survey import SegmentFile, survey


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the log holds at a start."""

    segments: tuple[Segment, ...]
    """Oldest first, all sealed."""
    end: Lsn
    """Where the last entry ends that counts; the first segment of this run names it."""
    next_base: Lsn
    """Base of the first segment of this run: exceeds every LSN in the log and the floor."""
    counts: Tally
    damages: tuple[Damage, ...]
    losses: tuple[Loss, ...]
    """What `damages` means in rows per stream. Complete but for the newest segment, of which it holds what is known."""
    set_aside: tuple[SetAside, ...]
    spares: tuple[Path, ...]
    entries: int
    """Entries that can be read, declarations included."""


def recover(
    directory: Path,
    spool_id: bytes,
    floor: int = 0,
    *,
    disk: Disk | None = None,
    quarantine: Path | None = None,
    needed_from: Lsn | None = None,
) -> Recovered:
    """Reads the whole log in `directory` (SPOOL/log, made if absent), which belongs to the spool `spool_id`.

    `floor` is the highest LSN known elsewhere (the ledger's); `needed_from`: see `survey`. Raises FormatTooNew, before anything is
    changed, and SpoolUnusable if the directory or the disk does not let itself be read and synced.
    """
    disk = disk or Disk()
    store = Quarantine(quarantine or directory.parent / QUARANTINE_DIRECTORY / LOG_DIRECTORY)
    try:
        disk.make_directory(directory)
        return _recover(directory, spool_id, floor, disk, store, needed_from)
    except OSError as error:
        raise SpoolUnusable(f"the log in {directory} cannot be recovered: {error}") from error


def _recover(
    directory: Path, spool_id: bytes, floor: int, disk: Disk, store: Quarantine, needed_from: Lsn | None
) -> Recovered:
    paths = sorted(directory.iterdir())
    found = survey(paths, spool_id, needed_from=needed_from)
    walk = found.walk
    damages = tuple(store.copy(damage, walk.path_of(damage)) for damage in walk.damages)
    if found.files:
        _make_tail_durable(found.files[-1], walk.scans[-1], disk)
    set_aside = tuple(SetAside(store.move(one.path), one.reason) for one in found.refused)
    for path in paths:
        if path.suffix == UNFINISHED_SUFFIX and path.is_file():
            disk.remove(path)
    return Recovered(
        segments=walk.segments,
        end=walk.end,
        next_base=Lsn(align(max(floor + 1, found.highest, walk.end + 1), HEADER_ALIGNMENT)),
        counts=walk.counts,
        damages=damages,
        losses=tuple(walk.losses),
        set_aside=set_aside,
        spares=tuple(path for path in paths if path.suffix == SPARE_SUFFIX and path.is_file()),
        entries=sum(one.entries for one in walk.scans),
    )


def _make_tail_durable(file: SegmentFile, found: Scan, disk: Disk) -> None:
    """Writes the last group once more and syncs it.

    After a failed sync, or a kill before it, the page cache may show what the disk does not hold; marks are rebuilt and
    answered from these entries, so they must be on disk before anybody hears of them.
    """
    fd = disk.open(file.path)
    try:
        begin = max(file.first, found.durable)
        if found.end > begin:
            buffer = memoryview(bytearray(found.end - begin))
            read_into(fd, buffer, begin - file.base)
            try:
                write_all(disk, fd, [buffer], begin - file.base)
            except OSError as error:
                # A copy-on-write file system may have no room even for that; the sync below still tells.
                if error.errno not in NO_SPACE:
                    raise
        disk.sync(fd)
    finally:
        disk.close(fd)
