"""The files of open intents."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from collectord.model import Cursor, Lsn, Partition
from collectord.upload.framefiles import MAX_SPARES, FrameFiles, checksum
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


def number(frame_id: int) -> Intent:
    return replace(INTENT, frame_id=frame_id)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_written_is_read_until_it_is_removed(folder: Path) -> None:
    """At first from memory, then from the file."""
    files = FrameFiles(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    files.write(INTENT, DATA)
    for _ in range(3):
        assert files.read(INTENT) == DATA
    for _ in range(2):
        files.remove(INTENT)
        lost = files.read(INTENT)
        assert isinstance(lost, Blocked)
        assert (lost.reason, "No such file" in lost.detail) == ("frame_lost", True)


def test_the_first_reading_needs_no_file(folder: Path) -> None:
    """A frame is mostly sent as soon as it is staged; it lies in memory once."""
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    (folder / "7").write_bytes(b"changed")
    assert files.read(INTENT) is DATA
    assert isinstance(files.read(INTENT), Blocked)


def test_what_was_removed_is_not_read_from_memory_either(folder: Path) -> None:
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    files.remove(INTENT)
    assert isinstance(files.read(INTENT), Blocked)


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA + b"x", b"x" * len(DATA)])
def test_what_is_not_as_it_was_written_is_said_to_be_lost(folder: Path, data: bytes) -> None:
    FrameFiles(folder).write(INTENT, data)
    assert FrameFiles(folder).read(INTENT) == Blocked("frame_lost", f"{folder / '7'} is not what was written")


def test_memory_holds_few_frames_and_the_others_are_read_back(folder: Path) -> None:
    files = FrameFiles(folder)
    written = {at: b"%04d" % at for at in range(3 * MAX_SPARES)}
    for at, data in written.items():
        files.write(replace(number(at), checksum=checksum(data)), data)
    assert len(files._fresh) == MAX_SPARES
    for at, data in written.items():
        assert files.read(replace(number(at), checksum=checksum(data))) == data


@pytest.mark.parametrize("data", [b"short", DATA, b"a longer frame than the one before"])
def test_the_file_of_a_frame_that_landed_is_written_over_by_the_next(folder: Path, data: bytes) -> None:
    """The same file under another name, exactly as long as the next frame is."""
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    inode = (folder / "7").stat().st_ino
    files.recycle(INTENT)
    assert names(folder) == {"spare-7"}
    files.write(number(8), data)
    assert names(folder) == {"8"}
    assert ((folder / "8").stat().st_ino, (folder / "8").read_bytes()) == (inode, data)


def test_few_files_are_kept_to_be_written_over(folder: Path) -> None:
    files = FrameFiles(folder)
    for at in range(3 * MAX_SPARES):
        files.write(number(at), DATA)
    for at in range(3 * MAX_SPARES):
        files.recycle(number(at))
    assert len(names(folder)) == MAX_SPARES


def fail(*_: object) -> None:
    raise OSError("no")


@pytest.mark.parametrize("failing", ["write", "ftruncate", "fsync"])
def test_a_disk_that_fails_leaves_neither_half_a_frame_nor_the_file_that_it_had(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """On a full disk its blocks are needed."""
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    files.recycle(INTENT)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no"):
        patch.setattr(os, failing, fail)
        files.write(number(8), DATA)
    assert names(folder) == set()
    assert isinstance(files.read(number(8)), Blocked)
    files.write(number(8), DATA)
    assert names(folder) == {"8"}


def test_a_file_that_cannot_be_renamed_is_written_over_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FrameFiles(folder)
    files.write(INTENT, DATA)
    files.recycle(INTENT)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no"):
        patch.setattr(Path, "replace", fail)
        files.write(number(8), DATA)
    assert names(folder) == {"spare-7"}
    files.write(number(8), DATA)
    assert names(folder) == {"8"}


def test_files_that_no_intent_names_are_swept_away_and_not_used_again(folder: Path) -> None:
    files = FrameFiles(folder)
    for at in (6, 7, 8):
        files.write(number(at), DATA)
    files.recycle(number(6))
    (folder / "8.tmp").touch()
    files.sweep([INTENT])
    assert names(folder) == {"7"}
    files.write(number(9), DATA)
    assert names(folder) == {"7", "9"}
