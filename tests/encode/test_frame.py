"""Frames round-trip, carry their tag, are found again one by one, and torn or damaged ones are named, never passed over."""

from __future__ import annotations

import gzip
import io
import itertools
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from collectord.encode import frame as writing
from collectord.encode import frame_reader
from collectord.encode.frame import CODECS, FrameEncoder
from collectord.encode.frame_index import FrameIndex, encode_index
from collectord.encode.frame_reader import Frame, FrameError, first_frame_text, iter_frames
from collectord.encode.frame_tag import decode_tag, encode_tag
from collectord.model import FrameIds, FrameTag, IdLayout

HEADER = b'a,"say ""hi""\nthere",b\n'
TAGS = [FrameTag(bytes(range(16)), number, 10 * number + 1) for number in range(3)]
TEXTS = [b"1,2\n" * 5, b'"x\ny",\n', b"".join(b"%d,%d\n" % (i, i * i) for i in range(300_000))]
COMPRESSED = ["zstd", "gzip"]


IDS = [
    FrameIds(IdLayout.UUID, 5, 9, b""),
    FrameIds(IdLayout.TEXT, 9, 5, b"\1" * 16_384),
    FrameIds(IdLayout.UUID, 7, 7, bytes(8)),
]


def blob_of(codec: str, indexed: bool = False) -> tuple[bytes, list[int]]:
    """Header frame and three data frames, and where each begins. Without indexes it is one of an earlier version."""
    encoder = FrameEncoder(codec)
    parts = [encoder.header_frame(HEADER)]
    parts += [
        encoder.data_frame(memoryview(text), tag, ids if indexed else None)
        for text, tag, ids in zip(TEXTS, TAGS, IDS, strict=True)
    ]
    return b"".join(parts), [sum(map(len, parts[:i])) for i in range(len(parts) + 1)]


@pytest.mark.parametrize("codec", COMPRESSED)
def test_frames_come_back_with_text_tag_and_place(codec: str) -> None:
    blob, offsets = blob_of(codec)
    assert list(iter_frames(codec, io.BytesIO(blob))) == [
        Frame(offset, end - offset, text, tag)
        for offset, end, text, tag in zip(offsets[:-1], offsets[1:], [HEADER, *TEXTS], [None, *TAGS], strict=True)
    ]


def test_plain_text_comes_in_blocks_without_tags() -> None:
    blob, _offsets = blob_of("none")
    found = list(iter_frames("none", io.BytesIO(blob)))
    assert len(found) > 1
    assert b"".join(frame.text for frame in found) == blob == HEADER + b"".join(TEXTS)
    assert [frame.offset for frame in found] == [sum(f.length for f in found[:i]) for i in range(len(found))]
    assert {frame.tag for frame in found} == {None}


