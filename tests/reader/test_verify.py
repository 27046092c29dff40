"""`collectord verify`: what is whole is clean, and every kind of damage is found and named."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.buffer.assemble import ids_of_texts, ids_of_uuids
from collectord.encode.csv import header_of
from collectord.encode.frame import CODECS, FrameEncoder
from collectord.encode.frame_index import FrameIndex, encode_index
from collectord.encode.frame_reader import iter_frames
from collectord.errors import CallHuman, TryAgain
from collectord.model import BlobInfo, Column, ColumnType, FrameIds, FrameTag, IdLayout, Schema, Stream
from collectord.reader import verify as module
from collectord.reader.blobs import data_blobs
from collectord.reader.verify import OUR_COLUMNS, Finding, RecordCounter, Report, header_in, is_header, verify
from collectord.testing.store import UNSENT, Fault, MemoryStore, StoredBlob
from collectord.upload.store import Blocked

WRITER = b"w" * 16
HEADER = b'"a\nb",' + OUR_COLUMNS + b"\n"
ROW = b'"x\n""y""",id,2026-11-21T03:04:05.000006,1440,w,s,m,1,r,0\n'
COMPRESSED = ("zstd", "gzip")


def tag(sequence: int, rows: int = 1, writer: bytes = WRITER) -> FrameTag:
    return FrameTag(writer, sequence, rows)


def put(
    store: MemoryStore, codec: str, frames: Sequence[tuple[bytes, FrameTag]], name: str = "w/data.csv", header: bytes = HEADER
) -> list[int]:  # fmt: skip
    """A blob as the uploader writes it. Returns where its data frames begin."""
    encoder = FrameEncoder(codec)
    content = bytearray(encoder.header_frame(header))
    places = []
    for text, one in frames:
        places.append(len(content))
        content += encoder.data_frame(text, one)
    store.blobs[name + encoder.suffix] = StoredBlob(content)
    return places


def check(store: MemoryStore) -> Report:
    return verify(store, data_blobs(store))


@pytest.mark.parametrize("codec", COMPRESSED)
def test_what_is_whole_is_clean_and_counted(codec: str) -> None:
    """Totals per blob and per writer; two writers share a blob; the bar is told every byte."""
    store = MemoryStore()
    other = b"o" * 16
    put(store, codec, [(ROW * 3, tag(1, 3)), (ROW, tag(1, 1, other)), (ROW * 2, tag(4, 2))])
    put(store, codec, [(ROW, tag(2)), (ROW, tag(3))], "w/data.1.csv")
    read: list[int] = []
    report = verify(store, data_blobs(store), read.append)
    assert report.findings == []
    assert report.notes == []
    assert [(one.rows, one.frames) for one in report.blobs] == [(6, 3), (2, 2)]
    assert report.blobs[0].writers == {WRITER: 5, other: 1}
    ours = report.writers[WRITER]
    assert (ours.rows, ours.frames, ours.first, ours.last) == (7, 4, 1, 4)
    assert sum(read) == sum(blob.size for blob in data_blobs(store))


@pytest.mark.parametrize("sampled", [False, True])
def test_every_header_of_ours_is_known_as_one(sampled: bool) -> None:
    schema = Schema(
        bytes(16), b"", Stream(), (Column('a"\n,', ColumnType.INT64),), True, IdLayout.UUID, IdLayout.NONE, sampled
    )
    assert is_header(header_of(schema))
    assert not is_header(ROW)


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_flipped_bit_is_found_with_its_frame_and_the_rest_is_said_to_be_unread(codec: str) -> None:
    store = MemoryStore()
    first, second, third = put(store, codec, [(ROW * 50, tag(1, 50)), (ROW * 50, tag(2, 50)), (ROW, tag(3))])
    content = next(iter(store.blobs.values())).content
    # The last byte of the member's own checksum: behind it, in zstd, the tag.
    content[third - (45 if codec == "zstd" else 5)] ^= 1
    report = check(store)
    (found,) = report.findings
    assert found.offset == second
    assert f"{len(content) - second:,} bytes from here on were not checked" in found.what
    assert report.blobs[0].rows == 50
    assert first < second


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_torn_end_is_found(codec: str) -> None:
    store = MemoryStore()
    (place,) = put(store, codec, [(ROW, tag(1))])
    del next(iter(store.blobs.values())).content[-3:]
    (found,) = check(store).findings
    assert found.offset == place
    assert "cut off" in found.what


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_frame_with_other_rows_than_its_tag_says_is_found(codec: str) -> None:
    store = MemoryStore()
    (place,) = put(store, codec, [(ROW * 3, tag(1, 4))])
    assert check(store).findings == [
        Finding(next(iter(store.blobs)), place, "3 rows, but its tag says 4"),
    ]


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_frame_that_stands_twice_is_found_within_a_blob_and_across_blobs(codec: str) -> None:
    store = MemoryStore()
    places = put(store, codec, [(ROW, tag(1)), (ROW, tag(1))])
    put(store, codec, [(ROW, tag(1))], "x/data.csv")
    put(store, codec, [(ROW, tag(1, 1, b"o" * 16))], "y/data.csv")
    found = check(store).findings
    name = next(iter(store.blobs))
    twice = f"frame 1 of writer {WRITER.hex()} stands here and in {name} at byte {places[0]}"
    assert [one.what for one in found] == [twice, twice], "another writer's frame 1 is another frame"
    assert found[0].offset == places[1]


