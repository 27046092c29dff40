"""Reading frames: a blob, or the beginning of one, taken apart and checked. What the members look like is written down in
docs/formats/blob.md; `frame.py` writes them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO

import zstandard
from isal import isal_zlib

from collectord.encode import frame_index, frame_tag
from collectord.encode.frame import (
    CODECS,
    GZIP_EXTRA,
    GZIP_HEAD,
    GZIP_INDEX_SUBFIELD,
    GZIP_MAGIC,
    GZIP_SUBFIELD,
    LINE_BEGINS,
    MAX_TEXT,
    TAG_FRAME,
    WORDS,
)
from collectord.encode.frame_index import FrameIndex, decode_index
from collectord.encode.frame_tag import decode_tag
from collectord.encode.window import Source, Window
from collectord.errors import NeverAgain
from collectord.model import FrameTag

_GZIP_STEP = 64 * 1024  # what inflate gets at once: it copies whatever it does not use
_ZSTD_MAGIC = bytes.fromhex("28b52ffd")
_SKIPPABLE_REST = bytes.fromhex("2a4d18")
"""Skippable frames begin with a byte from 50 to 5f, then these."""


class FrameError(NeverAgain):
    """Bytes that are not a whole, undamaged frame. `offset`: where in the file the frame begins."""

    def __init__(self, offset: int, detail: str) -> None:
        super().__init__(f"frame at byte {offset}: {detail}")
        self.offset = offset
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a blob. For codec none and lines of JSON: a block of bytes, cut anywhere."""

    offset: int
    length: int
    """Bytes in the blob, index and tag included."""
    text: bytes
    tag: FrameTag | None
    index: FrameIndex | None = None
    passed: bool = False
    """It was passed over after a look at its index: text and tag are not known."""


def first_frame_text(codec: str, head: bytes) -> bytes | None:
    """The text of the first frame of a blob that begins with `head`: its header row, if the blob is one of ours.

    For codec none the first CSV record, with its LF; empty for lines of JSON. None: `head` ends too early, ask again with more bytes. Raises
    ValueError if a blob of this codec does not begin like this.
    """
    _check_codec(codec)
    if codec == "none":
        end = _record_end(head)
        if end is None:
            return None
        head[:end].decode()
        return head[:end]
    if codec in LINE_BEGINS:
        if head.startswith(LINE_BEGINS[codec]):
            return b""
        if LINE_BEGINS[codec].startswith(head):
            return None
        raise ValueError("it does not begin with an event")
    try:
        if codec == "zstd":
            end = _zstd_end(head)
            return None if end is None else _zstd_text(head[:end])
        member = _gzip_member_at(Window(BytesIO(head)), None)
        return None if member is None else member.text
    except FrameError as error:
        raise ValueError(error.detail) from error


Wanted = Callable[[FrameIndex], bool]


def iter_frames(codec: str, file: Source, wanted: Wanted | None = None) -> Iterator[Frame]:
    """The frames of a blob from `file`'s position on, which counts as offset 0.

    Holds one frame at a time. A zstd frame of ours comes with the index before it and the tag behind it; a skippable frame
    that is neither comes as a frame without text. Frames whose index is not `wanted` come as `passed`: longer ones are
    hopped over, in a file that must be able to seek. Raises FrameError, naming the offset, at a torn or damaged frame.
    """
    _check_codec(codec)
    return _iterate(codec, Window(file, wanted is not None and codec in ("zstd", "gzip")), wanted)


def _check_codec(codec: str) -> None:
    if codec not in (*CODECS, *LINE_BEGINS):
        raise ValueError(f"codec is {codec!r}, allowed: {', '.join((*CODECS, *LINE_BEGINS))}")


def _iterate(codec: str, window: Window, wanted: Wanted | None) -> Iterator[Frame]:
    read = {"zstd": _read_zstd, "gzip": _read_gzip}.get(codec, _read_plain)
    while window.need(1):
        offset = window.offset
        try:
            frame = read(window, wanted)
        except FrameError as error:
            raise FrameError(offset, error.detail) from error
        if not window.take(frame.length):
            raise FrameError(offset, "it is cut off")
        yield frame


def _read_plain(window: Window, wanted: Wanted | None) -> Frame:
    return Frame(window.offset, len(window.data), bytes(window.data), None)


