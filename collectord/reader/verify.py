"""Reads again what has landed, and says what is wrong with it: `collectord verify`. Works on the store alone.

Per blob: whole frames with right checksums, the header first and once, as many rows in each frame as its tag says, and
the ids that its index says; of lines of JSON each line, the rows that it says, and that none of a frame is missing between
others; of telemetry events each line, and that no event stands twice in a blob. Over all of them: no frame twice, and each
writer's frames in their order within a part. Memory: one frame at a time, about 150 bytes for every frame that was read, and
about 100 for every event of a blob. One thread.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import xxhash

from collectord.encode.frame import JSONL, LINE_BEGINS, TELEMETRY
from collectord.encode.frame_reader import Frame, FrameError, first_frame_text, iter_frames
from collectord.errors import CallHuman, TryAgain
from collectord.model import BlobInfo, FrameTag
from collectord.reader import events, telemetry
from collectord.reader.blobs import READ_BYTES, Archived, BlobFile
from collectord.reader.correlation import untrue
from collectord.upload import erased
from collectord.upload.naming import codec_of
from collectord.upload.store import BlobStore, Blocked, Unknown

OUR_COLUMNS = (
    b"$aml_dc_correlation_id,$aml_dc_scoring_timestamp,$aml_dc_boundary,$aml_workspace,"
    b"$aml_service_name,$aml_model_name,$aml_model_version,$aml_request_id,$aml_dc_row"
)
"""How every header ends (docs/formats/blob.md), or else with `$aml_dc_sampling` behind it."""

MOST_EVENTS = 1 << 20
"""Of a blob, for which is looked whether they stand there again."""

_STEP = 1 << 20  # what is split at once, so that a frame full of quotes does not become as many objects


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `offset`: where in the blob, None if it is not about a place."""

    blob: str
    offset: int | None
    what: str


@dataclass(slots=True)
class BlobTotals:
    """What one blob holds, up to the first damage."""

    name: str
    size: int
    codec: str
    frames: int = 0
    """With rows; codec none and telemetry events have none to count."""
    rows: int = 0
    writers: dict[bytes, int] = field(default_factory=dict)
    """Rows by writer. Empty for codec none."""
    header: bytes = b""
    first_record: bytes = b""
    """The first row as text, from which the blob's day follows."""


@dataclass(slots=True)
class WriterTotals:
    """What one writer has in all blobs."""

    frames: int = 0
    rows: int = 0
    first: int = 0
    last: int = 0
    """Its lowest and highest sequence number."""


@dataclass(slots=True)
class Report:
    """What was read and what is wrong with it. `notes` say what could not be checked."""

    blobs: list[BlobTotals] = field(default_factory=list)
    writers: dict[bytes, WriterTotals] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    archived: int = 0
    """Blobs that are not among `blobs`, since the store does not let them be read."""


class RecordCounter:
    """Counts the records of CSV text that comes in pieces: its line ends outside quotes. No loop over rows."""

    __slots__ = ("_ended", "quoted", "records")

    def __init__(self) -> None:
        self.records = 0
        self.quoted = 0
        """1 within a quoted field."""
        self._ended = True

    def feed(self, text: bytes) -> None:
        for at in range(0, len(text), _STEP):
            # A doubled quote leaves and enters again, with nothing between.
            pieces = text[at : at + _STEP].split(b'"')
            self.records += b"".join(pieces[self.quoted :: 2]).count(b"\n")
            self.quoted ^= (len(pieces) - 1) & 1
        if text:
            self._ended = text.endswith(b"\n")

    @property
    def whole(self) -> bool:
        """Whether the text so far ends with a record."""
        return self._ended and not self.quoted


def is_header(record: bytes) -> bool:
    """Whether a record is a header row of ours."""
    return record.endswith((OUR_COLUMNS + b"\n", OUR_COLUMNS + b",$aml_dc_sampling\n"))


def verify(store: BlobStore, blobs: Iterable[BlobInfo], progress: Callable[[int], None] = lambda size: None) -> Report:
    """Reads the blobs as far as they were listed. `progress` is told how many more bytes have been read.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused, or a blob is gone. (One that is archived is a finding, and the next one follows.)
    """
    report = Report()
    seen: dict[bytes, dict[int, tuple[str, int]]] = {}
    plain = lines = 0
    gone: frozenset[str] | None = None
    for blob in blobs:
        if not blob.size:
            report.notes.append(f"{blob.name}: it is empty; it was created, and its first append has not landed")
        if gone is None and codec_of(blob.name) == JSONL:
            gone = frozenset(event for _, note in erased.notes(store) for event in note.events)
        try:
            totals, findings, tags = _settled(store, blob, progress, gone or frozenset())
        except Archived as error:
            report.findings.append(Finding(blob.name, None, error.why))
            report.archived += 1
            continue
        report.blobs.append(totals)
        report.findings += findings
        report.findings += _placed(blob.name, tags, seen)
        plain += totals.codec == "none"
        lines += totals.codec in LINE_BEGINS
        for _, tag, rows in tags:
            writer = report.writers.setdefault(tag.writer, WriterTotals(first=tag.sequence, last=tag.sequence))
            writer.frames += 1
            writer.rows += rows
            writer.first = min(writer.first, tag.sequence)
            writer.last = max(writer.last, tag.sequence)
    if plain:
        report.notes.append(
            f"{plain} blobs are plain text: without tags and checksums only the header and whole records were checked, "
            "not repeats and damage"
        )
    if lines:
        report.notes.append(
            f"{lines} blobs are lines of JSON: without checksums, damage that leaves a line whole is not found"
        )
    return report


