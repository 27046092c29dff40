"""A blob without some of its rows: which bytes have to go, and what stands there instead. Changes nothing.

Frames without such rows stay byte for byte, and so do the rows that stay, as text. A frame that loses rows keeps writer and
sequence; its tag and index say the rows and ids that are left. A frame that loses all goes. Lines of JSON go whole.

Memory: one frame at a time, and the frames of a blob that lose rows. One thread.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import xxhash

from collectord.encode import frame_index
from collectord.encode.frame import JSONL, FrameEncoder
from collectord.encode.frame_index import FrameIndex
from collectord.encode.frame_reader import Frame, FrameError, iter_frames
from collectord.errors import NeverAgain
from collectord.model import BlobInfo
from collectord.reader import correlation, events
from collectord.reader.blobs import READ_BYTES, BlobFile
from collectord.reader.tally import period_of
from collectord.reader.where import pieces_of_text, records
from collectord.telemetry.large import FOLDER as LARGE
from collectord.upload.naming import TELEMETRY_PREFIX, codec_of
from collectord.upload.store import BlobStore
from collectord.uuids import raw_uuid

Needles = tuple[tuple[bytes, bool], ...]
"""Bytes, and whether they count only where no letter or digit touches them."""
_NOT_BEFORE = rb"(?:(?<![0-9A-Za-z])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
"""What looks like a letter before them may be the end of an escape, as in `\\nloan-7`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: those with one of the correlation ids, or those for which all of `cells` hold (column, text)."""

    ids: tuple[str, ...] = ()
    cells: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.ids and not self.cells:
            raise ValueError("nothing is wanted")

    def may_be_in(self, index: FrameIndex) -> bool:
        """Whether a frame with this index can have such rows."""
        return bool(self.cells) or any(frame_index.may_hold(index.ids, one) for one in self.ids)


@dataclass(frozen=True, slots=True)
class Cut:
    """Bytes of a blob to be taken out, and those to be put there."""

    offset: int
    length: int
    instead: bytes


@dataclass(slots=True)
class Cuts:
    """What has to be done to a blob."""

    cuts: list[Cut] = field(default_factory=list)
    rows: int = 0
    frames: int = 0
    """With such rows; of plain text, pieces."""
    digests: list[int] = field(default_factory=list)
    """Of the rows, as the rebuild of a ledger makes them."""
    writers: Counter[str] = field(default_factory=Counter)
    events: list[str] = field(default_factory=list)
    period: tuple[str, int] | None = None
    header: int = 0
    """Bytes before the first frame with rows."""
    columnless: bool = False
    """It has not the columns of which values are wanted."""

    def length(self, size: int) -> int:
        """Of a blob of `size` bytes afterwards."""
        return size + sum(len(cut.instead) - cut.length for cut in self.cuts)


def cuts(store: BlobStore, blob: BlobInfo, wanted: Wanted, progress: Callable[[int], None] = lambda size: None) -> Cuts:
    """What has to go from a blob. `progress` is told how many more of its bytes were looked at.

    Raises:
        NeverAgain: it is damaged, or no blob of ours.
        TryAgain: the store did not answer.
        CallHuman: it refused, or the blob is gone.
    """
    found = Cuts()
    if not blob.size:
        return found
    try:
        with io.BufferedReader(BlobFile(store, blob), READ_BYTES) as file:
            if blob.name.startswith(TELEMETRY_PREFIX):
                needles = _telemetry_needles(wanted.ids)
                if blob.name.startswith(LARGE):
                    _large(found, file, blob.size, needles)
                else:
                    _lines(found, file, lambda line: _telemetry(found, line, needles))
            elif codec_of(blob.name) == JSONL:
                texts = [
                    json.dumps(one, ensure_ascii=False)[1:-1].encode() for one in wanted.ids or (wanted.cells[0][1],)
                ]
                _lines(found, file, lambda line: _event(found, line, wanted, texts))
            elif codec_of(blob.name) == "none":
                _frames(found, pieces_of_text(file), wanted, None, progress)
            else:
                codec = codec_of(blob.name)
                frames = iter_frames(codec, BlobFile(store, blob), wanted.may_be_in if wanted.ids else None)
                _frames(found, frames, wanted, FrameEncoder(codec), progress)
    except (UnicodeDecodeError, csv.Error):
        raise NeverAgain("it holds what is no text, or no CSV") from None
    return found


# ---------------------------------------------------------------------- CSV


def _frames(
    found: Cuts, frames: Iterator[Frame], wanted: Wanted, encoder: FrameEncoder | None, progress: Callable[[int], None]
) -> None:
    first = next(frames)
    header, names = first.text, correlation.cells(first.text)
    if correlation.place_of(names) is None:
        raise NeverAgain("it does not begin with a header row of ours")
    found.header = first.length
    progress(first.length)
    applies = _row_test(names, wanted)
    found.columnless = applies is None
    for frame in frames:
        progress(frame.length)
        if applies is None or frame.passed or not frame.text:
            continue
        spans = _spans(frame.text, wanted, applies)
        if not spans:
            continue
        found.period = found.period or period_of(header, frame.text[spans[0][0] : spans[0][1]])
        found.frames += 1
        found.rows += len(spans)
        found.digests += [xxhash.xxh3_64_intdigest(frame.text[begin : end - 1]) for begin, end in spans]
        if encoder is None:
            found.cuts += [Cut(frame.offset + begin, end - begin, b"") for begin, end in spans]
            continue
        if frame.tag is not None:
            found.writers[frame.tag.writer.hex()] += len(spans)
        found.cuts.append(Cut(frame.offset, frame.length, _without(frame, spans, header, encoder)))


def _row_test(names: Sequence[str], wanted: Wanted) -> Callable[[list[str]], bool] | None:
    """Says of a row's cells whether they are wanted. None: these columns cannot have such rows."""
    if wanted.ids:
        place, ids = correlation.place_of(list(names)), frozenset(wanted.ids)
        return lambda cells: place is not None and place < len(cells) and cells[place] in ids
    if any(name not in names for name, _ in wanted.cells):
        return None
    # Of two columns of one name the last counts, as it does for the ids.
    places = [(len(names) - 1 - list(names)[::-1].index(name), text) for name, text in wanted.cells]
    return lambda cells: all(place < len(cells) and cells[place] == text for place, text in places)


