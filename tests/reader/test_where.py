"""`collectord where`: the id's own rows and no others, in every codec, and which blobs are looked at."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime, timezone
from random import Random
from uuid import UUID

import pyarrow as pa
import pytest

from collectord.buffer.assemble import ids_of_texts, ids_of_uuids
from collectord.encode.frame import CODECS, FrameEncoder
from collectord.model import MAX_FILTER, FrameIds, FrameTag, IdLayout
from collectord.reader import where as module
from collectord.reader.blobs import data_blobs
from collectord.reader.verify import OUR_COLUMNS
from collectord.reader.where import Effort, Hit, days_of, hits, may_hold, needles, time_of, where
from collectord.testing.store import Fault, MemoryStore, StoredBlob
from collectord.upload.store import Blocked

HEADER = b'"a\n",' + OUR_COLUMNS + b"\n"
V7 = "019a9f3e-7c1b-7abc-8000-000000000001"
TODAY = date(2026, 11, 21)


def row(identity: str, value: str = '"x\n""y"""') -> bytes:
    return f"{value},{identity},2026-11-21T03:04:05.000006,1440,w,s,m,1,r,0\n".encode()


def put(
    store: MemoryStore, codec: str, *texts: bytes, name: str = "w/2026/11/21/data.csv", layout: IdLayout | None = None
) -> list[int]:
    """Frames of these texts; with a `layout` of the ids they have an index, else they are of an earlier version."""
    encoder = FrameEncoder(codec)
    content = bytearray(encoder.header_frame(HEADER))
    places = []
    for number, text in enumerate(texts):
        places.append(len(content))
        rows = text.count(b",2026-11-21T")
        ids = None if layout is None else ids_in(text, layout)
        content += encoder.data_frame(text, FrameTag(bytes(16), number, rows), ids)
    store.blobs[name + encoder.suffix] = StoredBlob(content)
    return places


def ids_in(text: bytes, layout: IdLayout) -> FrameIds:
    """What the index of a frame says, as the pipeline makes it."""
    records = csv.reader(io.StringIO(text.decode(), newline=""))
    ids = [record[1].encode() for record in records]
    if layout is IdLayout.TEXT:
        return ids_of_texts(pa.array(ids, pa.binary()), MAX_FILTER)
    return ids_of_uuids(b"".join(UUID(one.decode()).bytes for one in ids), MAX_FILTER)


def look(store: MemoryStore, wanted: str) -> tuple[list[Hit], list[str]]:
    troubles: list[str] = []
    found = where(store, data_blobs(store), wanted, Effort(), lambda blob, why: troubles.append(blob))
    return list(found), troubles


@pytest.mark.parametrize("codec", CODECS)
def test_the_rows_of_an_id_are_found_with_blob_frame_and_number(codec: str) -> None:
    """Through line ends in quotes; the id as a value of the user's, or as a part of another id, does not count."""
    store = MemoryStore()
    places = put(
        store, codec, row("other") * 3, row("id-1") + row("other", "id-1") + row("id-11") + row("id-1", '"id-1\n"')
    )
    found, troubles = look(store, "id-1")
    assert not troubles
    (name,) = store.blobs
    assert [(hit.blob, hit.row) for hit in found] == [(name, 4), (name, 7)]
    assert found[1].text == row("id-1", '"id-1\n"').decode().removesuffix("\n")
    if codec != "none":
        assert {hit.offset for hit in found} == {places[1]}
    assert look(store, "id-2") == ([], [])


@pytest.mark.parametrize("codec", CODECS)
def test_an_id_that_the_csv_quotes_is_found(codec: str) -> None:
    store = MemoryStore()
    put(store, codec, row("x") + row('"a ""b"",\nc"'))
    assert [hit.row for hit in look(store, 'a "b",\nc')[0]] == [2]


