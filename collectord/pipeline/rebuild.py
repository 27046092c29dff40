"""How far each partition has landed, found out from log and store: for a ledger that was lost.

The same rows give the same text, however they were cut into frames. So every partition that waits in the log is written
as text once more, record by record, and looked for in the blobs that it may have gone to. Frames of a partition land in
the order of the log, hence what has landed is its beginning, and one position says it all. Where it is not, somebody has
to choose (`Options.doubtful`), and what was found is said precisely.

Assumption: two rows whose records are equal to the last byte, ids and times included, are the same row. Generated ids
never repeat; where users' own do, more such records may be found than wait, and then the last of them are doubtful.

Memory: about 100 bytes for each of `ROWS_AT_ONCE` rows, and two more per row of a partition; more rows are looked for in
several passes over log and blobs. A partition is one thread's; nothing is changed here.
"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import xxhash

from collectord.buffer.entries import Entries
from collectord.buffer.index import Slice, after_entry
from collectord.buffer.seal import MAX_FRAME_ROWS
from collectord.encode.frame import JSONL, TELEMETRY
from collectord.encode.frame_reader import iter_frames
from collectord.encode.jsonl import JsonlPlan
from collectord.encode.telemetry import TelemetryPlan
from collectord.errors import NeverAgain
from collectord.model import BlobInfo, Cursor, Lsn, Partition, Place, Schema
from collectord.pipeline.framer import Framer, Plan
from collectord.pipeline.known import Known
from collectord.pipeline.poison import NOT_ITS_FAULT
from collectord.reader import events
from collectord.reader.blobs import READ_BYTES, BlobFile, data_blobs, landed_blobs, settled, split_part
from collectord.reader.cat import header_of
from collectord.upload import erased
from collectord.upload.naming import TELEMETRY_PREFIX, Layout, codec_of
from collectord.upload.rollover import Part, PartState
from collectord.upload.store import BlobStore

ROWS_AT_ONCE = 1 << 19
SLICE_BYTES = 1 << 20

_ABSENT, _FOUND, _UNREADABLE, _AMBIGUOUS, _ASIDE = range(5)
_CSV_SUFFIXES = r"\.csv(?:\.zst|\.gz)?"
_LINES_SUFFIX = r"\.jsonl"

Doubtful = Literal["repeat", "skip"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the person decides."""

    doubtful: Doubtful = "repeat"
    """Where what is found of a partition is not its beginning: `repeat` uploads everything from the first row that is
    not there, so that nothing is lost and some may land twice; `skip` goes on behind the last row that is there, so
    that nothing lands twice, and counts what is missing before it as quarantined."""
    everywhere: bool = False
    """Look into all blobs of the store that have the same header, not only into those of the present layout."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a partition."""

    partition: Partition
    stream: str
    rows: int
    """How many waited."""
    landed: int
    """How many of them, from the first on, are taken to have landed."""
    given_up: int
    """How many of these are nowhere (`skip` only)."""
    again: int
    """Rows behind that which were found too, and will land twice (`repeat` only)."""
    after: Cursor | None
    """Where uploading goes on; None: nothing has landed."""
    notes: tuple[str, ...] = ()
    """What a person has to know."""
    aside: int = 0
    """Rows before `after` that are in quarantine."""
    torn: tuple[Part, ...] = ()
    """Parts that cannot be read to their end: nobody would find what landed behind that."""


@dataclass(slots=True)
class Progress:
    """How far a search is. Written by its thread, read by any."""

    looked_for: int = 0
    """Rows."""
    blob_bytes: int = 0
    """Read from the store so far."""