_Tags = list[tuple[int, FrameTag, int]]
"""Offset, tag and counted rows of each frame."""
_Result = tuple[BlobTotals, list[Finding], _Tags]


def _settled(store: BlobStore, blob: BlobInfo, progress: Callable[[int], None], gone: frozenset[str]) -> _Result:
    """Reads a blob; once more where its listed length was that of an append under way, as happens in a directory."""
    failed: CallHuman | None = None
    try:
        result = _read(store, blob, progress, gone)
        if not result[1]:
            return result
    except CallHuman as error:
        failed = error
    length = store.length(blob.name)
    if isinstance(length, Unknown):
        raise TryAgain(f"{blob.name}: {length.detail}")
    if isinstance(length, Blocked):
        raise CallHuman(f"{blob.name}: {length.detail}")
    if length is not None and length != blob.size:
        return _read(store, BlobInfo(blob.name, length, {}), lambda size: None, gone)
    if failed is not None:
        raise failed
    return result


def _read(store: BlobStore, blob: BlobInfo, progress: Callable[[int], None], gone: frozenset[str]) -> _Result:
    codec = codec_of(blob.name)
    totals = BlobTotals(blob.name, blob.size, codec)
    findings: list[Finding] = []
    tags: _Tags = []
    with io.BufferedReader(BlobFile(store, blob), READ_BYTES) as file:
        try:
            if codec == "none":
                findings += _check_plain(totals, file, progress)
            elif codec == JSONL:
                findings += _check_lines(totals, file, tags, progress, gone)
            elif codec == TELEMETRY:
                findings += _check_events(totals, file, progress)
            else:
                for frame in iter_frames(codec, file):
                    findings += _check_frame(totals, frame, tags)
                    progress(frame.length)
        except FrameError as error:
            rest = blob.size - error.offset
            what = f"{error.detail}; the {rest:,} bytes from here on were not checked"
            findings.append(Finding(blob.name, error.offset, what))
    return totals, findings, tags


def _check_frame(totals: BlobTotals, frame: Frame, tags: _Tags) -> Iterator[Finding]:
    """One frame of a compressed blob; adds to the totals, and to `tags`."""

    def found(what: str) -> Finding:
        return Finding(totals.name, frame.offset, what)

    count = RecordCounter()
    count.feed(frame.text)
    if frame.offset == 0:
        totals.header = frame.text
        if frame.tag is not None or not is_header(frame.text) or count.records != 1 or not count.whole:
            yield found("the blob does not begin with a header row of ours")
        if frame.tag is None:
            return
    if not frame.text:
        yield found("a tag without rows" if frame.tag else f"{frame.length} bytes that are no frame of ours")
        return
    if frame.tag is None and frame.text == totals.header:
        yield found("the header stands here once more")
        return
    totals.frames += 1
    totals.rows += count.records
    if not totals.first_record:
        totals.first_record = _first_record(frame.text)
    if not count.whole:
        yield found("it does not end with a whole row")
    if frame.offset and totals.header and header_in(frame.text, totals.header) is not None:
        yield found("the header stands among its rows")
    if frame.index is not None:
        if count.records != frame.index.rows:
            yield found(f"{count.records:,} rows, but its index says {frame.index.rows:,}")
        if totals.header and (what := untrue(frame.index, totals.header, frame.text)):
            yield found(what)
    if frame.tag is None:
        yield found(f"{count.records:,} rows without a tag: not written by a daemon, or its tag was lost")
        return
    totals.writers[frame.tag.writer] = totals.writers.get(frame.tag.writer, 0) + count.records
    tags.append((frame.offset, frame.tag, count.records))
    if count.records != frame.tag.rows:
        yield found(f"{count.records:,} rows, but its tag says {frame.tag.rows:,}")