class Trickle(io.BytesIO):
    """A file that gives 1,000 bytes at most."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1000)


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_that_gives_little_at_once_reads_the_same(codec: str) -> None:
    blob, _offsets = blob_of(codec)
    text = b"".join(frame.text for frame in iter_frames(codec, Trickle(blob)))
    assert text == HEADER + b"".join(TEXTS)


def test_other_programs_read_the_frames() -> None:
    whole = HEADER + b"".join(TEXTS)
    blob, _offsets = blob_of("zstd")
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(blob), read_across_frames=True) as reader:
        assert reader.read() == whole
    blob, _offsets = blob_of("gzip")
    assert gzip.decompress(blob) == whole


def test_zstd_frames_say_how_long_they_are_and_are_checksummed() -> None:
    data = FrameEncoder("zstd").header_frame(HEADER)
    parameters = zstandard.get_frame_parameters(data)
    assert parameters.content_size == len(HEADER)
    assert parameters.has_checksum


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_text_gives_the_same_frame(codec: str) -> None:
    """Nothing in a frame comes from the clock; a frame can be compared with what is in the blob."""
    assert blob_of(codec) == blob_of(codec)


@pytest.mark.parametrize("codec", COMPRESSED)
def test_levels_are_those_of_the_codec(codec: str) -> None:
    small = FrameEncoder(codec, 3).data_frame(TEXTS[2], TAGS[0])
    assert [frame.text for frame in iter_frames(codec, io.BytesIO(small))] == [TEXTS[2]]
    for level in (-1, 30):
        with pytest.raises(ValueError, match="level"):
            FrameEncoder(codec, level)


def test_what_a_codec_is_called() -> None:
    assert [(e.name, e.suffix, e.content_type) for e in map(FrameEncoder, CODECS)] == [
        ("zstd", ".zst", "application/zstd"),
        ("gzip", ".gz", "application/gzip"),
        ("none", "", "text/csv; charset=utf-8"),
    ]
    for call in (FrameEncoder, lambda name: iter_frames(name, io.BytesIO()), lambda name: first_frame_text(name, b"")):
        with pytest.raises(ValueError, match="lz4"):
            call("lz4")


def test_golden_tag() -> None:
    """The layout of docs/formats/blob.md."""
    tag = FrameTag(bytes(range(16)), 0x0102030405060708, 0x0A0B0C0D)
    data = bytes.fromhex("63645431 1af8d121 000102030405060708090a0b0c0d0e0f 0807060504030201 0d0c0b0a")
    assert encode_tag(tag) == data
    assert decode_tag(data) == tag
    assert FrameEncoder("zstd").data_frame(b"1\n", tag).endswith(bytes.fromhex("5c2a4d18 24000000") + data)
    assert (
        FrameEncoder("gzip")
        .data_frame(b"1\n", tag)
        .startswith(bytes.fromhex("1f8b0804 00000000 00ff 2800 6364 2400") + data)
    )


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.data())
def test_tags_round_trip_and_damage_shows(writer: bytes, sequence: int, rows: int, data: st.DataObject) -> None:
    encoded = encode_tag(FrameTag(writer, sequence, rows))
    assert decode_tag(encoded) == FrameTag(writer, sequence, rows)
    position = data.draw(st.integers(4, len(encoded) - 1))
    damaged = bytearray(encoded)
    damaged[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        decode_tag(bytes(damaged))
    with pytest.raises(ValueError, match="bytes"):
        decode_tag(encoded[: data.draw(st.integers(4, len(encoded) - 1))])


def test_a_tag_that_does_not_fit_is_refused() -> None:
    for tag in (FrameTag(b"short", 0, 0), FrameTag(bytes(16), 2**64, 0), FrameTag(bytes(16), 0, -1)):
        with pytest.raises(ValueError, match=r"writer|sequence"):
            encode_tag(tag)
    assert decode_tag(b"something else") is None


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_file_cut_anywhere_gives_the_whole_frames_and_then_says_where(codec: str) -> None:
    encoder = FrameEncoder(codec)
    first = encoder.header_frame(HEADER)
    second = encoder.data_frame(b"1,2\n", TAGS[1])
    untagged = len(encoder.header_frame(b"1,2\n"))
    for end in range(len(first) + 1, len(first + second)):
        found = []
        cut = iter_frames(codec, io.BytesIO((first + second)[:end]))
        found.append(next(cut))
        if codec == "zstd" and end == len(first) + untagged:
            assert next(cut).tag is None  # a whole frame, whose tag cannot be missed
            continue
        with pytest.raises(FrameError) as error:
            next(cut)
        assert error.value.offset == len(first)
        assert [frame.text for frame in found] == [HEADER]


@pytest.mark.parametrize("codec", COMPRESSED)
@pytest.mark.parametrize(("ids", "most"), [(None, 24), (IDS[2], 40)], ids=["plain", "indexed"])
def test_a_damaged_byte_never_gives_other_text(codec: str, ids: FrameIds | None, most: int) -> None:
    """Every byte of a data frame, one bit at a time: the checksum, or the frame's form, shows it."""
    encoder = FrameEncoder(codec)
    first = encoder.header_frame(HEADER)
    second = encoder.data_frame(b"1,2\n" * 9, TAGS[1], ids)
    silent = 0
    for position in range(len(second)):
        damaged = bytearray(first + second)
        damaged[len(first) + position] ^= 1 << position % 8
        reading = iter_frames(codec, io.BytesIO(damaged))
        assert next(reading).text == HEADER
        try:
            found = list(reading)
        except FrameError as error:
            assert error.offset >= len(first)
        else:
            silent += 1
            assert b"".join(frame.text for frame in found) == b"1,2\n" * 9
            assert {frame.tag for frame in found} <= {TAGS[1], None}
    # Gzip's time and system, which nobody reads, and how tag and index are labelled: they are then not recognised as ours.
    assert silent < most


