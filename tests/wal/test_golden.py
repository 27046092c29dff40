"""What a released version wrote is read to the same entries, for ever."""

from __future__ import annotations

import shutil
from pathlib import Path

from collectord.model import Lsn
from collectord.wal.catalog import Catalog
from collectord.wal.reader import LogReader
from collectord.wal.recovery import recover
from collectord.wal.segment import VERSION, segment_name
from tests.wal.golden import GOLDEN, GROUPS, VERSION_1, build
from tests.wal.spool import SPOOL_ID


def test_there_is_a_golden_file_for_every_version() -> None:
    assert sorted(p.name.split(".")[1] for p in GOLDEN.iterdir()) == [f"v{n}" for n in range(1, VERSION + 1)]


def test_the_golden_log_of_version_1_is_read_to_the_same_entries(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    shutil.copy(VERSION_1, log / segment_name(4096))
    recovered = recover(log, SPOOL_ID)
    assert (recovered.damages, recovered.losses, recovered.set_aside) == ((), (), ())
    reader = LogReader(Catalog(recovered.segments, recovered.end), Lsn(0))
    entries = [entry for group in GROUPS for entry in group]
    stored = reader.read(100)
    assert [
        (s.kind, s.client, s.sequence, s.rows, bytes(reader.read_payload(s)), s.start_hour, s.boundary_minutes)
        for s in stored
    ] == [
        (
            e.kind,
            e.client,
            e.sequence,
            e.rows,
            e.payload,
            e.partition.start_hour if e.partition else 0,
            e.partition.boundary_minutes if e.partition else 0,
        )
        for e in entries
    ]
    for s, e in zip(stored, entries, strict=True):
        assert e.schema is None or (s.schema_id, reader.schema(s.schema_id)) == (e.schema.id, e.schema.raw)


def test_this_version_still_writes_the_same_bytes(tmp_path: Path) -> None:
    assert build(tmp_path) == VERSION_1.read_bytes()