def _spans(text: bytes, wanted: Wanted, applies: Callable[[list[str]], bool]) -> list[tuple[int, int]]:
    """Where the wanted rows stand, in their order."""
    needles = wanted.ids or (wanted.cells[0][1],)
    return sorted(
        {
            (begin, end)
            for needle in needles
            for _, begin, end in records(text, needle)
            if applies(correlation.cells(text[begin:end]))
        }
    )


def _without(frame: Frame, spans: Sequence[tuple[int, int]], header: bytes, encoder: FrameEncoder) -> bytes:
    """A frame without some rows; empty if no row is left."""
    pieces, at = [], 0
    for begin, end in spans:
        pieces.append(frame.text[at:begin])
        at = end
    text = b"".join([*pieces, frame.text[at:]])
    if not text:
        return b""
    if frame.tag is None:
        # Not written by a daemon of today; it stays as it is, but for the rows.
        return encoder.header_frame(text)
    ids = None
    if frame.index is not None:
        try:
            ids = correlation.ids_of(frame.index.ids, header, text)
        except ValueError as error:
            raise FrameError(frame.offset, str(error)) from error
    return encoder.data_frame(text, replace(frame.tag, rows=frame.tag.rows - len(spans)), ids)


# ---------------------------------------------------------------------- lines of JSON


def _lines(found: Cuts, file: io.BufferedReader[BlobFile], is_wanted: Callable[[bytes], bool]) -> None:
    offset = 0
    while line := file.readline(events.MAX_LINE):
        if is_wanted(line):
            found.cuts.append(Cut(offset, len(line), b""))
            found.frames += 1
        offset += len(line)


def _event(found: Cuts, line: bytes, wanted: Wanted, texts: Sequence[bytes]) -> bool:
    """Whether a request of the v2 door goes; adds its rows. It goes whole if any of its rows is wanted, and none can be
    where none of `texts` stands."""
    if not any(one in line for one in texts):
        return False
    event = events.read(line)
    if not (event.correlation in wanted.ids if wanted.ids else any(_fits(row, wanted.cells) for row in event.rows)):
        return False
    found.rows += len(event.rows)
    found.digests += map(xxhash.xxh3_64_intdigest, events.same_rows(event))
    found.writers[event.writer.hex()] += len(event.rows)
    found.events.append(f"{event.writer.hex()}-{event.sequence}-{event.number}")
    found.period = found.period or (event.time.removesuffix("Z"), 60)
    return True


def _fits(row: dict[str, Any], cells: Sequence[tuple[str, str]]) -> bool:
    return all(name in row and text in (row[name], json.dumps(row[name])) for name, text in cells)


def _telemetry(found: Cuts, line: bytes, needles: Needles) -> bool:
    """Whether an item of telemetry goes: if an id stands anywhere in it. Adds it."""
    if not _holds(line, needles):
        return False
    found.rows += 1
    found.digests.append(xxhash.xxh3_64_intdigest(line.removesuffix(b"\n")))
    return True


def _large(found: Cuts, file: io.BufferedReader[BlobFile], size: int, needles: Needles) -> None:
    """The content of one item, which goes whole. It is no larger than a message, but for its escapes."""
    # With its size: without, Python asks the store for 8 KiB at a time.
    if _holds(file.read(size), needles):
        found.rows, found.frames = 1, 1
        found.cuts.append(Cut(0, size, b""))


@lru_cache(8)
def _telemetry_needles(ids: tuple[str, ...]) -> Needles:
    """How an id may stand in an item: as text, also as a text within JSON within JSON, and as the hex of an operation id. And
    whether it is that id only where no letter or digit touches it: `loan-7` is not `loan-70`, while a uuid is found anywhere."""
    found: dict[bytes, bool] = {}
    for one in ids:
        once = json.dumps(one, ensure_ascii=False)[1:-1]
        texts = [once.encode(), json.dumps(once, ensure_ascii=False)[1:-1].encode(), json.dumps(one)[1:-1].encode()]
        raw = raw_uuid(one)
        if raw is not None:
            texts.append(raw.hex().encode())
        for text in texts:
            found[text] = raw is None and found.get(text, True)
    return tuple(found.items())


def _holds(item: bytes, needles: Needles) -> bool:
    # First as plain bytes: an expression of all ids would take a hundred times as long for each item.
    return any(text in item and (not alone or _stands_alone(text, item)) for text, alone in needles)


def _stands_alone(text: bytes, item: bytes) -> bool:
    before = _NOT_BEFORE if text[:1].isalnum() else b""
    behind = rb"(?![0-9A-Za-z])" if text[-1:].isalnum() else b""
    return re.search(before + re.escape(text) + behind, item) is not None