class Search:
    """Looks for partitions of one log in one store. See the module."""

    def __init__(
        self,
        store: BlobStore,
        known: Known,
        framer: Framer,
        read_payload: Callable[[Place], memoryview],
        set_aside: Callable[[Partition], Sequence[tuple[Lsn, int, int]]],
        writer_id: bytes,
        options: Options,
    ) -> None:
        """`set_aside`: `(LSN, start, stop)` of the rows that the quarantine holds."""
        self._store = store
        self._known = known
        self._framer = framer
        self._read_payload = read_payload
        self._set_aside = set_aside
        self._writer = writer_id.hex()
        self._options = options
        self._everything: tuple[list[BlobInfo], list[BlobInfo]] | None = None
        """Those of rows, and of telemetry events."""
        self._notes: list[erased.Note] | None = None
        self._sizes: dict[Partition, dict[str, int]] = {}
        self.progress = Progress()

    def look_for(self, partition: Partition, entries: Entries) -> Found:
        """How many of these entries' rows, from the first on, are in the store.

        Raises:
            TryAgain: the store did not answer.
            CallHuman: it refused.
            OSError, MemoryError: the log cannot be read now.
        """
        stream = self._known.stream_key(partition.schema_id)
        rows = sum(count for _, count in entries)
        notes: list[str] = []
        blobs = self._blobs(partition, notes)
        self._sizes[partition] = {blob.name: blob.size for blob in blobs}
        marks = bytearray(rows)
        aside = _ranges(entries, self._set_aside(partition))
        _mark(marks, aside)
        torn: set[str] = set()
        surplus = 0
        passes = max(1, -(-rows // ROWS_AT_ONCE)) if blobs or self._erased(partition) else 0
        for number in range(passes):
            surplus += self._pass(partition, entries, blobs, marks, number, passes, notes, torn)
        # Also where they are what cannot be read.
        _mark(marks, aside)
        self.progress.looked_for += rows
        parts = tuple(self._parts(self._known.base(partition), [blob for blob in blobs if blob.name in torn]))
        return replace(self._judge(partition, stream, entries, marks, surplus, notes), torn=parts)

    def has_grown(self, partition: Partition) -> bool:
        """Whether its blobs are others than when it was looked for: a request of a daemon that is dead may arrive late.

        Raises as `look_for` does.
        """
        self._everything = None
        return {blob.name: blob.size for blob in self._blobs(partition, [])} != self._sizes[partition]

    # ------------------------------------------------------------------ one pass

    def _pass(
        self, partition: Partition, entries: Entries, blobs: Sequence[BlobInfo], marks: bytearray, number: int,
        passes: int, notes: list[str], torn: set[str],
    ) -> int:  # fmt: skip
        """Marks the rows whose hash falls into this pass, and adds the names of torn blobs. Returns how many more of them there are
        than wait."""
        digests = _digests_of(self._known.plan(partition))
        wanted: dict[int, int] = {}
        order, places = array("Q"), array("Q")
        for at, text, count in self._texts(partition, entries):
            if text is None:
                marks[at : at + count] = bytes([_UNREADABLE]) * count
                continue
            for offset, digest in enumerate(digests(text)):
                if digest % passes == number and marks[at + offset] != _ASIDE:
                    wanted[digest] = 0
                    order.append(digest)
                    places.append(at + offset)
        for blob in blobs:
            self._count(blob, wanted, notes, torn)
        erased_from = self._erased(partition)
        for digest, place in zip(order, places, strict=True):
            if wanted[digest]:
                wanted[digest] -= 1
                marks[place] = _FOUND
            elif any(note.has_erased(digest) for note in erased_from):
                # It had landed, and somebody has erased it since.
                marks[place] = _FOUND
        surplus = 0
        if any(wanted.values()):
            for digest, place in zip(order, places, strict=True):
                if wanted[digest]:
                    marks[place] = _AMBIGUOUS
            surplus = sum(wanted.values())
        return surplus

    def _texts(self, partition: Partition, entries: Entries) -> Iterator[tuple[int, memoryview | None, int]]:
        """Index of the first row, text, number of rows; no text where the log cannot be read."""
        schema, plan = self._known.schema(partition.schema_id), self._known.plan(partition)
        at = 0
        for slices in _portions(entries):
            count = sum(piece.stop - piece.start for piece in slices)
            try:
                payloads = [self._read_payload(piece.place) for piece in slices]
                yield at, self._framer.text(schema, plan, slices, payloads), count
            except NOT_ITS_FAULT:
                # Taken as unreadable, it would land again if it has landed.
                raise
            except Exception:  # noqa: BLE001
                # Damage, or poison. One by one, to lose sight of no more than what it is.
                begin = at
                for piece in slices:
                    yield begin, self._readable(schema, plan, piece), piece.stop - piece.start
                    begin += piece.stop - piece.start
            at += count

    def _readable(self, schema: Schema, plan: Plan, piece: Slice) -> memoryview | None:
        try:
            return self._framer.text(schema, plan, [piece], [self._read_payload(piece.place)])
        except NOT_ITS_FAULT:
            raise
        except Exception:  # noqa: BLE001
            # Uploading meets it again and sets it aside, with a count and a reason.
            return None

    def _count(self, blob: BlobInfo, wanted: dict[int, int], notes: list[str], torn: set[str]) -> None:
        """Counts the wanted records of a blob; memory is bounded by a frame."""
        rest = b""
        codec = codec_of(blob.name)
        try:
            with io.BufferedReader(BlobFile(self._store, blob), READ_BYTES) as file:
                for frame in iter_frames(codec, file):
                    self.progress.blob_bytes += frame.length
                    text = rest + frame.text
                    end = text.rfind(b"\n") + 1 if codec in (JSONL, TELEMETRY) else _whole(text)
                    rest = text[end:]
                    for digest in self._digests(blob.name, memoryview(text)[:end], notes):
                        if digest in wanted:
                            wanted[digest] += 1
            if rest:
                torn.add(blob.name)
        except NeverAgain as error:
            torn.add(blob.name)
            note = f"{blob.name} cannot be read to its end ({error}); rows behind that are taken as not landed"
            if note not in notes:
                notes.append(note)

    def _digests(self, blob: str, text: memoryview, notes: list[str]) -> Iterator[int]:
        """A hash of every row of a blob's whole records."""
        codec = codec_of(blob)
        if codec != JSONL:
            yield from (_line_digests if codec == TELEMETRY else _digests)(text)
            return
        for line in bytes(text).splitlines(keepends=True):
            try:
                yield from _event_digests(line)
            except events.BadEvent as error:
                # The lines behind it can be read all the same.
                note = f"{blob} has lines that are damaged ({error}); their rows are taken as not landed"
                if note not in notes:
                    notes.append(note)

    # ------------------------------------------------------------------ which blobs

    def _blobs(self, partition: Partition, notes: list[str]) -> list[BlobInfo]:
        """The blobs with the partition's header that its rows may have gone to: any part, any codec, any writer."""
        header = self._known.plan(partition).header
        if self._options.everywhere:
            if self._everything is None:
                self._everything = data_blobs(self._store), landed_blobs(self._store, TELEMETRY_PREFIX)
            candidates = self._everything[codec_of(self._known.base(partition)) == TELEMETRY]
        else:
            beginning, name = self._names(partition)
            candidates = [blob for blob in landed_blobs(self._store, beginning) if name.fullmatch(blob.name)]
        chosen = []
        for blob in candidates:
            blob = settled(self._store, blob)
            try:
                if blob.size and header_of(self._store, blob) == header:
                    chosen.append(blob)
            except (NeverAgain, ValueError) as error:
                notes.append(f"{blob.name} does not begin like a blob of ours and was left out: {error}")
        return chosen

    @staticmethod
    def _parts(base: str, blobs: Iterable[BlobInfo]) -> Iterator[Part]:
        """Those that uploads would go on with."""
        for blob in blobs:
            _, part, _ = split_part(blob.name)
            if Layout.blob(base, part) == blob.name:
                yield Part(base, part, None, blob.size, 0, PartState.FOREIGN, "it cannot be read to its end")

    def _names(self, partition: Partition) -> tuple[str, re.Pattern[str]]:
        """How the names of a partition's blobs begin, and what all of them are like."""
        base = self._known.base(partition)
        suffixes = _LINES_SUFFIX if codec_of(base) in (JSONL, TELEMETRY) else _CSV_SUFFIXES
        stem = re.sub(f"{suffixes}$", "", base)
        beginning, *_ = stem.partition(self._writer)
        return beginning, re.compile(re.escape(stem).replace(self._writer, "[0-9a-f]{32}") + r"(\.\d+)?" + suffixes)

    def _erased(self, partition: Partition) -> list[erased.Note]:
        """What was erased from blobs that its rows may have gone to."""
        if self._notes is None:
            self._notes = [note for _, note in erased.notes(self._store)]
        if self._options.everywhere:
            return self._notes
        _, name = self._names(partition)
        return [note for note in self._notes if name.fullmatch(note.blob)]

    # ------------------------------------------------------------------ judging

    def _judge(
        self, partition: Partition, stream: str, entries: Entries, marks: bytearray, surplus: int, notes: list[str]
    ) -> Found:  # fmt: skip
        skip = self._options.doubtful == "skip"
        landed = judge(marks, skip)
        behind = sum(marks.count(mark, landed) for mark in (_FOUND, _AMBIGUOUS))
        missing = marks.count(_ABSENT, 0, landed)
        aside = marks.count(_ASIDE, 0, landed)
        base = self._known.base(partition)
        if surplus:
            notes.append(f"{base}: {surplus:,} records stand more often in the store than they wait in the log")
        if behind:
            notes.append(
                f"{base}: {landed:,} rows have landed, then one is missing, but {behind:,} rows behind it are in the "
                "store too: they will land a second time (--doubtful skip would leave out what is missing instead)"
            )
        if missing:
            notes.append(
                f"{base}: {missing:,} rows that are not in the store are given up, since later ones have landed"
            )
        if aside:
            notes.append(f"{base}: {aside:,} rows are in quarantine, and stay there")
        return Found(
            partition, stream, len(marks), landed - missing - aside, missing, behind, _cursor(entries, landed),
            tuple(notes), aside,
        )  # fmt: skip


def judge(marks: bytes | bytearray, skip: bool) -> int:
    """How many rows, from the first on, are taken as landed or set aside. Pure; `marks` has one byte per row, see the
    constants."""
    if skip:
        return max(marks.rfind(mark) for mark in (_FOUND, _AMBIGUOUS, _ASIDE)) + 1
    gap = marks.find(_ABSENT)
    end = gap if gap >= 0 else len(marks)
    # What cannot be read, or may be another's record, counts only with a row behind it that has certainly landed, or was set
    # aside in its turn.
    return max(marks.rfind(_FOUND, 0, end), marks.rfind(_ASIDE, 0, end)) + 1


def _ranges(entries: Entries, places: Sequence[tuple[Lsn, int, int]]) -> list[tuple[int, int]]:
    """Rows of entries, as the numbers that they have among the rows of all of them."""
    if not places:
        return []
    begins: dict[Lsn, int] = {}
    at = 0
    for place, rows in entries:
        begins[place.lsn] = at
        at += rows
    return [(begins[lsn] + start, begins[lsn] + stop) for lsn, start, stop in places if lsn in begins]


def _mark(marks: bytearray, ranges: Sequence[tuple[int, int]]) -> None:
    for begin, end in ranges:
        marks[begin:end] = bytes([_ASIDE]) * (end - begin)


def _cursor(entries: Entries, landed: int) -> Cursor | None:
    """The cursor behind the first `landed` rows."""
    after = None
    for place, rows in entries:
        if landed < rows:
            return Cursor(place.lsn, landed) if landed else after
        landed -= rows
        after = after_entry(place.lsn)
        if not landed:
            break
    return after


def _portions(entries: Iterable[tuple[Place, int]]) -> Iterator[list[Slice]]:
    """All rows in order, in slices of a bounded number of rows and bytes."""
    slices: list[Slice] = []
    count, size = 0, 0
    for place, rows in entries:
        start = 0
        while start < rows:
            stop = min(rows, start + MAX_FRAME_ROWS - count)
            slices.append(Slice(place, rows, start, stop))
            count += stop - start
            size += place.length
            start = stop
            if count >= MAX_FRAME_ROWS or size >= SLICE_BYTES:
                yield slices
                slices, count, size = [], 0, 0
    if slices:
        yield slices


def _digests_of(plan: Plan) -> Callable[[memoryview], Iterator[int]]:
    """What makes a hash of every row of a text that this plan wrote."""
    if isinstance(plan, JsonlPlan):
        return _lines_digests
    return _line_digests if isinstance(plan, TelemetryPlan) else _digests


def _digests(text: memoryview) -> Iterator[int]:
    """A hash of every record of whole records."""
    raw = bytes(text)
    digest = xxhash.xxh3_64_intdigest
    if not raw:
        return
    lines = raw.removesuffix(b"\n").split(b"\n")
    if b'"' not in raw:
        for line in lines:
            yield digest(line)
        return
    pieces: list[bytes] = []
    quotes = 0
    for line in lines:
        pieces.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            yield digest(b"\n".join(pieces))
            pieces.clear()


def _line_digests(text: memoryview) -> Iterator[int]:
    """A hash of every one of whole lines, each of which is a row."""
    return map(xxhash.xxh3_64_intdigest, bytes(text).splitlines())


def _lines_digests(text: memoryview) -> Iterator[int]:
    """A hash of every row of lines for Azure ML, which have several."""
    for line in bytes(text).splitlines(keepends=True):
        yield from _event_digests(line)


def _event_digests(line: bytes) -> Iterator[int]:
    """A hash of every row of a line of JSON; not of the line, since requests are cut into lines as frames are. Raises
    BadEvent for a line that is none of ours."""
    return map(xxhash.xxh3_64_intdigest, events.same_rows(events.read(line)))


def _whole(text: bytes) -> int:
    """Where the last whole record of `text`, which begins with one, ends."""
    end = len(text)
    quotes = text.count(b'"')
    while True:
        if quotes % 2 == 0 and text.endswith(b"\n", 0, end):
            return end
        before = text.rfind(b"\n", 0, max(0, end - 1)) + 1
        if before == 0:
            return 0
        quotes -= text.count(b'"', before, end)
        end = before
