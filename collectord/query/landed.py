"""What has landed, read while DuckDB asks for it: blobs as Arrow batches.

Memory: a few blocks, or one frame, at a time. What cannot be read is left out, counted, and told at the end.
Threads: DuckDB's, one at a time for each reading.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from collectord.encode.frame import JSONL
from collectord.encode.frame_reader import iter_frames
from collectord.errors import NeverAgain
from collectord.model import BlobInfo
from collectord.query.records import lines_of, records_of
from collectord.reader.blobs import READ_BYTES, BlobFile
from collectord.reader.where import pieces_of_text
from collectord.upload.naming import codec_of
from collectord.upload.store import BlobStore

MAX_LINE = 8 << 20
"""Bytes of a line of JSON. None of ours is longer than an append."""
LINE = pa.schema([("line", pa.string())])


class Effort:
    """What answering took, and what was left out. From any thread."""

    def __init__(self, told: Callable[[int], None] = lambda size: None) -> None:
        """`told` gets the bytes that were read."""
        self._told = told
        self._lock = threading.Lock()
        self._broken: dict[tuple[str, int], int] = {}
        self.bytes = 0
        self._notes: dict[str, None] = {}

    def read(self, size: int) -> None:
        with self._lock:
            self.bytes += size
        self._told(size)

    def breaks(self, where: str, offset: int, lines: int) -> None:
        """The block that begins there has so many broken lines. What is read twice counts once."""
        if lines:
            with self._lock:
                self._broken[where, offset] = lines

    def note(self, what: str) -> None:
        """Something else to be told, once."""
        with self._lock:
            self._notes[what] = None

    @property
    def notes(self) -> list[str]:
        return list(self._notes)

    @property
    def broken(self) -> int:
        """Lines that are no JSON object in UTF-8."""
        return sum(self._broken.values())

    @property
    def broken_in(self) -> str:
        """A blob with one."""
        return min((where for where, _ in self._broken), default="")


class Sieve(Protocol):
    """For one reading of blobs: leaves out the rows that were read of the log before and have landed meanwhile."""

    def first_doubtful(self, blob: str) -> int | None:
        """The byte from which a blob may hold such rows; None: nowhere."""
        ...

    def wrote(self, writer: bytes | None) -> bool:
        """Whether a frame with this writer's tag, or none, may hold such rows."""
        ...

    def without_waiting(self, blob: str, records: list[bytes]) -> list[bytes]:
        """The records, each with its line end, that were not read of the log."""
        ...


class Certain:
    """Nothing was read of a log."""

    def first_doubtful(self, blob: str) -> int | None:
        return None

    def wrote(self, writer: bytes | None) -> bool:
        return False

    def without_waiting(self, blob: str, records: list[bytes]) -> list[bytes]:
        return records


Lines: TypeAlias = "pa.Array[Any]"
"""Texts."""
Judge = Callable[[Lines], Lines]
"""The lines that are JSON objects, of some lines."""


# ---------------------------------------------------------------------- lines of JSON


def lines(
    store: BlobStore, blobs: Iterable[BlobInfo], waiting: Iterable[bytes], sieve: Sieve, judge: Judge, effort: Effort
) -> Iterator[pa.RecordBatch]:
    """Batches of `LINE`: what has landed, and the text that still waits.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused.
    """
    for number, text in enumerate(waiting):
        yield from _batches("the log", number, text, judge, effort)
    for blob in blobs:
        first = sieve.first_doubtful(blob.name)
        for offset, text in _line_blocks(store, blob, effort):
            if first is not None and offset + len(text) > first:
                sure = max(0, first - offset)
                # A length that the ledger knows is the end of a line.
                text = text[:sure] + b"".join(sieve.without_waiting(blob.name, lines_of(text[sure:])))
            yield from _batches(blob.name, offset, text, judge, effort)


def _line_blocks(store: BlobStore, blob: BlobInfo, effort: Effort) -> Iterator[tuple[int, bytes]]:
    """Blocks of whole lines, each with its place in the blob. A line that never ends is left out."""
    file = io.BufferedReader(BlobFile(store, blob), READ_BYTES)
    rest, offset, skipping = b"", 0, False
    while block := file.read(READ_BYTES):
        effort.read(len(block))
        rest += block
        end = rest.rfind(b"\n") + 1
        whole, rest, place = rest[:end], rest[end:], offset
        offset += end
        if skipping and whole:
            begin = whole.find(b"\n") + 1
            whole, place, skipping = whole[begin:], place + begin, False
        if whole:
            yield place, whole
        if len(rest) > MAX_LINE:
            effort.breaks(blob.name, -1 - offset, 0 if skipping else 1)
            offset, rest, skipping = offset + len(rest), b"", True
    if rest and not skipping:
        yield offset, rest