def test_plain_text_is_found_wherever_the_pieces_end(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    put(store, "none", row("x") * 3 + row("id-1") + row("x") * 3 + row("id-1"))
    for size in range(len(HEADER), len(HEADER) + 80):
        monkeypatch.setattr(module, "READ_BYTES", size)
        assert [hit.row for hit in look(store, "id-1")[0]] == [4, 8]


def test_a_damaged_blob_is_named_and_the_others_are_searched() -> None:
    store = MemoryStore()
    put(store, "zstd", row("id-1"), row("id-1"), name="a/data.csv")
    del store.blobs["a/data.csv.zst"].content[-3:]
    put(store, "zstd", row("id-1"), name="b/data.csv")
    store.blobs["c.csv"] = StoredBlob(bytearray(b"a,b\n1,2\n"))
    store.blobs["d.csv.zst"] = StoredBlob()
    found, troubles = look(store, "id-1")
    assert [hit.blob for hit in found] == ["a/data.csv.zst", "b/data.csv.zst"]
    assert troubles == ["a/data.csv.zst", "c.csv"]


def test_an_archived_blob_is_named_and_the_others_are_searched() -> None:
    store = MemoryStore()
    for name in ("a/data.csv", "b/data.csv"):
        put(store, "zstd", row("id-1"), name=name)
    store.plan("read", Fault(Blocked("immutable", "409 BlobArchived")))
    found, troubles = look(store, "id-1")
    assert [hit.blob for hit in found] == ["b/data.csv.zst"]
    assert troubles == ["a/data.csv.zst"]


def test_plain_text_that_ends_amid_a_row_is_named_as_damaged() -> None:
    store = MemoryStore()
    put(store, "none", row("id-1") + row("id-2")[:-2])
    found, troubles = look(store, "id-1")
    assert [hit.row for hit in found] == [1]
    assert troubles == list(store.blobs)
    assert look(store, "id-2") == ([], troubles)


def test_records_are_numbered_from_the_beginning_of_the_text() -> None:
    text = row("a") + row("b") * 2
    assert [number for number, _ in hits(text, "b", 1)] == [2, 3]
    assert [number for number, _ in hits(text, "a", 1)] == [1]


def test_a_uuid_of_version_7_says_its_day_and_no_other_id_does() -> None:
    made = time_of(V7)
    assert made == datetime.fromtimestamp(0x019A9F3E7C1B / 1000, timezone.utc)
    for other in ("order-1", V7.upper(), str(UUID(int=4)), V7.replace("-7abc-", "-4abc-")):
        assert time_of(other) is None


def test_the_days_that_are_searched() -> None:
    """Those given; else a UUIDv7's and the next; else the last seven and tomorrow."""
    assert days_of("x", date(2026, 2, 28), 2, TODAY) == [date(2026, 2, 28), date(2026, 3, 1)]
    assert days_of(V7, date(2026, 2, 28), None, TODAY) == [date(2026, 2, 28)]
    made = time_of(V7)
    assert made is not None
    assert days_of(V7, None, None, TODAY)[0] == made.date()
    assert len(days_of(V7, None, None, TODAY)) == 2
    assert len(days_of(V7, None, 5, TODAY)) == 5
    last = days_of("x", None, None, TODAY)
    assert (max(last), min(last)) == (date(2026, 11, 22), date(2026, 11, 15))
    assert min(days_of("x", None, 1, TODAY)) == TODAY


@pytest.mark.parametrize(
    "name, may",
    [
        ("m/2026/11/21/data.csv", True), ("m/2026/11/21/05/data.csv", True), ("m/2026/11/20/21/data.csv", False),
        ("d=20261121/x.csv", True), ("2026-11/21=m.csv", True), ("2026-11/22=m.csv", False), ("m/x.csv", False),
        ("m/2026/21/11/x.csv", True), ("m/2026/21/12/x.csv", False),
    ],
)  # fmt: skip
def test_a_blob_is_left_out_only_if_its_name_cannot_be_of_the_day(name: str, may: bool) -> None:
    assert may_hold(name, TODAY) is may


def test_an_id_is_looked_for_in_the_log_as_it_may_stand_there() -> None:
    assert needles(V7) == [V7.encode(), UUID(V7).bytes]
    assert needles("order") == [b"order"]
    assert needles(V7.upper()) == [V7.upper().encode()]


# ---------------------------------------------------------------- by the index


def v7(ms: int, rest: int = 1) -> str:
    return str(UUID(int=ms << 80 | 7 << 76 | 2 << 62 | rest))


def search(store: MemoryStore, wanted: str) -> tuple[list[int], Effort, int]:
    """The rows' numbers, what the search says that it took, and how often the store was read."""
    before = len(store.requests)
    effort, troubles = Effort(), list[str]()
    found = list(where(store, data_blobs(store), wanted, effort, lambda blob, why: troubles.append(why)))
    assert not troubles
    return [hit.row for hit in found], effort, sum(request[0] == "read" for request in store.requests[before:])


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
@pytest.mark.parametrize("layout", [IdLayout.UUID, IdLayout.TEXT, None])
def test_frames_that_cannot_hold_the_id_are_passed_over_and_the_rows_keep_their_numbers(
    codec: str, layout: IdLayout | None
) -> None:
    """By time, by the filter of uuids or of texts; an id whose rows are cut into two frames is found in both."""
    times = [v7(number) for number in (1000, 2000, 3000)]
    others = [str(UUID(int=number)) for number in (1, 2, 3)]
    store = MemoryStore()
    put(
        store, codec, row(times[0]) + row(others[0]) * 2, row(times[1]) * 3 + row(times[2]), row(times[2]) + row(others[1]),
        layout=layout,
    )  # fmt: skip
    for wanted, rows, passed in (
        (times[0], [1], 2), (others[0], [2, 3], 2), (times[1], [4, 5, 6], 2), (times[2], [7, 8], 1), (others[1], [9], 2),
        (v7(2500), [], 2 if layout is IdLayout.UUID else 3), (v7(5000), [], 3), (others[2], [], 3), ("order-1", [], 3),
        (times[0].upper(), [], 3),
    ):  # fmt: skip
        found, effort, _ = search(store, wanted)
        assert found == rows
        assert effort.frames == 3
        assert effort.passed == (0 if layout is None else passed)


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_most_of_a_large_blob_is_not_asked_for(codec: str) -> None:
    """Ten frames of half a megabyte, one of them with the id; beside a blob without an index, which is read whole."""
    chance = Random(1)
    texts = [
        b"".join(row(v7(10_000 * frame + n), chance.randbytes(400).hex()) for n in range(1200)) for frame in range(10)
    ]
    store = MemoryStore()
    put(store, codec, *texts, layout=IdLayout.UUID)
    (size,) = (len(blob.content) for blob in store.blobs.values())
    assert size > 10 * 450_000
    found, effort, asked = search(store, v7(40_000 + 7))
    assert found == [4 * 1200 + 8]
    assert (effort.frames, effort.passed) == (10, 9)
    assert effort.bytes_read < size / 10 + 11 * 66_000
    assert asked < 15
    put(store, codec, *texts, name="w/2026/11/21/old.csv")
    found, effort, _ = search(store, v7(40_000 + 7))
    assert found == [4 * 1200 + 8] * 2
    assert (effort.frames, effort.passed) == (20, 9)
    assert effort.bytes_read > size


def test_a_damaged_index_is_named_and_the_others_are_searched() -> None:
    store = MemoryStore()
    places = put(store, "zstd", row("id-1"), row("id-1"), name="a/data.csv", layout=IdLayout.TEXT)
    store.blobs["a/data.csv.zst"].content[places[1] + 30] ^= 1
    put(store, "zstd", row("id-1"), name="b/data.csv", layout=IdLayout.TEXT)
    found, troubles = look(store, "id-1")
    assert [hit.blob for hit in found] == ["a/data.csv.zst", "b/data.csv.zst"]
    assert troubles == ["a/data.csv.zst"]