@pytest.mark.parametrize("codec", COMPRESSED)
def test_a_writers_frames_that_do_not_rise_within_a_part_are_found(codec: str) -> None:
    store = MemoryStore()
    places = put(store, codec, [(ROW, tag(5)), (ROW, tag(2, 1, b"o" * 16)), (ROW, tag(4)), (ROW, tag(6))])
    put(store, codec, [(ROW, tag(1)), (ROW, tag(7))], "w/data.1.csv")
    (found,) = check(store).findings
    assert found.offset == places[2]
    assert "frame 4" in found.what
    assert "behind its frame 5" in found.what


@pytest.mark.parametrize("codec", CODECS)
def test_a_blob_without_a_header_is_found(codec: str) -> None:
    store = MemoryStore()
    put(store, codec, [(ROW, tag(1))], header=b"a,b,c\n")
    (found,) = check(store).findings
    assert (found.offset, found.what) == (0, "the blob does not begin with a header row of ours")


@pytest.mark.parametrize("codec", COMPRESSED)
def test_data_in_the_place_of_the_header_is_found(codec: str) -> None:
    store = MemoryStore()
    encoder = FrameEncoder(codec)
    store.blobs["data.csv" + encoder.suffix] = StoredBlob(bytearray(encoder.data_frame(ROW, tag(1))))
    report = check(store)
    assert [one.what for one in report.findings] == ["the blob does not begin with a header row of ours"]
    assert report.blobs[0].rows == 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_second_header_is_found_wherever_it_stands(codec: str) -> None:
    """As a frame of its own, among the rows; not inside a quoted field, where it is a value."""
    store = MemoryStore()
    encoder = FrameEncoder(codec)
    quoted = b'"' + HEADER.replace(b'"', b'""') + b'"' + ROW[ROW.index(b",") :]
    plain_header = b"n," + OUR_COLUMNS + b"\n"
    value = b'"\n' + plain_header + b'"' + ROW[ROW.rindex(b",id") :]
    put(store, codec, [(ROW + quoted, tag(1, 2))], "clean.csv")
    put(store, codec, [(value, tag(2, 1))], "value.csv", plain_header)
    assert check(store).findings == []
    places = put(store, codec, [(ROW + HEADER + ROW, tag(3, 3))], "w.csv")
    name = "w.csv" + encoder.suffix
    more = encoder.header_frame(HEADER)
    end = len(store.blobs[name].content)
    store.blobs[name].content += more
    found = check(store).findings
    assert [one.blob for one in found] == [name, name]
    assert all("the header stands" in one.what for one in found)
    assert found[1].offset == end
    assert found[0].offset == (places[0] + len(ROW) if codec == "none" else places[0])


def test_a_second_header_across_the_pieces_that_plain_text_is_read_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP", 7)
    store = MemoryStore()
    for count in range(8):
        rows = ROW * 5 + b"," * count + ROW
        put(store, "none", [(rows + HEADER + rows, tag(1))], f"{count}.csv")
    report = check(store)
    assert [(one.blob, one.offset) for one in report.findings] == [
        (f"{count}.csv", len(HEADER) + len(ROW) * 6 + count) for count in range(8)
    ]
    assert {one.rows for one in report.blobs} == {13}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("rest", [b"1,2", b'"1\n'])
def test_an_unfinished_row_is_found(codec: str, rest: bytes) -> None:
    store = MemoryStore()
    put(store, codec, [(ROW + rest, tag(1))])
    assert [one.what for one in check(store).findings] == ["it does not end with a whole row"]


@pytest.mark.parametrize("codec", COMPRESSED)
def test_rows_without_a_tag_are_found(codec: str) -> None:
    """Somebody else has appended, or a tag was cut out."""
    store = MemoryStore()
    put(store, codec, [(ROW, tag(1))])
    (blob,) = store.blobs.values()
    end = len(blob.content)
    blob.content += FrameEncoder(codec).header_frame(ROW * 2)
    report = check(store)
    (found,) = report.findings
    assert found.offset == end
    assert found.what.startswith("2 rows without a tag")
    assert report.blobs[0].rows == 3


