"""Where a record is: `collectord where`. Searches the blobs of a few days for an id, frame by frame.

A frame whose index says that the id is not in it is passed over. Any other is searched as bytes for the id's text; only
records that hold it are read as CSV, to see that the id is theirs and not a value of the user's. Memory: one frame at a
time. One thread.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from collectord.encode import frame_index
from collectord.encode.frame import JSONL, TELEMETRY
from collectord.encode.frame_reader import Frame, first_frame_text, iter_frames
from collectord.errors import NeverAgain
from collectord.model import BlobInfo
from collectord.reader import correlation, events, telemetry
from collectord.reader.blobs import READ_BYTES, Archived, BlobFile
from collectord.reader.verify import RecordCounter
from collectord.upload.naming import codec_of
from collectord.upload.store import BlobStore
from collectord.uuids import is_v7, milliseconds, raw_uuid

_NAMED_DAY = re.compile(r"/\d{4}/\d\d/\d\d/")


@dataclass(frozen=True, slots=True)
class Hit:
    """A row whose correlation id is the wanted one."""

    blob: str
    offset: int
    """Where its frame begins. For plain text: where the piece of text begins that was read with it; for lines of JSON its
    line."""
    row: int
    """Its number in the blob; 1 is the first, below the header if there is one."""
    text: str
    """The row, without its line end; of lines of JSON the row's object."""


@dataclass(slots=True)
class Effort:
    """What a search took."""

    bytes_read: int = 0
    """What the store was asked for."""
    frames: int = 0
    """With rows; pieces of plain text are none."""
    passed: int = 0
    """How many of them were passed over, since the id is not in their index."""


def time_of(wanted: str) -> datetime | None:
    """When a UUIDv7 was made; None for any other id."""
    raw = raw_uuid(wanted)
    if raw is None or not is_v7(raw):
        return None
    return datetime.fromtimestamp(milliseconds(raw) / 1000, timezone.utc)


def days_of(wanted: str, first: date | None, count: int | None, today: date) -> list[date]:
    """The days to search: those given, else that of a UUIDv7 and the next, else the last seven and tomorrow."""
    made = time_of(wanted)
    if first is None and made is not None:
        first, count = made.date(), count or 2
    if first is None:
        count = count or 7
        return [today + timedelta(days=1 - back) for back in range(count + 1)]
    return [first + timedelta(days=more) for more in range(count or 1)]


def may_hold(name: str, day: date) -> bool:
    """Whether a blob of this name can hold rows of the day: never no where it does."""
    year, month, day_of_month = _digits(day)
    # Also in a layout that says the day before the month.
    if f"/{year}/{month}/{day_of_month}/" in name or f"/{year}/{day_of_month}/{month}/" in name:
        return True
    # In a layout of one's own the digits stand somewhere; where the usual folders name another day, they do not count.
    return not _NAMED_DAY.search(name) and all(digits in name for digits in _digits(day))


def needles(wanted: str) -> list[bytes]:
    """The id as the log may hold it: as text, and the 16 bytes of a uuid in canonical form."""
    raw = raw_uuid(wanted)
    return [wanted.encode()] if raw is None else [wanted.encode(), raw]


def where(
    store: BlobStore, blobs: Iterable[BlobInfo], wanted: str, effort: Effort, troubled: Callable[[str, str], None]
) -> Iterator[Hit]:
    """The rows with this correlation id. What cannot be read is told to `troubled` (blob, why), and the next one follows.

    `effort` is added to.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused.
    """
    for blob in blobs:
        if blob.size:
            file = BlobFile(store, blob)
            try:
                yield from _search(blob.name, file, wanted, effort)
            except NeverAgain as error:
                troubled(blob.name, str(error))
            except Archived as error:
                troubled(blob.name, error.why)
            finally:
                effort.bytes_read += file.bytes_read


