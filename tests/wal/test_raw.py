"""What stands where an entry was written, and whether it is still that."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord.model import Lsn, Place
from collectord.wal.damage import DamagedEntry
from collectord.wal.raw import read_raw
from collectord.wal.reader import LogReader
from tests.wal.spool import Spool, batch


@pytest.mark.parametrize(
    ("at", "header", "good"), [(None, True, True), (96, True, False), (40, False, False)],
    ids=["as written", "payload", "header"],
)  # fmt: skip
def test_bytes_are_given_as_they_are(tmp_path: Path, at: int | None, header: bool, good: bool) -> None:
    """A damaged header takes client and rows with it; the payload's bytes are given in any case."""
    spool = Spool(tmp_path)
    spool.commit(batch(1, b"first"), batch(2, b"second"))
    (_, stored) = LogReader(spool.writer.catalog, Lsn(0)).read(10)
    (segment,) = spool.writer.catalog.segments()
    if at is not None:
        with segment.path.open("r+b") as file:
            file.seek(stored.lsn - segment.base + at)
            file.write(b"\xff")
    raw = read_raw(spool.writer.catalog, Place(stored.lsn, stored.length))
    assert (raw.stored is not None, raw.good) == (header, good)
    assert raw.payload == (b"\xffecond" if at == 96 else b"second")


def test_an_entry_whose_segment_is_gone_is_damage(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(DamagedEntry):
        read_raw(spool.writer.catalog, Place(Lsn(1 << 40), 10))
