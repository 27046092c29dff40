"""Mends a log that no daemon writes: puts back what copies still hold, then does what a start would do.

Only what is certain is put back: an entry that stands whole in a copy of the same segment (same marker, same position)
where the log's own bytes are damaged; a segment that has lost header and name. What an earlier start has
already reported is left alone: the daemon has written those rows off, and putting them back would make its books wrong;
`wal export` reads them. Whatever is changed is copied to SPOOL/quarantine/repair/<time>/ first. May be repeated: a repair that was cut short
is finished by the next one. One thread, under the spool's lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from collectord import files
from collectord.clock import Clock, SystemClock
from collectord.errors import SpoolInUse, SpoolUnusable
from collectord.model import Lsn
from collectord.spoolfiles import LOCK_FILE
from collectord.wal.damage import Damage
from collectord.wal.disk import Disk, write_all
from collectord.wal.loose import Loose, base_by_proof, loose_entries, loose_files
from collectord.wal.recovery import Recovered, recover
from collectord.wal.segment import SEGMENT_SUFFIX, UNFINISHED_SUFFIX, read_header, segment_name
from collectord.wal.survey import Survey, survey


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes that are put back into a segment."""

    segment: Path
    offset: int
    raw: bytes = field(repr=False)
    source: Path
    what: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Renaming:
    """A segment that gets its name back."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What a repair does, decided before anything is changed."""

    patches: tuple[Patch, ...]
    renamings: tuple[Renaming, ...]
    unfinished: tuple[Path, ...]
    """Files of segments that were never begun."""
    written_off: tuple[Path, ...]
    """Copies in quarantine of damage that an earlier start has reported."""
    found: Survey

    def lines(self) -> list[str]:
        """One line per change that is certain, in words."""
        said = [f"{one.target.name}: gets its name back (was {one.source.name})" for one in self.renamings]
        said += [
            f"{one.segment.name}: {one.what} put back from {one.source.name}"
            + (f", {one.rows:,} rows" if one.rows else "")
            for one in self.patches
        ]
        said += [f"{one.name}: an unfinished segment, moved away" for one in self.unfinished]
        return said


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did."""

    plan: Plan
    recovered: Recovered
    """As a start finds the log now."""
    backup: Path | None
    """Copies of what was changed; None if nothing was."""


@contextmanager
def locked(spool: Path, *, writable: bool = True) -> Iterator[None]:
    """Holds the spool's lock. Raises SpoolInUse while a daemon, or another repair, runs on it; SpoolUnusable without a spool.

    `writable` False: for who only looks; the spool may lie on a disk that cannot be written.
    """
    try:
        lock = files.try_lock(spool / LOCK_FILE, writable=writable) if spool.is_dir() else None
    except OSError as error:
        raise SpoolUnusable(f"spool: {spool}/{LOCK_FILE} cannot be opened: {error.strerror}") from error
    if lock is None:
        if not spool.is_dir():
            raise SpoolUnusable(f"spool: {spool} is not a directory")
        raise SpoolInUse(f"a daemon runs on the spool {spool}; stop it first")
    try:
        yield
    finally:
        os.close(lock)


def plan_repair(log: Path, quarantine: Path, spool_id: bytes | None = None, needed_from: Lsn | None = None) -> Plan:
    """What can be put back; `needed_from`: see `survey`. Changes nothing. Raises FormatTooNew, and OSError if something cannot be read."""
    paths = sorted(log.iterdir())
    found = survey(paths, spool_id, needed_from=needed_from)
    renamings = []
    taken = {file.base for file in found.files}
    for one in found.refused:
        base = base_by_proof(one.path) if one.reason == "name" else None
        if base is not None and base not in taken:
            taken.add(base)
            renamings.append(Renaming(one.path, log / segment_name(base)))
    loose = loose_files(quarantine)
    donors = [one.path for one in found.refused if one.reason in ("duplicate", "name", "foreign", "overlap")]
    donors += [path for path in loose if SEGMENT_SUFFIX in path.name]
    unfinished = tuple(path for path in paths if path.suffix == UNFINISHED_SUFFIX and path.is_file())
    copies = tuple(path for path in loose if SEGMENT_SUFFIX not in path.name)
    reported = {path.stem for path in copies}
    return Plan(tuple(_patches(found, donors, reported)), tuple(renamings), unfinished, copies, found)


def _patches(found: Survey, donors: Sequence[Path], reported: set[str]) -> Iterator[Patch]:
    """For every damage that no start has reported yet, whatever a donor holds of it."""
    damages = [one for one in found.walk.damages if f"{one.from_lsn:020d}" not in reported]
    if not damages or not donors:
        return
    headless = {one.segment for one in damages if one.reason == "header"}
    ranges = _ranges(damages)
    covered: set[tuple[bytes, Lsn]] = set()
    for donor in donors:
        yield from _header_patches(found, donor, headless)
        for entry in loose_entries(donor):
            stored = entry.stored
            for file in found.files:
                fits = any(begin <= stored.lsn and stored.end <= end for begin, end in ranges.get(file.base, ()))
                if fits and entry.marker == file.marker and (entry.marker, stored.lsn) not in covered:
                    covered.add((entry.marker, stored.lsn))
                    yield _patch(file.path, file.base, entry, donor)


def _ranges(damages: Sequence[Damage]) -> dict[Lsn, list[tuple[Lsn, Lsn]]]:
    """Damaged positions by segment; what touches is one range, because an entry may be torn where a file was cut."""
    ranges: dict[Lsn, list[tuple[Lsn, Lsn]]] = {}
    for damage in sorted(damages, key=lambda one: one.from_lsn):
        if damage.reason == "missing segment":
            continue
        known = ranges.setdefault(damage.segment, [])
        if known and known[-1][1] >= damage.from_lsn:
            known[-1] = (known[-1][0], max(known[-1][1], damage.to_lsn))
        else:
            known.append((damage.from_lsn, damage.to_lsn))
    return ranges


def _patch(segment: Path, base: Lsn, entry: Loose, donor: Path) -> Patch:
    stored = entry.stored
    kind = stored.kind.name.lower()
    return Patch(segment, stored.lsn - base, entry.raw, donor, f"{kind} at {stored.lsn}", stored.rows)


def _header_patches(found: Survey, donor: Path, headless: set[Lsn]) -> Iterator[Patch]:
    if not headless:
        return
    fd = os.open(donor, os.O_RDONLY | os.O_CLOEXEC)
    try:
        read = read_header(fd)
    finally:
        os.close(fd)
    for file in found.files:
        if read is not None and file.base in headless and file.base == read[0].base and file.marker == read[0].marker:
            yield Patch(file.path, 0, read[0].pack(), donor, "the header")
            headless.discard(file.base)


def repair(
    log: Path,
    quarantine: Path,
    spool_id: bytes,
    floor: int = 0,
    *,
    disk: Disk | None = None,
    clock: Clock | None = None,
    needed_from: Lsn | None = None,
) -> Repaired:
    """Carries out `plan_repair`, then recovers as a start does. Call it under `locked`.

    Raises FormatTooNew before anything is changed, SpoolUnusable where the disk does not let itself be read and written.
    """
    disk = disk or Disk()
    try:
        plan = plan_repair(log, quarantine, spool_id, needed_from)
        backup = _mend(plan, quarantine.parent / "repair", disk, clock or SystemClock())
    except OSError as error:
        raise SpoolUnusable(f"the log in {log} cannot be repaired: {error}") from error
    return Repaired(
        plan, recover(log, spool_id, floor, disk=disk, quarantine=quarantine, needed_from=needed_from), backup
    )


def _mend(plan: Plan, backups: Path, disk: Disk, clock: Clock) -> Path | None:
    if not (plan.patches or plan.renamings or plan.unfinished):
        return None
    stamp = datetime.fromtimestamp(clock.wall_ns() / 1e9, timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    backup, number = backups / stamp, 0
    while backup.exists():
        number += 1
        backup = backups / f"{stamp}.{number}"
    files.make_private_directory(backup)
    changed = [*(one.segment for one in plan.patches), *(one.source for one in plan.renamings), *plan.unfinished]
    for path in dict.fromkeys(changed):
        files.write_durably(backup / path.name, path.read_bytes())
    for directory in (backup.parent, backup.parent.parent):
        files.sync_directory(directory)
    for segment in dict.fromkeys(one.segment for one in plan.patches):
        fd = disk.open(segment)
        try:
            for patch in plan.patches:
                if patch.segment == segment:
                    write_all(disk, fd, [patch.raw], patch.offset)
            disk.sync(fd)
        finally:
            disk.close(fd)
    for renaming in plan.renamings:
        disk.rename(renaming.source, renaming.target)
    for path in plan.unfinished:
        disk.remove(path)
    return backup