def test_a_tag_or_a_frame_of_somebody_else_without_rows_is_found() -> None:
    store = MemoryStore()
    put(store, "zstd", [(ROW, tag(1))])
    (blob,) = store.blobs.values()
    mark = bytes(blob.content[-44:])
    blob.content += mark + bytes.fromhex("502a4d1803000000") + b"abc"
    assert [one.what for one in check(store).findings] == ["a tag without rows", "11 bytes that are no frame of ours"]


def test_plain_text_is_said_to_be_checked_less() -> None:
    store = MemoryStore()
    put(store, "none", [(ROW * 3, tag(1, 3)), (ROW, tag(1))])
    report = check(store)
    assert report.findings == []
    assert report.blobs[0].rows == 4
    assert report.writers == {}
    assert "1 blobs are plain text" in report.notes[0]


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_blob_is_a_note(codec: str) -> None:
    store = MemoryStore()
    store.blobs["w/data.csv" + FrameEncoder(codec).suffix] = StoredBlob()
    report = check(store)
    assert report.findings == []
    assert "it is empty" in report.notes[0]


@pytest.mark.parametrize("codec", CODECS)
def test_a_blob_that_grows_is_read_as_far_as_it_was_listed(codec: str) -> None:
    store = MemoryStore()
    put(store, codec, [(ROW, tag(1))])
    blobs = data_blobs(store)
    next(iter(store.blobs.values())).content += FrameEncoder(codec).data_frame(ROW, tag(1))
    report = verify(store, blobs)
    assert report.findings == []
    assert report.blobs[0].rows == 1


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("off", [-5, 5])
def test_a_length_listed_in_the_middle_of_an_append_is_asked_for_again(codec: str, off: int) -> None:
    """In a directory the listing may show an append that is under way, or one that will be taken back."""
    store = MemoryStore()
    put(store, codec, [(ROW, tag(1)), (ROW, tag(2))])
    (blob,) = data_blobs(store)
    report = verify(store, [BlobInfo(blob.name, blob.size + off, {})])
    assert report.findings == []
    assert report.blobs[0].rows == 2


def test_an_archived_blob_is_found_and_the_others_are_read() -> None:
    store = MemoryStore()
    put(store, "zstd", [(ROW, tag(1))], "a/data.csv")
    put(store, "zstd", [(ROW, tag(2))], "b/data.csv")
    store.plan("read", Fault(Blocked("immutable", "409 BlobArchived")))
    report = check(store)
    assert [(one.blob, one.offset) for one in report.findings] == [("a/data.csv.zst", None)]
    assert report.findings[0].what.startswith("409 BlobArchived: it has to be rehydrated")
    assert [(one.name, one.rows) for one in report.blobs] == [("b/data.csv.zst", 1)]


def test_a_store_that_refuses_or_does_not_answer_is_an_error_and_no_finding() -> None:
    store = MemoryStore()
    put(store, "zstd", [(ROW, tag(1))])
    store.plan("read", UNSENT)
    with pytest.raises(TryAgain):
        check(store)
    blobs = data_blobs(store)
    store.blobs.clear()
    with pytest.raises(CallHuman, match="it is gone"):
        verify(store, blobs)
    put(store, "zstd", [(ROW, tag(1, 2))])
    store.plan("length", Fault(Blocked("forbidden", "403")))
    with pytest.raises(CallHuman, match="403"):
        check(store)


