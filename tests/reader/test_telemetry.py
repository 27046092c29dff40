"""Telemetry events are listed, counted, searched and checked; what is wrong with them is found and named."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from collectord.encode.frame_reader import first_frame_text
from collectord.encode.telemetry import TelemetryPlan
from collectord.model import FrameTag, StreamKind
from collectord.reader import telemetry
from collectord.reader.blobs import blobs_of, data_blobs, landed_blobs
from collectord.reader.cat import cat
from collectord.reader.tally import base_of, compare, start_of
from collectord.reader.verify import Report, verify
from collectord.reader.where import Effort, where
from collectord.testing.store import MemoryStore, StoredBlob
from collectord.upload.naming import Layout
from tests.encode import batches
from tests.encode.test_telemetry import event_schema, traces

WRITER = bytes(range(16))
FOLDER = "_collectord/telemetry/traces/sub/rg/Ws/svc/model/10/2018/12/31/23"
NAME = f"{FOLDER}/{WRITER.hex()}.jsonl"
TEXT = TelemetryPlan(event_schema(StreamKind.TRACE)).encode(
    traces('{"a": 1}', None, "no object", "{}"), FrameTag(WRITER, 1, 4)
)
LINES = TEXT.splitlines(keepends=True)
IDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(at))) for at in range(4)]


def store_of(content: bytes = TEXT, name: str = NAME) -> MemoryStore:
    store = MemoryStore()
    for other in ("sub/rg/data.csv", "_collectord/services.json", f"{FOLDER}/whatever.json", name):
        store.blobs[other] = StoredBlob(bytearray(content if other == name else b""))
    return store


def verified(content: bytes, name: str = NAME) -> Report:
    store = store_of(content, name)
    return verify(store, landed_blobs(store, "_collectord/"))


def test_rows_and_events_are_listed_apart() -> None:
    """And nothing of what else lies under the prefix of control documents."""
    store = store_of()

    def names(*asked: object) -> list[str]:
        return [blob.name for blob in blobs_of(store, *asked)]  # type: ignore[arg-type]

    assert names() == names("sub") == ["sub/rg/data.csv"] == [blob.name for blob in data_blobs(store)]
    assert names("", True) == names("_collectord/telemetry") == names(FOLDER, True) == names(NAME) == [NAME]
    assert names("_collectord") == names("_collectord/services.json") == names("sub", True) == []
    assert [blob.name for blob in landed_blobs(store)] == [NAME, "sub/rg/data.csv"]


def test_events_are_counted_for_their_writer() -> None:
    report = verified(TEXT)
    (blob,) = report.blobs
    assert not report.findings
    assert (blob.codec, blob.rows, blob.frames, blob.writers) == ("telemetry", 4, 0, {WRITER: 4})
    assert any("without checksums" in note for note in report.notes)


def test_the_books_of_a_stream_are_compared() -> None:
    class Books:
        stream, landed, in_log = event_schema(StreamKind.TRACE).stream.key(), 4, 0

    report = verified(TEXT, NAME.replace(".jsonl", ".3.jsonl"))
    layout, books = Layout(suffix="", writer=WRITER.hex()), {Books.stream: Books()}
    (tally,), strangers = compare(report.blobs, WRITER, layout, books, books)
    assert (tally.rows, tally.wrong, strangers) == (4, "", 0)
    period = start_of(report.blobs[0])
    assert period is not None
    assert (period.start.hour, period.boundary_minutes) == (23, 60)
    assert base_of(report.blobs[0].name) == NAME
    report.blobs[0].writers[WRITER] -= 1
    (tally,), _ = compare(report.blobs, WRITER, layout, books, books)
    assert "1 are missing" in tally.wrong


@pytest.mark.parametrize(
    ("harm", "line", "what"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 3, "does not end with a whole line"),
        (lambda lines: [lines[0], b"{" + lines[1], *lines[2:]], 1, "does not begin with an event's id"),
        (lambda lines: [lines[0][:-3] + b"\n", *lines[1:]], 0, "not JSON"),
        (lambda lines: [lines[0].replace(b'{"a": 1}', b"NaN"), *lines[1:]], 0, "NaN is no JSON"),
        (lambda lines: [lines[0].replace(b'{"a": 1}', b'"\xff"'), *lines[1:]], 0, "not JSON"),
        (lambda lines: [b'{"itemId":"x"}\n', *lines[1:]], 0, "its id"),
        (lambda lines: [lines[0].replace(b'"trace"', b'"tracy"'), *lines[1:]], 0, "its type"),
        (lambda lines: [lines[0].replace(b'.123456Z"', b'"'), *lines[1:]], 0, "its time"),
        (lambda lines: [*lines, lines[1]], 4, "stands before this"),
        (lambda lines: [lines[0], *lines], 1, "stands before this"),
    ],
)
def test_damage_is_found_where_it_is(harm: Callable[[list[bytes]], list[bytes]], line: int, what: str) -> None:
    lines = harm(list(LINES))
    findings = verified(b"".join(lines)).findings
    assert [(finding.offset, what in finding.what) for finding in findings] == [(sum(map(len, lines[:line])), True)]


def test_a_name_that_is_not_a_daemons_is_found() -> None:
    (finding,) = verified(TEXT, f"{FOLDER}/mine.jsonl").findings
    assert "which daemon" in finding.what


def test_an_event_is_found_by_its_id_and_by_nothing_in_it() -> None:
    store = store_of(
        TEXT + LINES[0].replace(IDS[0].encode(), IDS[3].encode()).replace(b'{"a": 1}', f'"{IDS[2]}"'.encode())
    )
    for wanted, rows in ((IDS[0], [1]), (IDS[2], [3]), (IDS[3], [4, 5]), ("trace", []), ("", [])):
        effort = Effort()
        hits = list(where(store, blobs_of(store, telemetry=True), wanted, effort, lambda *_: pytest.fail("trouble")))
        assert [hit.row for hit in hits] == rows
        assert all(wanted in hit.text and hit.blob == NAME for hit in hits)
        assert effort.bytes_read == len(store.blobs[NAME].content)


def test_blobs_are_printed_as_they_are() -> None:
    store = store_of()
    assert b"".join(cat(store, [*blobs_of(store, telemetry=True)] * 2)) == 2 * TEXT
    assert first_frame_text("telemetry", TEXT) == b""
    assert first_frame_text("telemetry", TEXT[:5]) is None
    with pytest.raises(ValueError, match="does not begin with an event"):
        first_frame_text("telemetry", b'{"specversion":"1.0"}')


def test_a_line_is_read_back() -> None:
    event = telemetry.read(LINES[0])
    assert (event["itemId"], event["customDimensions"]) == (IDS[0], {"a": 1})
    assert event["timestamp"] == "2018-12-31T23:59:59.123456Z"
    assert batches.NOON // 1000 % 10**6 == 123456