@pytest.mark.parametrize("codec", CODECS)
def test_the_first_frame_is_found_in_any_long_enough_head(codec: str) -> None:
    """Too short: None. Long enough: the header, whatever follows."""
    blob, offsets = blob_of(codec)
    end = offsets[1]
    for size in range(end + 40):
        assert first_frame_text(codec, blob[:size]) == (HEADER if size >= end else None)


@pytest.mark.parametrize(
    ("codec", "head"),
    [
        ("zstd", b"a,b\n1,2\n"),
        ("zstd", FrameEncoder("gzip").header_frame(HEADER)),
        ("zstd", b"\x28\xb5x"),
        ("zstd", bytes.fromhex("5c2a4d1804000000") + b"abcd"),
        ("zstd", bytes.fromhex("28b52ffd 20 00 07 00 00")),
        ("gzip", FrameEncoder("zstd").header_frame(HEADER)),
        ("gzip", b"\x1f\x8b\x08\xff" + bytes(20)),
        ("gzip", b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 20),
        ("none", b"\xff\xfe,b\n"),
    ],
)
def test_a_head_that_is_no_such_blob_is_refused(codec: str, head: bytes) -> None:
    with pytest.raises(ValueError):
        first_frame_text(codec, head)


def test_skippable_frames_of_others_are_passed_by() -> None:
    encoder = FrameEncoder("zstd")
    foreign = bytes.fromhex("502a4d18 04000000") + b"abcd"
    blob = foreign + encoder.header_frame(HEADER) + foreign + encoder.data_frame(b"1\n", TAGS[0]) + foreign
    found = list(iter_frames("zstd", io.BytesIO(blob)))
    assert [(frame.text, frame.tag) for frame in found] == [
        (b"", None),
        (HEADER, None),
        (b"", None),
        (b"1\n", TAGS[0]),
        (b"", None),
    ]
    assert sum(frame.length for frame in found) == len(blob)


def test_gzip_members_of_others_are_read() -> None:
    """With file name, comment and header checksum; the name is not taken for text."""
    stamped = io.BytesIO()
    with gzip.GzipFile("name.csv", "wb", fileobj=stamped, mtime=1) as file:
        file.write(b"1,2\n")
    plain = gzip.compress(b"3\n", mtime=0)
    flagged = (
        plain[:3]
        + bytes([4 | 8 | 16 | 2])
        + plain[4:10]
        + b"\x05\x00XY\x01\x00z"
        + b"name\0comment\0"
        + b"\0\0"
        + plain[10:]
    )
    found = list(iter_frames("gzip", io.BytesIO(stamped.getvalue() + flagged)))
    assert [(frame.text, frame.tag) for frame in found] == [(b"1,2\n", None), (b"3\n", None)]