@given(st.lists(st.lists(st.text(alphabet='a",\n\r', max_size=6), min_size=2, max_size=3)), st.integers(1, 9))
def test_records_are_counted_whatever_stands_in_their_fields(rows: list[list[str]], step: int) -> None:
    """However the text is cut into pieces."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    raw = text.getvalue().encode()
    counter = RecordCounter()
    for at in range(0, len(raw), step):
        counter.feed(raw[at : at + step])
    assert counter.whole
    assert counter.records == len(rows)


def test_text_longer_than_a_step_is_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(1, 12):
        monkeypatch.setattr(module, "_STEP", step)
        counter = RecordCounter()
        counter.feed(ROW * 9)
        assert (counter.records, counter.whole) == (9, True)


def test_a_header_is_searched_for_outside_quotes_only() -> None:
    assert header_in(b"a\nh\n", b"h\n") == 2
    assert header_in(b"ah\n", b"h\n") is None
    assert header_in(b'"\nh\n"\nh\n', b"h\n") == 6
    assert header_in(b'\nh\n"\nh\n', b"h\n", quoted=1) == 5
    assert header_in(b"h\nh\n", b"h\n", start=1) == 2


# ---------------------------------------------------------------- indexes

V7 = "00000000-03e8-7000-8000-000000000001"  # 1,000 ms
V4 = "00000000-03e8-4000-8000-000000000001"


def filter_of(*ids: bytes) -> bytes:
    """The smallest one of texts, or of uuids."""
    if len(ids[0]) == 16:
        return ids_of_uuids(b"".join(ids), 0).filter
    return ids_of_texts(pa.array(ids, pa.binary()), 0).filter


def indexed(codec: str, ids: FrameIds, *rows: str, said: int | None = None) -> Report:
    """Of a blob with one frame of rows with these ids, whose index says `ids` and as many rows or `said`."""
    encoder = FrameEncoder(codec)
    text = b"".join(ROW.replace(b",id,", f",{one},".encode()) for one in rows)
    frame = encoder.data_frame(text, tag(1, len(rows)), ids)
    if said is not None:
        (index,) = (one.index for one in iter_frames(codec, io.BytesIO(frame)))
        assert index is not None
        frame = frame.replace(encode_index(index), encode_index(index._replace(rows=said)))
    store = MemoryStore()
    store.blobs["data.csv" + encoder.suffix] = StoredBlob(bytearray(encoder.header_frame(HEADER) + frame))
    return check(store)


@pytest.mark.parametrize("codec", COMPRESSED)
def test_an_index_that_tells_the_truth_is_clean(codec: str) -> None:
    """Of uuids with and without version 7, of texts, of texts that are uuids; in a larger filter than it needs."""
    none = (2**64 - 1, 0)
    large = ids_of_texts(pa.array([b"a", b"b,"], pa.binary()), 1024)
    assert len(large.filter) == 1024
    for ids, rows in (
        (FrameIds(IdLayout.UUID, 1000, 1000, b""), [V7, V7]),
        (FrameIds(IdLayout.UUID, 1000, 1000, filter_of(UUID(V4).bytes)), [V7, V4]),
        (FrameIds(IdLayout.UUID, *none, filter_of(UUID(V4).bytes)), [V4]),
        (FrameIds(IdLayout.TEXT, *none, filter_of(b"x", b'y\n"')), ["x", '"y\n"""']),
        (FrameIds(IdLayout.TEXT, *none, filter_of(V7.encode(), V4.encode())), [V7, V4]),
        (FrameIds(IdLayout.TEXT, *none, filter_of(b"")), ['""']),
        (large, ["a", '"b,"', "a"]),
    ):
        assert indexed(codec, ids, *rows).findings == []


@pytest.mark.parametrize("codec", COMPRESSED)
def test_an_index_that_does_not_fit_its_rows_is_found(codec: str) -> None:
    """An id too few, in time or filter; one too many; another layout; another number of rows."""
    none = (2**64 - 1, 0)
    for ids, rows in (
        (FrameIds(IdLayout.UUID, 1001, 1001, b""), [V7]),
        (FrameIds(IdLayout.UUID, 999, 1000, b""), [V7]),
        (FrameIds(IdLayout.UUID, 1000, 1000, b""), [V7, V4]),
        (FrameIds(IdLayout.UUID, 1000, 1000, filter_of(UUID(V4).bytes)), [V7]),
        (FrameIds(IdLayout.UUID, *none, filter_of(UUID(V4).bytes)), ["order-1"]),
        (FrameIds(IdLayout.TEXT, *none, filter_of(b"order-1")), ["order-1", "order-2"]),
        (FrameIds(IdLayout.TEXT, *none, filter_of(b"order-1", b"order-2")), ["order-1"]),
        (FrameIds(IdLayout.TEXT, *none, b""), ["order-1"]),
        (FrameIds(IdLayout.TEXT, *none, filter_of(UUID(V4).bytes)), [V4]),
    ):
        (finding,) = indexed(codec, ids, *rows).findings
        assert finding.what == "its index does not fit the correlation ids of its rows"
        assert finding.offset is not None and finding.offset > 0
    (finding,) = indexed(codec, FrameIds(IdLayout.UUID, 1000, 1000, b""), V7, V7, said=3).findings
    assert finding.what == "2 rows, but its index says 3"


@pytest.mark.parametrize("codec", COMPRESSED)
def test_an_index_of_another_length_is_found_with_its_frame(codec: str) -> None:
    encoder = FrameEncoder(codec)
    frame = encoder.data_frame(
        ROW.replace(b",id,", f",{V7},".encode()), tag(1), FrameIds(IdLayout.UUID, 1000, 1000, b"")
    )
    (found,) = iter_frames(codec, io.BytesIO(frame))
    assert found.index is not None
    lie = encode_index(FrameIndex(found.index.length - 1, 1, found.index.ids))
    store = MemoryStore()
    header = encoder.header_frame(HEADER)
    content = header + frame.replace(encode_index(found.index), lie)
    store.blobs["data.csv" + encoder.suffix] = StoredBlob(bytearray(content))
    (finding,) = check(store).findings
    assert finding.offset == len(header)
    assert "its index says" in finding.what
