"""An index round-trips, damage to it shows, and it is never wrong about an id that is there."""

from __future__ import annotations

import zlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.encode.frame import FrameEncoder
from collectord.encode.frame_index import (
    HEAD_LENGTH,
    MAX_LENGTH,
    FrameIndex,
    decode_index,
    encode_index,
    may_hold,
)
from collectord.model import MAX_FILTER, FrameIds, FrameTag, IdLayout
from collectord.uuids import milliseconds

V7 = UUID("019a9f3e-7c1b-7abc-8000-000000000001")
V4 = UUID("019a9f3e-7c1b-4abc-8000-000000000001")
NONE = (2**64 - 1, 0)
GOLDEN = FrameIndex(0x01020304, 0x05060708, FrameIds(IdLayout.TEXT, *NONE, bytes(range(8))))
GOLDEN_BYTES = bytes.fromhex(
    "63644931 03a5bc92 04030201 08070605 02000000 ffffffffffffffff 0000000000000000 0001020304050607"
)

filters = st.integers(3, 14).flatmap(
    lambda power: st.binary(min_size=1, max_size=9).map(lambda one: (one * 2**14)[: 2**power])
)
indexes = st.builds(
    FrameIndex,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.builds(
        FrameIds, st.sampled_from([IdLayout.UUID, IdLayout.TEXT]), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1),
        st.just(b"") | filters,
    ),
)  # fmt: skip


def test_golden_index() -> None:
    """The layout of docs/formats/blob.md, and where it stands in a frame."""
    assert encode_index(GOLDEN) == GOLDEN_BYTES
    assert decode_index(GOLDEN_BYTES) == GOLDEN
    tag, ids = FrameTag(bytes(16), 1, 3), FrameIds(IdLayout.UUID, 5, 6, b"")
    zstd, gzip = FrameEncoder("zstd"), FrameEncoder("gzip")
    old = zstd.data_frame(b"1\n", tag)
    index = encode_index(FrameIndex(len(old), 3, ids))
    assert zstd.data_frame(b"1\n", tag, ids) == bytes.fromhex("5d2a4d18 24000000") + index + old
    old = gzip.data_frame(b"1\n", tag)
    assert old[10:12] == bytes.fromhex("2800")
    behind = old[52:]
    index = encode_index(FrameIndex(len(behind), 3, ids))
    expected = old[:10] + bytes.fromhex("5000") + old[12:52] + bytes.fromhex("6369 2400") + index + behind
    assert gzip.data_frame(b"1\n", tag, ids) == expected
    assert FrameEncoder("none").data_frame(b"1\n", tag, ids) == b"1\n"


@given(indexes, st.data())
def test_indexes_round_trip_and_damage_shows(index: FrameIndex, data: st.DataObject) -> None:
    encoded = encode_index(index)
    assert len(encoded) == HEAD_LENGTH + len(index.ids.filter) <= MAX_LENGTH
    assert decode_index(encoded) == index
    damaged = bytearray(encoded)
    damaged[data.draw(st.integers(4, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        decode_index(bytes(damaged))
    with pytest.raises(ValueError, match=r"bytes|checksum"):
        decode_index(encoded[: data.draw(st.integers(4, len(encoded) - 1))])


def test_an_index_that_cannot_be_is_refused() -> None:
    times = (IdLayout.UUID, 0, 0)
    for size in (1, 7, 12, 2 * MAX_FILTER):
        with pytest.raises(ValueError, match=f"{size} bytes"):
            encode_index(FrameIndex(1, 1, FrameIds(*times, bytes(size))))
        body = GOLDEN_BYTES[8:HEAD_LENGTH] + bytes(size)
        with pytest.raises(ValueError, match=f"{HEAD_LENGTH + size} bytes"):
            decode_index(b"cdI1" + zlib.crc32(body).to_bytes(4, "little") + body)
    for length, rows in ((2**32, 1), (1, -1)):
        with pytest.raises(ValueError, match="does not fit"):
            encode_index(FrameIndex(length, rows, FrameIds(*times, b"")))
    for layout in (0, 3):
        body = GOLDEN_BYTES[8:16] + layout.to_bytes(4, "little") + GOLDEN_BYTES[20:]
        with pytest.raises(ValueError, match=f"layout {layout}"):
            decode_index(b"cdI1" + zlib.crc32(body).to_bytes(4, "little") + body)
    assert decode_index(b"something else") is None


def test_a_uuid_of_version_7_is_known_by_its_time_and_nothing_else() -> None:
    """A text that looks like one has no time."""
    at = milliseconds(V7.bytes)
    full = b"\xff" * 8
    for first, last, may in ((at, at, True), (at - 1, at - 1, False), (at + 1, at + 9, False), (*NONE, False)):
        assert may_hold(FrameIds(IdLayout.UUID, first, last, full), str(V7)) is may
    for other in (V4, UUID(int=V7.int ^ 1 << 63), UUID(int=V7.int ^ 1 << 62)):
        assert may_hold(FrameIds(IdLayout.UUID, *NONE, full), str(other))
        assert not may_hold(FrameIds(IdLayout.UUID, 0, 2**64 - 1, b""), str(other))
    assert may_hold(FrameIds(IdLayout.TEXT, *NONE, full), str(V7))
    assert not may_hold(FrameIds(IdLayout.TEXT, 0, 2**64 - 1, bytes(8)), str(V7))


def test_only_the_canonical_text_of_a_uuid_is_one() -> None:
    """Rows of uuids are written so, and no other text finds them."""
    for text in (str(V4).upper(), V4.hex, f"{{{V4}}}", "order-1", ""):
        assert not may_hold(FrameIds(IdLayout.UUID, 0, 2**64 - 1, b"\xff" * 8), text)
        assert may_hold(FrameIds(IdLayout.TEXT, *NONE, b"\xff" * 8), text)