def _search(name: str, file: BlobFile, wanted: str, effort: Effort) -> Iterator[Hit]:
    codec = codec_of(name)
    if codec == TELEMETRY:
        yield from _events(name, io.BufferedReader(file, READ_BYTES), wanted)
        return
    if codec == JSONL:
        yield from _lines(name, io.BufferedReader(file, READ_BYTES), wanted)
        return
    if codec == "none":
        pieces = pieces_of_text(io.BufferedReader(file, READ_BYTES))
    else:
        pieces = iter_frames(codec, file, lambda index: frame_index.may_hold(index.ids, wanted))
    column = correlation.place_of(correlation.cells(next(pieces).text))
    if column is None:
        raise NeverAgain("it does not begin with a header row of ours")
    before = 0
    for piece in pieces:
        effort.frames += piece.passed or (codec != "none" and bool(piece.text))
        effort.passed += piece.passed
        for row, record in hits(piece.text, wanted, column):
            yield Hit(name, piece.offset, before + row, record)
        known = piece.index or piece.tag
        if known is not None:
            before += known.rows
        else:
            count = RecordCounter()
            count.feed(piece.text)
            before += count.records


def _lines(name: str, file: io.BufferedReader[BlobFile], wanted: str) -> Iterator[Hit]:
    """The rows with the id in lines of JSON."""
    sought = json.dumps(wanted, ensure_ascii=False).encode()
    offset = before = 0
    while line := file.readline(events.MAX_LINE):
        count = events.rows_in(line)
        if sought in line and (event := events.read(line)).correlation == wanted:
            for at, row in enumerate(event.rows):
                yield Hit(name, offset, before + at + 1, json.dumps(row, ensure_ascii=False))
        before += count
        offset += len(line)


def _events(name: str, file: io.BufferedReader[BlobFile], wanted: str) -> Iterator[Hit]:
    """The telemetry events with the id: their own, as that is their correlation id on the way."""
    begin = telemetry.begin_of(wanted)
    offset = 0
    for row, line in enumerate(iter(lambda: file.readline(telemetry.MAX_LINE), b""), 1):
        if line.startswith(begin):
            yield Hit(name, offset, row, line.decode().removesuffix("\n"))
        offset += len(line)


def hits(text: bytes, wanted: str, column: int) -> Iterator[tuple[int, str]]:
    """The records of `text` whose cell in `column` is `wanted`, each with its number from 1."""
    for number, start, end in records(text, wanted):
        if correlation.cells(text[start:end])[column : column + 1] == [wanted]:
            yield number, text[start:end].decode().removesuffix("\n")


def records(text: bytes, cell: str) -> Iterator[tuple[int, int, int]]:
    """The records of `text` that hold the text of a cell anywhere: their number from 1, where they begin and end."""
    sought = cell.replace('"', '""').encode()
    count = RecordCounter()
    fed = 0
    at = text.find(sought)
    while at >= 0:
        count.feed(text[fed:at])
        start = _line_end_before(text, at, count.quoted)
        end = _line_end_behind(text, at, count.quoted)
        yield count.records + 1, start, end
        count.feed(text[at:end])
        fed = end
        at = text.find(sought, end)


def _line_end_before(text: bytes, at: int, quoted: int) -> int:
    """Where the record begins that holds position `at`; `quoted`: whether `at` is in a quoted field."""
    while (end := text.rfind(b"\n", 0, at)) >= 0:
        quoted ^= text.count(b'"', end, at) & 1
        if not quoted:
            return end + 1
        at = end
    return 0


def _line_end_behind(text: bytes, at: int, quoted: int) -> int:
    while (end := text.find(b"\n", at)) >= 0:
        quoted ^= text.count(b'"', at, end) & 1
        if not quoted:
            return end + 1
        at = end + 1
    return len(text)


def pieces_of_text(file: io.BufferedReader[BlobFile]) -> Iterator[Frame]:
    """Plain text as its header, then pieces of whole records, as if they were frames. Raises NeverAgain behind the last whole
    record if more follows: whose row that was, nobody can say."""
    rest = file.read(READ_BYTES)
    header = first_frame_text("none", rest) or b""
    yield Frame(0, len(header), header, None)
    offset, rest = len(header), rest[len(header) :]
    more = True
    while more:
        block = file.read(READ_BYTES)
        more = bool(block)
        rest += block
        end = _line_end_before(rest, len(rest), rest.count(b'"') & 1)
        if end:
            yield Frame(offset, end, rest[:end], None)
            offset, rest = offset + end, rest[end:]
    if rest:
        raise NeverAgain(f"it does not end with a whole row; the {len(rest)} bytes from byte {offset} on are no rows")


def _digits(day: date) -> Sequence[str]:
    return f"{day.year:04d}", f"{day.month:02d}", f"{day.day:02d}"
