"""Reading back what has landed: all codecs, parts in order, one header."""

from __future__ import annotations

import pytest

from collectord.encode.frame import CODECS, FrameEncoder
from collectord.encode.frame_reader import FrameError
from collectord.errors import CallHuman, NeverAgain, TryAgain
from collectord.model import BlobInfo, FrameTag
from collectord.reader.blobs import BlobFile, data_blobs, select
from collectord.reader.cat import HeadersDiffer, cat, header_of
from collectord.testing.store import UNSENT, MemoryStore, StoredBlob
from collectord.upload.naming import codec_of

HEADER = b'a,"b\n""c"""\n'


def store_with(**blobs: bytes) -> MemoryStore:
    store = MemoryStore()
    for name, content in blobs.items():
        store.blobs[name] = StoredBlob(bytearray(content))
    return store


def put(store: MemoryStore, codec: str, part: int, rows: list[bytes], header: bytes = HEADER) -> str:
    """A blob of several frames, as the uploader writes them."""
    encoder = FrameEncoder(codec)
    name = f"w/data{f'.{part}' if part else ''}.csv{encoder.suffix}"
    frames = [encoder.header_frame(header)]
    frames += [encoder.data_frame(text, FrameTag(bytes(16), at, 1)) for at, text in enumerate(rows)]
    store.blobs[name] = StoredBlob(bytearray(b"".join(frames)))
    return name


@pytest.mark.parametrize("codec", CODECS)
def test_parts_are_printed_in_their_order_with_the_header_once(codec: str) -> None:
    """Part 10 comes behind part 2."""
    store = MemoryStore()
    for part in (10, 0, 2, 1):
        put(store, codec, part, [b"%d,x\n" % part, b'%d,"y\nz"\n' % part])
    blobs = data_blobs(store)
    text = b"".join(cat(store, blobs))
    assert text == HEADER + b"".join(b'%d,x\n%d,"y\nz"\n' % (part, part) for part in (0, 1, 2, 10))


@pytest.mark.parametrize("codec", CODECS)
def test_parts_with_other_columns_are_refused_before_anything_is_printed(codec: str) -> None:
    store = MemoryStore()
    names = [put(store, codec, 0, [b"1\n"]), put(store, codec, 1, [b"2\n"], b"other\n")]
    with pytest.raises(HeadersDiffer) as error:
        next(cat(store, data_blobs(store)))
    assert all(name in str(error.value) for name in names)


def test_parts_of_different_codecs_can_be_printed_together() -> None:
    store = MemoryStore()
    for part, codec in enumerate(CODECS):
        put(store, codec, part, [b"%d,x\n" % part])
    assert b"".join(cat(store, data_blobs(store))) == HEADER + b"0,x\n1,x\n2,x\n"


def test_plain_text_larger_than_a_read_is_printed_whole() -> None:
    store = MemoryStore()
    rows = b"1,2\n" * 1_500_000
    put(store, "none", 0, [rows])
    put(store, "none", 1, [rows])
    assert b"".join(cat(store, data_blobs(store))) == HEADER + rows + rows


def test_an_empty_blob_is_skipped() -> None:
    """It was created, and its first append has not landed."""
    store = store_with(**{"w/data.csv": b""})
    put(store, "none", 1, [b"1,x\n"])
    assert b"".join(cat(store, data_blobs(store))) == HEADER + b"1,x\n"
    assert list(cat(store, [])) == []


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_torn_frame_is_an_error_that_names_its_place(codec: str) -> None:
    store = MemoryStore()
    name = put(store, codec, 0, [b"1,x\n", b"2,x\n"])
    del store.blobs[name].content[-3:]
    printed = []
    with pytest.raises(FrameError, match="frame at byte"):
        for text in cat(store, data_blobs(store)):
            printed.append(text)
    assert b"".join(printed) == HEADER + b"1,x\n", "what is whole is printed"


def test_a_blob_without_a_whole_header_is_named() -> None:
    store = store_with(**{"w/data.csv": b"a,b"})
    with pytest.raises(NeverAgain, match=r"w/data\.csv"):
        header_of(store, data_blobs(store)[0])


def test_control_documents_are_no_data() -> None:
    store = store_with(**{"_collectord/services.json": b"{}", "w/data.csv": b"a\n"})
    assert [blob.name for blob in data_blobs(store)] == ["w/data.csv"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.csv.zst", "zstd"), ("a.csv.gz", "gzip"), ("a.csv", "none"), ("a.zst/b.csv", "none"), ("", "none")],
)
def test_the_suffix_states_the_codec(name: str, codec: str) -> None:
    assert codec_of(name) == codec


def test_a_name_means_a_blob_or_everything_that_begins_with_it() -> None:
    blobs = [BlobInfo(name, 1, {}) for name in ("a/data.csv", "a/data.csv.zst", "b/data.csv")]
    assert [blob.name for blob in select(blobs, "a/data.csv")] == ["a/data.csv"]
    assert [blob.name for blob in select(blobs, "a/")] == ["a/data.csv", "a/data.csv.zst"]
    assert select(blobs, "c") == []


def test_what_is_appended_while_reading_is_not_read() -> None:
    store = store_with(x=b"123")
    file = BlobFile(store, BlobInfo("x", 3, {}))
    store.blobs["x"].content += b"456"
    assert file.read() == b"123"


def test_an_append_that_a_listing_saw_half_written_is_no_torn_frame() -> None:
    """A directory's listing does not wait for the append under way; the length that counts is asked for."""
    store = MemoryStore()
    name = put(store, "zstd", 0, [b"1,2\n"])
    size = len(store.blobs[name].content)
    put(store, "zstd", 0, [b"1,2\n", b"3,4\n"])
    seen = BlobInfo(name, size + 5, {})
    assert b"".join(cat(store, [seen])) == HEADER + b"1,2\n3,4\n"


def test_a_store_that_does_not_answer_is_worth_another_try() -> None:
    store = store_with(x=b"123")
    store.plan("read", UNSENT)
    with pytest.raises(TryAgain, match="x: "):
        BlobFile(store, BlobInfo("x", 3, {})).read()
    assert store.fired == 1


@pytest.mark.parametrize("content", [None, b"12"])
def test_a_blob_that_was_removed_or_replaced_by_a_shorter_one_is_no_end_of_file(content: bytes | None) -> None:
    """Otherwise what is missing would look like all there is."""
    store = store_with(**({} if content is None else {"x": content}))
    with pytest.raises(CallHuman, match="x: "):
        BlobFile(store, BlobInfo("x", 3, {})).read()