def _read_zstd(window: Window, wanted: Wanted | None) -> Frame:
    index, begin = _zstd_index(window)
    if index is not None:
        if wanted is not None and not wanted(index):
            return Frame(window.offset, begin + index.length, b"", None, index, passed=True)
        window.need(min(begin + index.length, MAX_TEXT))
    while (end := _zstd_end(window.data, begin)) is None:
        if not window.need(len(window.data) + 1):
            raise FrameError(window.offset, "it is cut off")
    if window.data[begin : begin + 4] != _ZSTD_MAGIC:
        if index is not None:
            raise FrameError(window.offset, "its index stands before no rows")
        return Frame(window.offset, end, b"", _tag(bytes(window.data[8:end])))
    text = _zstd_text(window.data[begin:end])
    tag = None
    whole = window.need(end + len(TAG_FRAME) + frame_tag.LENGTH)
    behind = bytes(window.data[end : end + len(TAG_FRAME) + frame_tag.LENGTH])
    if behind and TAG_FRAME.startswith(behind[: len(TAG_FRAME)]):
        if not whole:
            raise FrameError(window.offset, "its tag is cut off")
        tag = _tag(behind[len(TAG_FRAME) :])
        end += len(behind)
    _check_length(index, end - begin)
    return Frame(window.offset, end, text, tag, index)


def _zstd_index(window: Window) -> tuple[FrameIndex | None, int]:
    """The index that the window begins with, and where the data begins: 0 if there is none."""
    head = WORDS.size + len(frame_index.MAGIC)
    window.need(head)
    if not _is_skippable(window.data) or window.data[WORDS.size : head] != frame_index.MAGIC:
        return None, 0
    size = int.from_bytes(window.data[4:8], "little")
    if size > frame_index.MAX_LENGTH:
        raise FrameError(window.offset, f"an index of {size} bytes")
    if not window.need(WORDS.size + size):
        raise FrameError(window.offset, "its index is cut off")
    return _index(bytes(window.data[WORDS.size : WORDS.size + size])), WORDS.size + size


def _check_length(index: FrameIndex | None, length: int) -> None:
    if index is not None and index.length != length:
        raise FrameError(0, f"{length} bytes, but its index says {index.length}")


def _index(data: bytes) -> FrameIndex | None:
    try:
        return decode_index(data)
    except ValueError as error:
        raise FrameError(0, str(error)) from error


def _tag(data: bytes) -> FrameTag | None:
    try:
        return decode_tag(data)
    except ValueError as error:
        raise FrameError(0, str(error)) from error


def _is_skippable(data: bytes | bytearray) -> bool:
    """Whether a skippable frame, or as much of it as is there, begins like this."""
    return data[1:4] == _SKIPPABLE_REST[: len(data[1:4])] and data[0] >> 4 == 5


