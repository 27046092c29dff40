"""What a start would find in a spool's log and parked files, told without changing anything; also beside a running daemon."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from collectord.model import Lsn
from collectord.wal.damage import Damage, Loss
from collectord.wal.loose import loose_files
from collectord.wal.parkedstate import ParkedState, parked_states
from collectord.wal.segment import SEGMENT_SUFFIX
from collectord.wal.survey import Refused, Survey, survey

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment."""

    path: Path
    base: Lsn
    end: Lsn
    """Where its last entry ends that counts; `base` if it has none."""
    file_bytes: int
    entries: int
    """That can be read, declarations included."""
    batches: int
    rows: int
    """Of the batches that can be read."""
    tail_bytes: int
    """Bytes of good-looking entries behind the end, which were never acknowledged."""
    damages: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A whole log and what was parked of it; says nothing of rows in quarantine."""

    segments: tuple[SegmentState, ...]
    refused: tuple[Refused, ...]
    """Files that the next start will set aside."""
    losses: tuple[Loss, ...]
    quarantined: tuple[Path, ...]
    """What earlier starts have put into quarantine; says nothing about the log as it is now."""
    parked: tuple[ParkedState, ...] = ()
    missing: tuple[Lsn, ...] = ()
    """Bases of parked files that are noted and not there."""

    @property
    def log_clean(self) -> bool:
        """Whether all that was acknowledged can be read in the log and nothing is there that does not belong."""
        return not (self.refused or self.losses or any(one.damages for one in self.segments))

    @property
    def parked_clean(self) -> bool:
        """The same of what is parked."""
        return not self.missing and all(one.clean for one in self.parked)

    @property
    def clean(self) -> bool:
        return self.log_clean and self.parked_clean


def verify(
    log: Path,
    quarantine: Path,
    spool_id: bytes | None = None,
    *,
    noted: Callable[[], Collection[Lsn]] = tuple,
    needed_from: Callable[[], Lsn | None] = lambda: None,
) -> Verdict:
    """Reads every byte of the log and of the parked files beside it, and judges them as a start would.

    `noted` gives the bases of the parked files that there should be, `needed_from` what `survey` asks for. Without `spool_id`
    the spool that most headers name is taken for the right one. Raises FormatTooNew, and OSError if the directory cannot be
    read. A running daemon retires and recycles files meanwhile: those are left out, and what looks damaged while the
    directory changes is looked at again.
    """
    for _ in range(_ATTEMPTS):
        before = _listed(log)
        # Asked after the listing: a daemon notes what is not needed before it retires it.
        found = survey(before, spool_id, live=True, needed_from=needed_from())
        verdict = _verdict(found, quarantine, *look_at_parked(log, found.spool_id or None, noted))
        if verdict.clean or _listed(log) == before:
            break
    return verdict


def look_at_parked(
    log: Path, spool_id: bytes | None, noted: Callable[[], Collection[Lsn]]
) -> tuple[tuple[ParkedState, ...], tuple[Lsn, ...]]:
    """The parked files beside a log, and the bases of those that are missing."""
    before = set(noted())
    states = parked_states(log.parent / "parked", spool_id)
    # A running daemon notes a file after it was made, and forgets it before it goes.
    missing = before & set(noted()) - {one.base for one in states}
    return tuple(states), tuple(sorted(missing))


def _listed(log: Path) -> list[Path]:
    return sorted(path for path in log.iterdir() if path.suffix == SEGMENT_SUFFIX)


def _verdict(found: Survey, quarantine: Path, parked: tuple[ParkedState, ...], missing: tuple[Lsn, ...]) -> Verdict:
    walk = found.walk
    states = []
    for file, segment, one, (batches, rows) in zip(found.files, walk.segments, walk.scans, walk.held, strict=True):
        if file.path in walk.vanished:
            continue
        assert segment.end is not None
        states.append(
            SegmentState(
                path=file.path,
                base=file.base,
                end=segment.end,
                file_bytes=file.size,
                entries=one.entries,
                batches=batches,
                rows=rows,
                tail_bytes=max(0, one.beyond - one.end),
                damages=tuple(damage for damage in walk.damages if damage.segment == file.base),
            )
        )
    aside = tuple(loose_files(quarantine))
    return Verdict(tuple(states), found.refused, tuple(walk.losses), aside, parked, missing)
