"""Which segments are free and what becomes of their files."""

from __future__ import annotations

from pathlib import Path

from collectord.model import Lsn
from collectord.wal.retention import MAX_SPARES, dispose, free
from collectord.wal.segment import Segment


def segment(number: int, *, entries: bool = True, active: bool = False, **changes: object) -> Segment:
    base = Lsn(number * 65536)
    end = None if active else Lsn(base + 60000) if entries else base
    made = Segment(Path(f"{base}.seg"), base, Lsn(base + 4096), 65536, b"8 random", end, size=65536)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_free_is_what_ends_before_the_position_or_holds_nothing_but_never_the_newest() -> None:
    log = [segment(1), segment(2), segment(3, entries=False), segment(4), segment(5)]
    assert free(log, Lsn(0)) == [log[2]]
    assert free(log, Lsn(65536 + 59999)) == [log[2]]
    assert free(log, Lsn(65536 + 60000)) == [log[0], log[2]]
    assert free(log, Lsn(1 << 40)) == log[:4]
    assert free([segment(1, active=True)], Lsn(1 << 40)) == free([], Lsn(5)) == []


def test_at_most_two_files_are_kept_and_only_usual_ones() -> None:
    freed = [segment(1, recyclable=False), segment(2, size=100), segment(3), segment(4), segment(5)]
    disposal = dispose(freed, 0, 65536, 5 * 65536, 1 << 30)
    assert (disposal.recycle, disposal.unlink) == ((freed[2], freed[3]), (freed[0], freed[1], freed[4]))
    assert dispose(freed, MAX_SPARES, 65536, 5 * 65536, 1 << 30).unlink == tuple(freed)


def test_nothing_is_kept_over_the_budget() -> None:
    freed = [segment(1), segment(2), segment(3)]
    assert dispose(freed, 0, 65536, 10 * 65536, 9 * 65536).unlink == (freed[0],)
    assert dispose(freed, 0, 65536, 10 * 65536, 65536).recycle == ()
