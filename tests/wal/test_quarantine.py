"""What is damaged or foreign is kept, each under a name of its own, and never in the way of a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord import files
from collectord.model import Lsn
from collectord.wal.damage import Damage
from collectord.wal.quarantine import Quarantine

BASE = Lsn(8192)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "segment"
    path.write_bytes(bytes(range(256)) * 16)
    return path


def damage(begin: int, end: int, reason: str = "entry") -> Damage:
    return Damage(BASE, Lsn(BASE + begin), Lsn(BASE + end), reason)


def test_a_range_is_copied_once(tmp_path: Path, segment: Path) -> None:
    store = Quarantine(tmp_path / "quarantine" / "log")
    first = store.copy(damage(16, 48), (segment, BASE))
    assert first.copy == tmp_path / "quarantine" / "log" / f"{BASE + 16:020d}.bin"
    assert first.copy.read_bytes() == bytes(range(16, 48))
    segment.write_bytes(bytes(4096))
    assert store.copy(damage(16, 48), (segment, BASE)).copy == first.copy
    assert first.copy.read_bytes() == bytes(range(16, 48))


def test_a_range_behind_the_end_of_the_file_has_no_copy(tmp_path: Path, segment: Path) -> None:
    store = Quarantine(tmp_path / "quarantine")
    copy = store.copy(damage(4000, 1 << 30), (segment, BASE)).copy
    assert copy is not None and copy.stat().st_size == 96
    assert store.copy(damage(5000, 6000), (segment, BASE)).copy is None
    assert store.copy(damage(0, 100, "missing segment"), None).copy is None


def test_what_fills_up_a_file_is_not_copied_where_an_end_is_unknown(tmp_path: Path, segment: Path) -> None:
    store = Quarantine(tmp_path / "quarantine")
    segment.write_bytes(b"entry".ljust(4096, b"\0"))
    copy = store.copy(damage(0, 4096, "unknown end"), (segment, BASE)).copy
    assert copy is not None and copy.read_bytes() == b"entry"
    assert store.copy(damage(8, 4096, "unknown end"), (segment, BASE)).copy is None


def test_without_room_for_a_copy_the_start_goes_on(
    tmp_path: Path, segment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    store = Quarantine(tmp_path / "quarantine")
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_durably", full)
        assert store.copy(damage(0, 16), (segment, BASE)).copy is None
    assert store.copy(damage(0, 16), (segment, BASE)).copy is not None


def test_a_file_is_moved_to_a_name_that_is_free(tmp_path: Path) -> None:
    store = Quarantine(tmp_path / "quarantine")
    moved = []
    for content in (b"first", b"second", b"third"):
        (tmp_path / "x.seg").write_bytes(content)
        moved.append(store.move(tmp_path / "x.seg"))
    assert [path.name for path in moved] == ["x.seg", "x.seg.1", "x.seg.2"]
    assert [path.read_bytes() for path in moved] == [b"first", b"second", b"third"]
    (tmp_path / "x.seg").symlink_to(tmp_path / "nothing")
    assert store.move(tmp_path / "x.seg").is_symlink()