def test_a_bit_that_only_a_forgiving_decoder_forgives_is_damage() -> None:
    """With some bits of its codes changed, ISA-L still finds every byte and a checksum that fits; zlib refuses."""
    text = b"1,2\n" * 50
    whole = FrameEncoder("gzip").data_frame(memoryview(text), TAGS[0])
    forgiven = 0
    for bit in range(8 * (len(whole) - 8)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            other = isal_zlib.decompressobj(31).decompress(damaged)
            zlib.decompressobj(31).decompress(damaged)
        except isal_zlib.error:
            continue
        except zlib.error:
            forgiven += other == text
            with pytest.raises(FrameError):
                list(iter_frames("gzip", io.BytesIO(damaged)))
    assert forgiven, "no such bit"


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_has_a_limit(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written is not read either: a bomb is refused, whether its size is announced or not."""
    bomb = FrameEncoder(codec).data_frame(b"0" * 100_000, TAGS[0])
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(b"0" * 100_000)
    for module in (writing, frame_reader):
        monkeypatch.setattr(module, "MAX_TEXT", 99_999)
    with pytest.raises(ValueError, match="99999"):
        FrameEncoder(codec).data_frame(b"0" * 100_000, TAGS[0])
    if codec != "none":
        with pytest.raises(FrameError):
            list(iter_frames(codec, io.BytesIO(bomb)))
    if codec == "zstd":
        with pytest.raises(FrameError):
            list(iter_frames(codec, io.BytesIO(silent)))


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_file_has_no_frames(codec: str) -> None:
    assert list(iter_frames(codec, io.BytesIO())) == []
    assert first_frame_text(codec, b"") is None


# ---------------------------------------------------------------- the index


@pytest.mark.parametrize("codec", COMPRESSED)
def test_frames_come_back_with_their_index(codec: str) -> None:
    """It counts the bytes behind itself; the text is that of a frame without one."""
    blob, offsets = blob_of(codec, indexed=True)
    found = list(iter_frames(codec, io.BytesIO(blob)))
    assert [frame.offset for frame in found] == offsets[:-1]
    assert [(frame.text, frame.tag) for frame in found] == list(zip([HEADER, *TEXTS], [None, *TAGS], strict=True))
    assert found[0].index is None
    for frame, ids, tag in zip(found[1:], IDS, TAGS, strict=True):
        assert frame.index is not None
        assert (frame.index.ids, frame.index.rows) == (ids, tag.rows)
        begin = blob.index(encode_index(frame.index), frame.offset) + len(encode_index(frame.index))
        assert begin + frame.index.length == frame.offset + frame.length
    whole = HEADER + b"".join(TEXTS)
    if codec == "gzip":
        assert gzip.decompress(blob) == whole
    else:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(blob), read_across_frames=True) as reader:
            assert reader.read() == whole


class Counted(io.BytesIO):
    """A file that counts what is read of it, and gives some bytes less than are asked for."""

    taken = 0
    short = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None and size > 0
        got = super().read(max(1, size - self.short))
        self.taken += len(got)
        return got


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("codec", COMPRESSED)
def test_frames_that_are_not_wanted_are_passed_over(codec: str, indexed: bool) -> None:
    """Whichever they are; those of an earlier version, which have no index, are read."""
    blob, _ = blob_of(codec, indexed)
    every = list(iter_frames(codec, io.BytesIO(blob)))
    for wanted in itertools.product([True, False], repeat=3):
        lead = b"in front"
        file = Counted(lead + blob)
        file.short = 3
        file.seek(len(lead))
        choice = dict(zip([tag.rows for tag in TAGS], wanted, strict=True))
        found = list(iter_frames(codec, file, lambda index, choice=choice: choice[index.rows]))  # type: ignore[misc]
        assert [(frame.offset, frame.length, frame.index) for frame in found] == [
            (frame.offset, frame.length, frame.index) for frame in every
        ]
        for frame, other, want in zip(found[1:], every[1:], wanted, strict=True):
            assert frame.passed is (indexed and not want)
            assert (frame.text, frame.tag) == ((b"", None) if frame.passed else (other.text, other.tag))


@pytest.mark.parametrize("codec", COMPRESSED)
def test_what_is_hopped_over_is_not_read(codec: str) -> None:
    """Six frames of a megabyte and more, of which one is wanted: its bytes are read, and a little of each of the others."""
    encoder = FrameEncoder(codec)
    large = b"".join(b"%d,%d\n" % (i * 7919 % 1_000_003, i * i * 31 % 999_983) for i in range(200_000))
    frames = [encoder.data_frame(large, FrameTag(bytes(16), at, 200_000), IDS[0]) for at in range(6)]
    assert len(frames[0]) > 1_000_000
    file = Counted(encoder.header_frame(HEADER) + b"".join(frames))
    seen = iter(range(6))
    found = list(iter_frames(codec, file, lambda index: next(seen) == 3))
    assert [frame.passed for frame in found] == [False, True, True, True, False, True, True]
    assert found[4].text == large
    assert file.taken < len(frames[3]) + 7 * 66_000


@pytest.mark.parametrize("codec", COMPRESSED)
def test_short_ways_are_read_in_ever_larger_pieces(codec: str) -> None:
    """As a request to a store costs more than some bytes."""
    encoder = FrameEncoder(codec)
    text = b"".join(b"%d,%d\n" % (i * 7919 % 1_000_003, i * i * 31 % 999_983) for i in range(16_000))
    frame = encoder.data_frame(text, TAGS[0], IDS[0])
    assert 65_536 < len(frame) < 200_000
    asked: list[int] = []

    class Asked(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    file = Asked(encoder.header_frame(HEADER) + frame * 100)
    assert sum(one.passed for one in iter_frames(codec, file, lambda index: False)) == 100
    assert asked[:4] == [65_536, 131_072, 262_144, 524_288]
    assert max(asked) == 4 * 1024 * 1024
    assert len(asked) < 20


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("codec", COMPRESSED)
def test_an_indexed_file_cut_anywhere_says_where(codec: str, wanted: bool) -> None:
    """Also within a frame that would be passed over, and between its rows and its tag."""
    encoder = FrameEncoder(codec)
    first = encoder.header_frame(HEADER)
    second = encoder.data_frame(b"1,2\n", TAGS[1], IDS[2])
    for end in range(len(first) + 1, len(first + second)):
        cut = iter_frames(codec, io.BytesIO((first + second)[:end]), lambda index: wanted)
        assert next(cut).text == HEADER
        with pytest.raises(FrameError, match=r"cut off|says|bytes") as error:
            list(cut)
        assert error.value.offset == len(first)


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_hop_behind_the_end_is_noticed(codec: str) -> None:
    large = b"".join(b"%d\n" % (i * 7919 % 1_000_003) for i in range(400_000))
    first, second = FrameEncoder(codec).header_frame(HEADER), FrameEncoder(codec).data_frame(large, TAGS[0], IDS[0])
    for missing in (1, 500_000):
        cut = iter_frames(codec, io.BytesIO((first + second)[:-missing]), lambda index: False)
        next(cut)
        with pytest.raises(FrameError, match="cut off") as error:
            next(cut)
        assert error.value.offset == len(first)


@pytest.mark.parametrize("more", [-1, 1, 1000, 2**31])
@pytest.mark.parametrize("codec", COMPRESSED)
def test_an_index_that_does_not_say_how_long_its_frame_is_is_an_error(codec: str, more: int) -> None:
    """A reader would hop to a wrong place."""
    encoder = FrameEncoder(codec)
    first, second = encoder.header_frame(HEADER), encoder.data_frame(b"1,2\n", TAGS[1], IDS[0])
    *_, frame = iter_frames(codec, io.BytesIO(first + second))
    assert frame.index is not None
    lie = encode_index(frame.index._replace(length=frame.index.length + more))
    wrong = (first + second).replace(encode_index(frame.index), lie)
    assert wrong != first + second
    for behind in (b"", second):
        reading = iter_frames(codec, io.BytesIO(wrong + behind))
        next(reading)
        with pytest.raises(FrameError, match=f"its index says {frame.index.length + more}") as error:
            next(reading)
        assert error.value.offset == len(first)


def test_an_index_that_is_none_is_an_error() -> None:
    """Too large, cut, before no rows, or longer than its own member's header."""
    encoder = FrameEncoder("zstd")
    index = encode_index(FrameIndex(8, 1, IDS[0]))
    alone = bytes.fromhex("5d2a4d18") + len(index).to_bytes(4, "little") + index
    foreign = bytes.fromhex("502a4d18 04000000") + b"abcd"
    for wrong, said in (
        (alone, "cut off"),
        (alone + foreign, "before no rows"),
        (alone + alone, "before no rows"),
        (bytes.fromhex("5d2a4d18 ffffff00") + index, "16777215 bytes"),
        (alone[:-3], "its index is cut off"),
    ):
        reading = iter_frames("zstd", io.BytesIO(encoder.header_frame(HEADER) + wrong))
        next(reading)
        with pytest.raises(FrameError, match=said) as error:
            next(reading)
        assert error.value.offset == len(encoder.header_frame(HEADER))
    plain = FrameEncoder("gzip").header_frame(b"1\n")
    index = encode_index(FrameIndex(2, 1, IDS[0]))
    extra = b"ci" + len(index).to_bytes(2, "little") + index
    member = plain[:3] + b"\x0c" + plain[4:10] + len(extra).to_bytes(2, "little") + extra + b"name\0" + plain[10:]
    for wanted in (None, lambda index: False):
        with pytest.raises(FrameError, match="less than its header"):
            list(iter_frames("gzip", io.BytesIO(member), wanted))
