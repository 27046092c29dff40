"""The files of open intents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collectord.model import Cursor, Lsn, Partition
from collectord.upload.framefiles import FrameFiles, checksum
from collectord.upload.records import Intent
from collectord.upload.store import Blocked

DATA = b"header, then rows"
INTENT = Intent(
    frame_id=7, base="a/data.csv", part=0, position=0, header=bytes(16), header_length=6, length=len(DATA),
    checksum=checksum(DATA), rows=1, stream_key="s", partition=Partition(bytes(16), 0, 1440), after=Cursor(Lsn(9), 0),
    created_ns=0,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "frames"


def test_what_was_written_is_read_until_it_is_removed(folder: Path) -> None:
    files = FrameFiles(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    files.write(INTENT, DATA)
    assert files.read(INTENT) == DATA
    for _ in range(2):
        files.remove(INTENT)
        lost = files.read(INTENT)
        assert isinstance(lost, Blocked)
        assert (lost.reason, "No such file" in lost.detail) == ("frame_lost", True)


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", b"x" * len(DATA)])
def test_what_is_not_as_it_was_written_is_said_to_be_lost(folder: Path, data: bytes) -> None:
    files = FrameFiles(folder)
    files.write(INTENT, data)
    assert files.read(INTENT) == Blocked("frame_lost", f"{folder / '7'} is not what was written")


def test_files_that_no_intent_names_are_swept_away(folder: Path) -> None:
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    files.write(replace(INTENT, frame_id=8), DATA)
    (folder / "8.tmp").touch()
    files.sweep([INTENT])
    assert [path.name for path in folder.iterdir()] == ["7"]