def _check_plain(
    totals: BlobTotals, file: io.BufferedReader[BlobFile], progress: Callable[[int], None]
) -> Iterator[Finding]:
    """A blob of plain text: its header, and that it ends with a whole record."""
    if not totals.size:
        return
    head = file.peek(READ_BYTES)
    header = _first_record(head)
    if not is_header(header):
        yield Finding(totals.name, 0, "the blob does not begin with a header row of ours")
        header = b""
    totals.header = header
    totals.first_record = _first_record(head[len(header) :]) if header else b""
    count = RecordCounter()
    before, quoted, offset = b"", 0, 0
    while block := file.read(_STEP):
        if header:
            # The end of the last block is looked at again, less what it was found to begin with: a header may have begun
            # there. The blob's own one is not counted.
            window = before + block
            start = offset - len(before)
            at = header_in(window, header, quoted, 1)
            while at is not None:
                yield Finding(totals.name, start + at, "the header stands here once more")
                at = header_in(window, header, quoted, at + 1)
            before = window[-len(header) :]
            quoted ^= window.count(b'"', 0, len(window) - len(before)) & 1
        count.feed(block)
        offset += len(block)
        progress(len(block))
    totals.rows = count.records - (1 if header else 0)
    if not count.whole:
        yield Finding(totals.name, offset, "it does not end with a whole row")


def _check_lines(
    totals: BlobTotals, file: io.BufferedReader[BlobFile], tags: _Tags, progress: Callable[[int], None],
    gone: frozenset[str],
) -> Iterator[Finding]:  # fmt: skip
    """A blob of lines of JSON, which name their frame and their place in it; adds to the totals, and to `tags`. `gone`: ids of
    lines that were erased."""
    offset, expected = 0, 0
    while line := file.readline(events.MAX_LINE):
        totals.first_record = totals.first_record or line
        try:
            event = events.read(line)
        except events.BadEvent as error:
            yield Finding(totals.name, offset, str(error))
        else:
            rows = len(event.rows)
            totals.rows += rows
            totals.writers[event.writer] = totals.writers.get(event.writer, 0) + rows
            at, last, before = tags[-1] if tags else (0, None, 0)
            if event.number and last is not None and (last.writer, last.sequence) == (event.writer, event.sequence):
                tags[-1] = at, replace(last, rows=before + rows), before + rows
            else:
                totals.frames += 1
                tags.append((offset, FrameTag(event.writer, event.sequence, rows), rows))
                expected = 0
            while expected < event.number and f"{event.writer.hex()}-{event.sequence}-{expected}" in gone:
                expected += 1
            if event.number != expected:
                yield Finding(totals.name, offset, f"line {event.number} of its frame, where line {expected} belongs")
            expected = event.number + 1
        offset += len(line)
        progress(len(line))


def _check_events(
    totals: BlobTotals, file: io.BufferedReader[BlobFile], progress: Callable[[int], None]
) -> Iterator[Finding]:
    """A blob of telemetry events: each line, and that none of them stands there twice; adds to the totals."""
    offset = 0
    seen: set[int] = set()
    while line := file.readline(telemetry.MAX_LINE):
        totals.first_record = totals.first_record or line
        try:
            telemetry.read(line)
        except telemetry.BadItem as error:
            yield Finding(totals.name, offset, str(error))
        else:
            totals.rows += 1
            digest = xxhash.xxh3_64_intdigest(line)
            if digest in seen:
                yield Finding(totals.name, offset, "the same event stands before this in the blob")
            elif len(seen) < MOST_EVENTS:
                seen.add(digest)
        offset += len(line)
        progress(len(line))
    writer = telemetry.writer_of(totals.name)
    if writer is None:
        yield Finding(totals.name, None, "its name does not say which daemon wrote it")
    elif totals.rows:
        totals.writers[writer] = totals.rows


def _first_record(text: bytes) -> bytes:
    """The first record with its LF; empty if there is no whole one, or it is not text."""
    try:
        return first_frame_text("none", text) or b""
    except UnicodeDecodeError:
        return b""


def header_in(text: bytes, header: bytes, quoted: int = 0, start: int = 0) -> int | None:
    """Where in `text` the header stands as a record, from `start` on. `quoted`: 1 if the text begins in a quoted field."""
    at = text.find(header, start)
    counted = 0
    while at >= 0:
        quoted ^= text.count(b'"', counted, at) & 1
        counted = at
        if not quoted and (at == 0 or text[at - 1] == 0x0A):
            return at
        at = text.find(header, at + 1)
    return None


def _placed(blob: str, tags: _Tags, seen: dict[bytes, dict[int, tuple[str, int]]]) -> Iterator[Finding]:
    """Frames that stand twice, or not in their writer's order. Adds to `seen`: per writer and sequence, where it stands."""
    highest: dict[bytes, int] = {}
    for offset, tag, _ in tags:
        sequences = seen.setdefault(tag.writer, {})
        name = f"frame {tag.sequence} of writer {tag.writer.hex()}"
        if tag.sequence in sequences:
            other, at = sequences[tag.sequence]
            yield Finding(blob, offset, f"{name} stands here and in {other} at byte {at}")
        elif tag.sequence < highest.get(tag.writer, 0):
            yield Finding(blob, offset, f"{name} stands behind its frame {highest[tag.writer]}")
        sequences.setdefault(tag.sequence, (blob, offset))
        highest[tag.writer] = max(tag.sequence, highest.get(tag.writer, 0))
