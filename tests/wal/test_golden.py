"""What a released version wrote is read to the same entries, for ever; what a later one wrote is refused and left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from collectord.errors import FormatTooNew
from collectord.wal.export import batches_of_file, batches_of_spool
from collectord.wal.recovery import Recovered, recover
from collectord.wal.repair import repair
from collectord.wal.segment import MAGIC, SPARE_SUFFIX, UNFINISHED_SUFFIX, VERSION
from collectord.wal.verify import verify
from tests.wal.golden import GOLDEN, GROUPS, LOGS, MANY, RETIRED, VERSION_1, entry_of_many
from tests.wal.spool import SPOOL_ID, Spool, batch, payloads, reading


def laid_out(tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(VERSION_1 / name, tmp_path / "log"))


def sound(recovered: Recovered) -> bool:
    return (recovered.damages, recovered.losses, recovered.set_aside) == ((), (), ())


def test_there_is_a_golden_log_for_every_version() -> None:
    assert sorted(p.name for p in GOLDEN.iterdir()) == [f"v{n}" for n in range(1, VERSION + 1)]
    assert sorted(p.name for p in VERSION_1.iterdir()) == sorted(LOGS)


def test_the_golden_log_of_version_1_is_read_to_the_same_entries(tmp_path: Path) -> None:
    recovered = recover(laid_out(tmp_path, "one"), SPOOL_ID)
    assert sound(recovered)
    entries = [entry for group in GROUPS for entry in group]
    with reading(recovered) as reader:
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


def test_the_golden_log_of_several_segments_is_read_and_written_on(tmp_path: Path) -> None:
    """With void entries of a failed sync, and old entries of a file that was used again."""
    log = laid_out(tmp_path, "many")
    assert len(list(log.glob("*.seg"))) >= 3
    numbers = [number for number, _ in payloads(recover(log, SPOOL_ID))]
    assert numbers == list(range(numbers[0], MANY + 1)) and numbers[0] <= RETIRED + 1
    files = b"".join(path.read_bytes() for path in log.iterdir())
    assert any(bytes(entry_of_many(n).payload) in files for n in range(1, numbers[0]) if n), "no file was used again"
    spool = Spool(tmp_path, segment_bytes=8192)
    assert sound(spool.recovered)
    assert sum(counts.rows for counts in spool.writer.counts().values()) == sum(range(1, MANY + 1))
    assert spool.commit(batch(MANY + 1, b"added")) is None
    spool.writer.close()
    assert [number for number, _ in payloads(spool.recover())] == [*numbers, MANY + 1]


@pytest.mark.parametrize("name", LOGS)
def test_this_version_still_writes_the_same_bytes(tmp_path: Path, name: str) -> None:
    assert LOGS[name](tmp_path) == {path.name: path.read_bytes() for path in (VERSION_1 / name).iterdir()}


@pytest.mark.parametrize("version", [VERSION + 1, 0xFFFF_FFFF])
@pytest.mark.parametrize("newer", [0, -1])
def test_a_downgraded_daemon_refuses_a_newer_log_and_leaves_every_byte(
    tmp_path: Path, version: int, newer: int
) -> None:
    """Whatever else the later layout is: magic and version stay where they are, nothing else is looked at."""
    log = laid_out(tmp_path, "many")
    path = sorted(log.glob("*.seg"))[newer]
    stamp = MAGIC + version.to_bytes(4, "little") + (version ^ 0xFFFF_FFFF).to_bytes(4, "little")
    path.write_bytes(stamp + b"another layout" * 500)
    (log / "x.seg").write_bytes(b"would be set aside")
    (log / f"{1 << 20:020d}{UNFINISHED_SUFFIX}").write_bytes(b"would be removed")
    before = {file: file.read_bytes() for file in log.iterdir()}
    with pytest.raises(FormatTooNew, match=f"version {version}"):
        recover(log, SPOOL_ID)
    with pytest.raises(FormatTooNew):
        repair(log, tmp_path / "quarantine" / "log", SPOOL_ID)
    with pytest.raises(FormatTooNew):
        verify(log, tmp_path / "quarantine" / "log")
    with pytest.raises(FormatTooNew):
        list(batches_of_spool(log, tmp_path / "quarantine" / "log"))
    assert list(batches_of_file(path)) == []
    assert {file: file.read_bytes() for file in log.iterdir()} == before
    assert not (tmp_path / "quarantine").exists()


def test_a_spare_of_a_later_version_is_only_room(tmp_path: Path) -> None:
    """Nothing in it counts in any version: it does not stop the start, and is written over."""
    log = laid_out(tmp_path, "one")
    stamp = MAGIC + (7).to_bytes(4, "little") + (7 ^ 0xFFFF_FFFF).to_bytes(4, "little")
    spare = log / f"{1 << 20:020d}{SPARE_SUFFIX}"
    spare.write_bytes(stamp.ljust(8192, b"x"))
    spool = Spool(tmp_path, segment_bytes=8192)
    assert sound(spool.recovered)
    assert spool.commit(batch(100, b"added")) is None
    assert not spare.exists()
    spool.writer.close()
    assert payloads(spool.recover())[-1] == (100, b"added")
