"""Whose log it is can be told without opening it."""

from __future__ import annotations

from pathlib import Path

from collectord.model import Lsn
from collectord.wal.counts import Tally
from collectord.wal.identity import spool_of
from collectord.wal.segment import SegmentHeader, segment_name


def write(directory: Path, base: int, spool_id: bytes) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / segment_name(base)
    header = SegmentHeader(b"i" * 16, spool_id, Lsn(base), Lsn(0), 1 << 20, 0, Tally())
    path.write_bytes(header.pack())
    return path


def test_no_directory_and_no_segment_is_no_log(tmp_path: Path) -> None:
    assert spool_of(tmp_path / "log") is None
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "1.spare").write_bytes(b"")
    assert spool_of(tmp_path / "log") is None


def test_the_spool_that_most_segments_name_is_theirs(tmp_path: Path) -> None:
    write(tmp_path / "log", 4096, b"a" * 16)
    write(tmp_path / "log", 1 << 20, b"b" * 16)
    write(tmp_path / "log", 2 << 20, b"b" * 16)
    assert spool_of(tmp_path / "log") == b"b" * 16


def test_segments_that_do_not_tell_are_a_log_all_the_same(tmp_path: Path) -> None:
    """The ledger beside them was lost, whatever else was."""
    path = write(tmp_path / "log", 4096, b"a" * 16)
    path.write_bytes(b"\0" * 8192)
    assert spool_of(tmp_path / "log") == b""
    path.write_bytes(b"")
    assert spool_of(tmp_path / "log") == b""
