"""Lines of JSON are counted, searched and checked; what is wrong with them is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pytest

from collectord.encode.frame_reader import first_frame_text
from collectord.encode.jsonl import JsonlPlan
from collectord.model import ColumnType, FrameTag, IdLayout
from collectord.outputs import Outputs
from collectord.reader import events
from collectord.reader.blobs import data_blobs
from collectord.reader.cat import cat
from collectord.reader.tally import base_of, compare, start_of
from collectord.reader.verify import Report, verify
from collectord.reader.where import Effort, where
from collectord.testing.store import MemoryStore, StoredBlob
from collectord.upload.naming import Layout
from tests.encode import batches

WRITER = bytes(range(16))
NAME = f"modelDataCollector/svc/model/inputs/2018/12/31/23/{WRITER.hex()}.jsonl"


def frame(sequence: int, *requests: tuple[str, int]) -> bytes:
    """A frame of requests with an id and so many rows each."""
    plan = batches.schema(ColumnType.STRING, correlation=IdLayout.TEXT)
    ids = [one for one, rows in requests for _ in range(rows)]
    batch = batches.batch_of(
        [
            pa.array([f"{one} said \"{one}\"" for one in ids]), pa.array(ids),
            pa.array([batches.NOON] * len(ids), pa.timestamp("ns")),
            pa.array([row for _, rows in requests for row in range(rows)], pa.uint32()),
        ]
    )  # fmt: skip
    return JsonlPlan(plan).encode(batch, FrameTag(WRITER, sequence, len(ids)))


FRAMES = (frame(3, ("a", 2), ("b", 1)), frame(4, ("c", 1)), frame(7, ("d", 3), ("e", 1), ('f"\n', 1)))
LINES = b"".join(FRAMES).splitlines(keepends=True)


def verified(content: bytes) -> Report:
    store = MemoryStore()
    store.blobs[NAME] = StoredBlob(bytearray(content))
    return verify(store, data_blobs(store))


def test_rows_and_frames_are_counted_for_their_writer() -> None:
    report = verified(b"".join(FRAMES))
    (blob,) = report.blobs
    assert not report.findings
    assert (blob.codec, blob.rows, blob.frames, blob.writers) == ("jsonl", 9, 3, {WRITER: 9})
    writer = report.writers[WRITER]
    assert (writer.frames, writer.rows, writer.first, writer.last) == (3, 9, 3, 7)
    assert any("without checksums" in note for note in report.notes)


def test_the_books_of_a_stream_are_compared() -> None:
    class Books:
        stream, landed, in_log = "sub/rg/Ws/svc/model/10/inputs/default", 9, 0

    report = verified(b"".join(FRAMES))
    layout = Layout(suffix="", writer=WRITER.hex(), outputs=Outputs(["svc/*/*"]))
    (tally,), strangers = compare(report.blobs, WRITER, layout, {Books.stream: Books()}, {Books.stream: Books()})
    assert (tally.rows, tally.wrong, strangers) == (9, "", 0)
    period = start_of(report.blobs[0])
    assert period is not None
    assert (period.start.hour, period.boundary_minutes) == (23, 60)
    assert base_of(NAME.replace(".jsonl", ".2.jsonl")) == NAME
    del report.blobs[0].writers[WRITER]
    (tally,), _ = compare(report.blobs, WRITER, layout, {Books.stream: Books()}, {Books.stream: Books()})
    assert "9 are missing" in tally.wrong


@pytest.mark.parametrize(
    ("harm", "line", "what"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 5, "does not end with a whole line"),
        (lambda lines: [lines[0], b"{" + lines[1], *lines[2:]], 1, "not JSON"),
        (lambda lines: [b"[1]\n", *lines[1:]], 0, "no JSON object"),
        (lambda lines: [b"{}\n", *lines[1:]], 0, "not a list of objects"),
        (lambda lines: [lines[0].replace(b"rows 0-1", b"rows 0-2"), *lines[1:]], 0, "holds 2 rows, but its range"),
        (lambda lines: [lines[0].replace(b'"id":"', b'"id":"x'), *lines[1:]], 0, "not of our form"),
        (lambda lines: [lines[0].replace(b'"time":"', b'"tome":"'), *lines[1:]], 0, "not the fields"),
        (lambda lines: [*lines[:3], lines[4], lines[5]], 3, "line 1 of its frame, where line 0 belongs"),
        (lambda lines: [*lines[:4], lines[5]], 4, "line 2 of its frame, where line 1 belongs"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 1, "frame 3 of writer"),
        (lambda lines: [*lines, lines[2]], 6, "frame 4 of writer"),
        (lambda lines: [*lines[3:], *lines[:3]], 3, "stands behind its frame 7"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 2, "line 1 of its frame, where line 2 belongs"),
    ],
)
def test_damage_is_found_where_it_is(harm: Callable[[list[bytes]], list[bytes]], line: int, what: str) -> None:
    lines = harm(list(LINES))
    findings = verified(b"".join(lines)).findings
    assert [
        finding for finding in findings if finding.offset == sum(map(len, lines[:line])) and what in finding.what
    ], findings


def test_a_line_of_ours_is_read_back() -> None:
    event = events.read(LINES[0])
    assert (event.writer, event.sequence, event.number, event.first, event.correlation) == (WRITER, 3, 0, 0, "a")
    assert event.rows == [{"feat1": 'a said "a"'}] * 2
    assert [events.rows_in(line) for line in LINES] == [2, 1, 1, 3, 1, 1]
    assert events.rows_in(b"{}\n") == 0


def test_the_same_row_is_the_same_wherever_it_was_cut() -> None:
    whole = events.same_rows(events.read(LINES[3]))
    fields = json.loads(LINES[3])
    pieces = [
        fields | {"id": f"{'0' * 32}-{at}-0", "data": [row], "contentrange": f"rows {at}-{at}/*"}
        for at, row in enumerate(fields["data"])
    ]
    cut = [row for piece in pieces for row in events.same_rows(events.read(json.dumps(piece).encode() + b"\n"))]
    assert whole == cut
    assert len(set(whole)) == 3, "equal values in two rows of a request are two rows"


@pytest.mark.parametrize(("wanted", "rows"), [("a", [1, 2]), ("d", [5, 6, 7]), ('f"\n', [9]), ("said", []), ("z", [])])
def test_an_id_is_found_as_what_it_is(wanted: str, rows: list[int]) -> None:
    """And not where a value holds the same text."""
    store = MemoryStore()
    store.blobs[NAME] = StoredBlob(bytearray(b"".join(FRAMES)))
    hits = list(where(store, data_blobs(store), wanted, Effort(), lambda blob, why: pytest.fail(why)))
    assert [hit.row for hit in hits] == rows
    assert all(json.loads(hit.text) == {"feat1": f'{wanted} said "{wanted}"'} for hit in hits)


def test_a_value_that_equals_an_id_is_none() -> None:
    plan = batches.schema(ColumnType.STRING, correlation=IdLayout.TEXT)
    store = MemoryStore()
    store.blobs[NAME] = StoredBlob(
        bytearray(JsonlPlan(plan).encode(batches.columns(plan, [["request 1", "x"]]), FrameTag(WRITER, 1, 2)))
    )
    hits = list(where(store, data_blobs(store), "request 1", Effort(), lambda blob, why: pytest.fail(why)))
    assert [hit.row for hit in hits] == [2]


def test_cat_prints_the_lines() -> None:
    store = MemoryStore()
    for name, content in (
        (NAME, FRAMES[0]),
        (NAME.replace(".jsonl", ".10.jsonl"), FRAMES[2]),
        (NAME.replace(".jsonl", ".1.jsonl"), FRAMES[1]),
    ):
        store.blobs[name] = StoredBlob(bytearray(content))
    assert b"".join(cat(store, data_blobs(store))) == b"".join(FRAMES)


@pytest.mark.parametrize(("head", "text"), [(LINES[0], b""), (LINES[0][:30], b""), (LINES[0][:5], None), (b"", None)])
def test_a_file_of_ours_is_known_by_its_beginning(head: bytes, text: bytes | None) -> None:
    assert first_frame_text("jsonl", head) == text
    with pytest.raises(ValueError, match="event"):
        first_frame_text("jsonl", b"[" + head)