def _batches(where: str, offset: int, text: bytes, judge: Judge, effort: Effort) -> Iterator[pa.RecordBatch]:
    if not text:
        return
    pieces = pyarrow.compute.split_pattern(pa.array([text.removesuffix(b"\n")], pa.large_binary()), "\n").flatten()
    try:
        found = pieces.cast(pa.large_string()).cast(pa.string())
        total = len(found)
    except pa.ArrowInvalid:
        raw = text.removesuffix(b"\n").split(b"\n")
        total = len(raw)
        found = pa.array([line.decode() for line in raw if _is_utf8(line)], pa.string())
    good = judge(found)
    effort.breaks(where, offset, total - len(good))
    if len(good):
        yield pa.RecordBatch.from_arrays([good], schema=LINE)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------------- CSV


@dataclass(frozen=True, slots=True)
class CsvText:
    """Rows as text, without their header, and what their columns are."""

    names: Sequence[str]
    types: Sequence[pa.DataType]


@dataclass(frozen=True, slots=True)
class CsvBlob:
    """A blob, and what its columns are."""

    blob: BlobInfo
    header: bytes
    text: CsvText


def csv_rows(
    store: BlobStore, blobs: Iterable[CsvBlob], waiting: Iterable[tuple[CsvText, bytes]], sieve: Sieve,
    schema: pa.Schema, effort: Effort,
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Batches of `schema`, whose columns are found in each blob by name; what a blob has not is null.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused.
    """
    for columns, rows in waiting:
        yield from _parsed("the log", columns, rows, schema, effort)
    for one in blobs:
        try:
            for text in _pieces(store, one, sieve, effort):
                yield from _parsed(one.blob.name, one.text, text, schema, effort)
        except NeverAgain as error:
            effort.note(f"{one.blob.name} is damaged, and was read up to there: {error}")


def _pieces(store: BlobStore, one: CsvBlob, sieve: Sieve, effort: Effort) -> Iterator[bytes]:
    """The rows of a blob, frame by frame, without the header and without what was read of the log."""
    codec = codec_of(one.blob.name)
    assert codec != JSONL
    raw = BlobFile(store, one.blob)
    file = io.BufferedReader(raw, READ_BYTES)
    first = sieve.first_doubtful(one.blob.name)
    skip, told = len(one.header), 0
    for frame in pieces_of_text(file) if codec == "none" else iter_frames(codec, file):
        effort.read(raw.bytes_read - told)
        told = raw.bytes_read
        text = frame.text
        if skip:
            cut = min(skip, len(text))
            skip, text = skip - cut, text[cut:]
        if text and first is not None and frame.offset + frame.length > first:
            writer = frame.tag.writer if frame.tag else None
            if sieve.wrote(writer):
                text = b"".join(sieve.without_waiting(one.blob.name, records_of(text)))
        if text:
            yield text


def _parsed(where: str, text: CsvText, rows: bytes, schema: pa.Schema, effort: Effort) -> Iterator[pa.RecordBatch]:
    places = [str(number) for number in range(len(text.names))]
    position = {name: place for place, name in zip(places, text.names, strict=True)}
    wanted = [position[name] for name in schema.names if name in position]
    types = dict(zip(places, text.types, strict=True))
    try:
        try:
            table = _read_csv(rows, wanted, types)
        except pa.ArrowInvalid:
            if not any(pa.types.is_timestamp(types[place]) for place in wanted):
                raise
            table = _read_finer_times(rows, wanted, types)
    except pa.ArrowInvalid as error:
        effort.note(f"{where}: {len(records_of(rows))} rows were left out, since they cannot be read: {error}")
        return
    columns: list[pa.Array[Any]] = []
    batch = table.combine_chunks().to_batches()[0] if table.num_rows else None
    if batch is None:
        return
    for column in schema:
        place = position.get(column.name)
        if place is None:
            columns.append(pa.nulls(batch.num_rows, column.type))
        else:
            columns.append(_cast(batch.column(place), column.type))
    yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _read_csv(rows: bytes, wanted: list[str], types: dict[str, pa.DataType]) -> pa.Table:
    return pyarrow.csv.read_csv(
        io.BytesIO(rows),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(rows) + 1, column_names=list(types)),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            include_columns=wanted, column_types=types, null_values=[""], strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip


def _read_finer_times(rows: bytes, wanted: list[str], types: dict[str, pa.DataType]) -> pa.Table:
    """Likewise, where a time may have nanoseconds, which Arrow refuses to read as microseconds: they are cut off. Reading
    nanoseconds would not do, which end in 2262."""
    times = {place: kind for place, kind in types.items() if pa.types.is_timestamp(kind)}
    table = _read_csv(rows, wanted, {**types, **dict.fromkeys(times, pa.string())})
    for number, place in enumerate(wanted):
        if place in times:
            cut = pyarrow.compute.replace_substring_regex(table.column(number), r"(\.\d{6})\d+", r"\1")
            table = table.set_column(number, place, cut.cast(times[place]))
    return table


def _cast(column: pa.Array[Any], wanted: pa.DataType) -> pa.Array[Any]:
    if column.type == wanted:
        return column
    return column.cast(wanted, safe=False)
