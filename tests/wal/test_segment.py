"""A segment's header survives whole, is refused if changed, and tells a later version from damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord.errors import FormatTooNew
from collectord.model import EntryKind, Lsn
from collectord.wal.counts import Tally
from collectord.wal.segment import SegmentHeader, base_of, read_header, segment_name, unpack_header


def header(streams: int = 3) -> SegmentHeader:
    counts = Tally()
    for number in range(streams):
        counts.add(EntryKind.BATCH, f"default/stream/{number}/ä", 10 + number, b"")
        counts.add(EntryKind.REJECT, f"default/stream/{number}/ä", 1, b"row_too_large")
    return SegmentHeader(bytes(range(16)), bytes(16), Lsn(8192), Lsn(5000), 1 << 26, 123, counts)


@pytest.mark.parametrize("streams", [0, 1, 1000])
def test_a_header_comes_back_whatever_its_length(tmp_path: Path, streams: int) -> None:
    made = header(streams)
    packed = made.pack()
    assert len(packed) % 4096 == 0
    path = tmp_path / "segment"
    path.write_bytes(packed + bytes(100))
    with path.open("rb") as file:
        read = read_header(file.fileno())
    assert read is not None
    found, length = read
    assert length == len(packed)
    assert (found.id, found.spool_id, found.base, found.previous_end) == (made.id, made.spool_id, 8192, 5000)
    assert (found.capacity, found.created_ns) == (1 << 26, 123)
    assert found.counts.snapshot() == made.counts.snapshot()


def test_a_changed_byte_anywhere_is_damage() -> None:
    packed = header().pack()
    used = len(packed.rstrip(b"\0"))
    for offset in range(used):
        changed = bytearray(packed)
        changed[offset] ^= 0x10
        result = unpack_header(changed)
        assert result is None or isinstance(result, int), offset


def test_a_later_version_is_told_from_a_damaged_one() -> None:
    packed = bytearray(header().pack())
    packed[8:16] = (7).to_bytes(4, "little") + (7 ^ 0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(FormatTooNew, match="version 7"):
        unpack_header(packed)
    packed[8] = 9
    assert unpack_header(packed) is None


def test_names_sort_like_positions() -> None:
    bases = [0, 4096, 999424, 1 << 40, (1 << 63) - 4096]
    names = [segment_name(base) for base in bases]
    assert names == sorted(names)
    assert [base_of(Path(name)) for name in names] == bases


@pytest.mark.parametrize(
    "name", ["1.seg", f"{4097:020d}.seg", f"{1 << 63:020d}.seg", f"{4096:020d}.spare", "x" * 20 + ".seg"]
)
def test_other_names_are_not_segments(name: str) -> None:
    assert base_of(Path(name)) is None