def _zstd_end(data: bytes | bytearray, begin: int = 0) -> int | None:
    """Where the zstd or skippable frame at `begin` ends (RFC 8878, section 3.1), None if more is needed."""
    magic = bytes(data[begin : begin + 4])
    if not magic:
        return None
    if _is_skippable(magic):
        end = begin + 8 + int.from_bytes(data[begin + 4 : begin + 8], "little")
        return end if begin + 8 <= end <= len(data) else None
    if not _ZSTD_MAGIC.startswith(magic):
        raise FrameError(0, "it does not begin like a zstd frame")
    if len(data) < begin + 5:
        return None
    descriptor = data[begin + 4]
    single_segment = descriptor >> 5 & 1
    position = begin + 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
    position += (single_segment, 2, 4, 8)[descriptor >> 6]
    last = False
    while not last:
        if len(data) < position + 3:
            return None
        block = int.from_bytes(data[position : position + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == 3:
            raise FrameError(0, "a block of reserved type")
        position += 3 + (1 if kind == 1 else size)
    position += 4 * (descriptor >> 2 & 1)
    return position if position <= len(data) else None


def _zstd_text(frame: bytes | bytearray) -> bytes:
    if frame[:4] != _ZSTD_MAGIC:
        raise FrameError(0, "a skippable frame without text")
    try:
        size = zstandard.frame_content_size(frame)
        if size > MAX_TEXT:
            raise FrameError(0, f"it claims {size} bytes of text, at most {MAX_TEXT} are allowed")
        if size == 0:
            # `decompress` would answer b"" without a look at the frame, and so take damage for an empty frame.
            if zstandard.ZstdDecompressor().stream_reader(frame).read(1):
                raise FrameError(0, "it claims to be empty and is not")
            return b""
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_TEXT if size < 0 else 0)
    except zstandard.ZstdError as error:
        raise FrameError(0, str(error)) from error


@dataclass(frozen=True, slots=True)
class _GzipHead:
    """A gzip member's own header."""

    length: int
    tag: FrameTag | None = None
    index: FrameIndex | None = None
    behind_index: int = 0
    """Where in the member the index ends."""


def _gzip_head(data: bytes | bytearray) -> _GzipHead | None:
    """The header that a gzip member begins with (RFC 1952, section 2.3), None if more is needed."""
    if not (data.startswith(GZIP_MAGIC) or GZIP_MAGIC.startswith(data)):
        raise FrameError(0, "it does not begin like a gzip member")
    if len(data) < GZIP_HEAD.size:
        return None
    flags = data[3]
    if flags & 0xE0:
        raise FrameError(0, "reserved flags are set")
    position = GZIP_HEAD.size
    head = _GzipHead(0)
    if flags & GZIP_EXTRA:
        if len(data) < position + 2:
            return None
        end = position + 2 + int.from_bytes(data[position : position + 2], "little")
        if len(data) < end:
            return None
        head = _gzip_extra(bytes(data[:end]), position + 2)
        position = end
    for flag in (8, 16):  # file name, comment: both end with a zero byte
        if flags & flag:
            zero = data.find(0, position)
            if zero < 0:
                return None
            position = zero + 1
    position += 2 if flags & 2 else 0
    return replace(head, length=position) if position <= len(data) else None


def _gzip_extra(data: bytes, position: int) -> _GzipHead:
    """Tag and index in the subfields from `position` to the end of `data`."""
    head = _GzipHead(0)
    while position + 4 <= len(data):
        name, begin = data[position : position + 2], position + 4
        position = begin + int.from_bytes(data[position + 2 : begin], "little")
        if name == GZIP_SUBFIELD and head.tag is None:
            head = replace(head, tag=_tag(data[begin:position]))
        elif name == GZIP_INDEX_SUBFIELD and head.index is None:
            head = replace(head, index=_index(data[begin:position]), behind_index=position)
    return head


def _gzip_member_at(window: Window, wanted: Wanted | None) -> Frame | None:
    """The gzip member that the window begins with, None if it is cut off."""
    while (head := _gzip_head(window.data)) is None:
        if not window.need(len(window.data) + 1):
            return None
    if head.index is not None:
        end = head.behind_index + head.index.length
        if end < head.length:
            raise FrameError(0, f"its index says {head.index.length} bytes, which is less than its header")
        if wanted is not None and not wanted(head.index):
            return Frame(window.offset, end, b"", None, head.index, passed=True)
        window.need(min(end, MAX_TEXT))
    position = head.length
    # Not ISA-L, which forgives codes that readers of the blob refuse.
    stream = zlib.decompressobj(-15)
    texts: list[bytes] = []
    size = 0
    while not stream.eof:
        if not window.need(position + 1):
            return None
        step = bytes(window.data[position : position + _GZIP_STEP])
        try:
            texts.append(stream.decompress(step))
        except zlib.error as error:
            raise FrameError(0, str(error)) from error
        size += len(texts[-1])
        if size > MAX_TEXT:
            raise FrameError(0, f"more than {MAX_TEXT} bytes of text")
        position += len(step)
    position -= len(stream.unused_data)
    if not window.need(position + WORDS.size):
        return None
    text = b"".join(texts)
    if WORDS.unpack_from(window.data, position) != (isal_zlib.crc32(text), size):
        raise FrameError(0, "checksum or length is wrong")
    position += WORDS.size
    _check_length(head.index, position - head.behind_index)
    return Frame(window.offset, position, text, head.tag, head.index)


def _read_gzip(window: Window, wanted: Wanted | None) -> Frame:
    frame = _gzip_member_at(window, wanted)
    if frame is None:
        raise FrameError(window.offset, "it is cut off")
    return frame


def _record_end(data: bytes) -> int | None:
    """Where the first CSV record ends, its LF included; line ends inside quotes do not count."""
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        if data.count(b'"', 0, end) % 2 == 0:
            return end + 1
        position = end + 1
    return None
