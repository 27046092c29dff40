"""Frames: whole CSV rows as one self-contained compressed member, with a tag that says who wrote it.

A blob is a sequence of frames, each appended in one piece: first the header row, then data. What the members look like
byte for byte, and why, is written down in docs/formats/blob.md.

Threads: a `FrameEncoder` belongs to one worker thread. Compressing releases the GIL. Everything else here is pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

import zstandard
from isal import isal_zlib

from collectord.errors import NeverAgain
from collectord.model import FrameTag

CODECS = ("zstd", "gzip", "none")
MAX_TEXT = 256 * 1024 * 1024
"""Bytes of text in one frame: more is not written, and not decoded."""

_SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_CONTENT_TYPE = {"zstd": "application/zstd", "gzip": "application/gzip", "none": "text/csv; charset=utf-8"}
_LEVELS = {"zstd": range(1, 20), "gzip": range(4), "none": range(2)}

InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub calls the class an instance

_BLOCK = 1024 * 1024
_GZIP_STEP = 64 * 1024  # what inflate gets at once: it copies whatever it does not use

TAG_MAGIC = b"cdT1"
_TAG_BODY = struct.Struct("<16sQI")
_TAG_HEAD = struct.Struct("<4sI")
TAG_LENGTH = _TAG_HEAD.size + _TAG_BODY.size

_WORDS = struct.Struct("<II")
_ZSTD_MAGIC = bytes.fromhex("28b52ffd")
_SKIPPABLE_REST = bytes.fromhex("2a4d18")
"""Skippable frames begin with a byte from 50 to 5f, then these."""
_TAG_FRAME = _WORDS.pack(0x184D2A5C, TAG_LENGTH)
"""How the skippable frame with a tag begins."""

_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_EXTRA = 4
_GZIP_HEAD = struct.Struct("<3sBIBB")
_GZIP_SUBFIELD = b"cd"
_GZIP_UNKNOWN_OS = 255


class FrameError(NeverAgain):
    """Bytes that are not a whole, undamaged frame. `offset`: where in the file the frame begins."""

    def __init__(self, offset: int, detail: str) -> None:
        super().__init__(f"frame at byte {offset}: {detail}")
        self.offset = offset
        self.detail = detail


class Frame(NamedTuple):
    """A frame of a blob. For codec none: a block of bytes, cut anywhere."""

    offset: int
    length: int
    """Bytes in the blob, tag included."""
    text: bytes
    tag: FrameTag | None


def encode_tag(tag: FrameTag) -> bytes:
    """A tag as 36 bytes. Raises ValueError if a field does not fit."""
    if len(tag.writer) != 16:
        raise ValueError(f"writer has {len(tag.writer)} bytes, it must have 16")
    try:
        body = _TAG_BODY.pack(tag.writer, tag.sequence, tag.rows)
    except struct.error as error:
        raise ValueError(f"sequence {tag.sequence} or rows {tag.rows} does not fit: {error}") from error
    return _TAG_HEAD.pack(TAG_MAGIC, zlib.crc32(body)) + body


def decode_tag(data: bytes | memoryview) -> FrameTag | None:
    """The tag that these bytes are, or None if they are something else. Raises ValueError for a damaged tag."""
    if bytes(data[:4]) != TAG_MAGIC:
        return None
    if len(data) != TAG_LENGTH:
        raise ValueError(f"a tag of {len(data)} bytes, it must have {TAG_LENGTH}")
    _magic, checksum = _TAG_HEAD.unpack_from(data)
    if zlib.crc32(data[_TAG_HEAD.size :]) != checksum:
        raise ValueError("the tag's checksum is wrong")
    writer, sequence, rows = _TAG_BODY.unpack_from(data, _TAG_HEAD.size)
    return FrameTag(writer, sequence, rows)


class FrameEncoder:
    """Makes frames of one codec. Holds the compressor's memory: one per worker thread."""

    name: str
    suffix: str
    """What a file name gets: "", ".zst" or ".gz"."""
    content_type: str

    def __init__(self, codec: str, level: int = 1) -> None:
        """Raises ValueError for an unknown codec or a level that the codec does not have (zstd 1 to 19, gzip 0 to 3)."""
        _check_codec(codec)
        if level not in _LEVELS[codec]:
            levels = _LEVELS[codec]
            raise ValueError(f"level of {codec} is {level}, allowed: {levels.start} to {levels.stop - 1}")
        self.name = codec
        self.suffix = _SUFFIX[codec]
        self.content_type = _CONTENT_TYPE[codec]
        self._level = level
        self._zstd = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)

    def header_frame(self, header: bytes) -> bytes:
        """A frame that holds the header row and has no tag."""
        return self._frame(header, None)

    def data_frame(self, text: bytes | memoryview, tag: FrameTag) -> bytes:
        """A frame of whole rows with its tag; with codec none just the text. Raises ValueError above `MAX_TEXT` bytes."""
        return self._frame(text, encode_tag(tag))

    def _frame(self, text: bytes | memoryview, tag: bytes | None) -> bytes:
        if len(text) > MAX_TEXT:
            raise ValueError(f"a frame of {len(text)} bytes of text, at most {MAX_TEXT} are allowed")
        if self.name == "zstd":
            member: bytes = self._zstd.compress(text)
            return member if tag is None else b"".join((member, _TAG_FRAME, tag))
        if self.name == "gzip":
            return _gzip_member(text, self._level, tag)
        return bytes(text)


def _gzip_member(text: bytes | memoryview, level: int, tag: bytes | None) -> bytes:
    compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
    body = compressor.compress(text)
    rest = compressor.flush()
    head = _GZIP_HEAD.pack(_GZIP_MAGIC, 0 if tag is None else _GZIP_EXTRA, 0, 0, _GZIP_UNKNOWN_OS)
    if tag is not None:
        head += struct.pack("<H2sH", 4 + len(tag), _GZIP_SUBFIELD, len(tag)) + tag
    return b"".join((head, body, rest, _WORDS.pack(isal_zlib.crc32(text), len(text))))


# ---------------------------------------------------------------- reading


def first_frame_text(codec: str, head: bytes) -> bytes | None:
    """The text of the first frame of a blob that begins with `head`: its header row, if the blob is one of ours.

    For codec none the first CSV record, with its LF. None: `head` ends too early, ask again with more bytes. Raises
    ValueError if a blob of this codec does not begin like this.
    """
    _check_codec(codec)
    if codec == "none":
        end = _record_end(head)
        if end is None:
            return None
        head[:end].decode()
        return head[:end]
    try:
        if codec == "zstd":
            end = _zstd_end(head)
            return None if end is None else _zstd_text(head[:end])
        member = _gzip_member_at(_Window(BytesIO(head)))
        return None if member is None else member.text
    except FrameError as error:
        raise ValueError(error.detail) from error


def iter_frames(codec: str, file: BinaryIO) -> Iterator[Frame]:
    """The frames of a blob from `file`'s position on, which counts as offset 0.

    Holds one frame at a time. A zstd frame of ours comes with the tag behind it; a skippable frame that is not a tag
    comes as a frame without text. Raises FrameError, naming the offset, at a torn or damaged frame.
    """
    _check_codec(codec)
    return _iterate(codec, _Window(file))


def _check_codec(codec: str) -> None:
    if codec not in CODECS:
        raise ValueError(f"codec is {codec!r}, allowed: {', '.join(CODECS)}")


def _iterate(codec: str, window: _Window) -> Iterator[Frame]:
    read = {"zstd": _read_zstd, "gzip": _read_gzip, "none": _read_plain}[codec]
    while window.need(1):
        try:
            frame = read(window)
        except FrameError as error:
            raise FrameError(window.offset, error.detail) from error
        window.take(frame.length)
        yield frame


class _Window:
    """The bytes from `offset` on that are in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.offset = 0
        self.data = bytearray()
        self._file = file

    def need(self, size: int) -> bool:
        """Reads until `size` bytes are there; False if the file ends before."""
        while len(self.data) < size:
            block = self._file.read(_BLOCK)
            if not block:
                return False
            self.data += block
        return True

    def take(self, size: int) -> None:
        """Drops `size` bytes."""
        del self.data[:size]
        self.offset += size


def _read_plain(window: _Window) -> Frame:
    return Frame(window.offset, len(window.data), bytes(window.data), None)


def _read_zstd(window: _Window) -> Frame:
    while (end := _zstd_end(window.data)) is None:
        if not window.need(len(window.data) + 1):
            raise FrameError(window.offset, "it is cut off")
    if window.data[:4] != _ZSTD_MAGIC:
        return Frame(window.offset, end, b"", _tag(bytes(window.data[8:end])))
    text = _zstd_text(window.data[:end])
    tag = None
    whole = window.need(end + len(_TAG_FRAME) + TAG_LENGTH)
    behind = bytes(window.data[end : end + len(_TAG_FRAME) + TAG_LENGTH])
    if behind and _TAG_FRAME.startswith(behind[: len(_TAG_FRAME)]):
        if not whole:
            raise FrameError(window.offset, "its tag is cut off")
        tag = _tag(behind[len(_TAG_FRAME) :])
        end += len(behind)
    return Frame(window.offset, end, text, tag)


def _tag(data: bytes) -> FrameTag | None:
    try:
        return decode_tag(data)
    except ValueError as error:
        raise FrameError(0, str(error)) from error


def _zstd_end(data: bytes | bytearray) -> int | None:
    """Length of the zstd or skippable frame that `data` begins with (RFC 8878, section 3.1), None if more is needed."""
    magic = bytes(data[:4])
    if not magic:
        return None
    if magic[1:] == _SKIPPABLE_REST[: len(magic) - 1] and magic[0] >> 4 == 5:
        end = 8 + int.from_bytes(data[4:8], "little")
        return end if 8 <= end <= len(data) and len(data) >= 8 else None
    if not _ZSTD_MAGIC.startswith(magic):
        raise FrameError(0, "it does not begin like a zstd frame")
    if len(data) < 5:
        return None
    descriptor = data[4]
    single_segment = descriptor >> 5 & 1
    position = 5 + (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3]
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


def _gzip_head(data: bytes | bytearray) -> tuple[int, FrameTag | None] | None:
    """Length of a gzip member's own header (RFC 1952, section 2.3) and the tag in it, None if more is needed."""
    if not (data.startswith(_GZIP_MAGIC) or _GZIP_MAGIC.startswith(data)):
        raise FrameError(0, "it does not begin like a gzip member")
    if len(data) < _GZIP_HEAD.size:
        return None
    flags = data[3]
    if flags & 0xE0:
        raise FrameError(0, "reserved flags are set")
    position = _GZIP_HEAD.size
    tag = None
    if flags & _GZIP_EXTRA:
        if len(data) < position + 2:
            return None
        end = position + 2 + int.from_bytes(data[position : position + 2], "little")
        if len(data) < end:
            return None
        tag = _gzip_tag(bytes(data[position + 2 : end]))
        position = end
    for flag in (8, 16):  # file name, comment: both end with a zero byte
        if flags & flag:
            zero = data.find(0, position)
            if zero < 0:
                return None
            position = zero + 1
    position += 2 if flags & 2 else 0
    return (position, tag) if position <= len(data) else None


def _gzip_tag(extra: bytes) -> FrameTag | None:
    position = 0
    while position + 4 <= len(extra):
        size = int.from_bytes(extra[position + 2 : position + 4], "little")
        if extra[position : position + 2] == _GZIP_SUBFIELD:
            return _tag(extra[position + 4 : position + 4 + size])
        position += 4 + size
    return None


def _gzip_member_at(window: _Window) -> Frame | None:
    """The gzip member that the window begins with, None if it is cut off."""
    while (head := _gzip_head(window.data)) is None:
        if not window.need(len(window.data) + 1):
            return None
    position, tag = head
    stream = isal_zlib.decompressobj(-15)
    texts: list[bytes] = []
    size = 0
    while not stream.eof:
        if not window.need(position + 1):
            return None
        step = bytes(window.data[position : position + _GZIP_STEP])
        try:
            texts.append(stream.decompress(step))
        except InflateError as error:
            raise FrameError(0, str(error)) from error
        size += len(texts[-1])
        if size > MAX_TEXT:
            raise FrameError(0, f"more than {MAX_TEXT} bytes of text")
        position += len(step)
    position -= len(stream.unused_data)
    if not window.need(position + _WORDS.size):
        return None
    text = b"".join(texts)
    if _WORDS.unpack_from(window.data, position) != (isal_zlib.crc32(text), size):
        raise FrameError(0, "checksum or length is wrong")
    return Frame(window.offset, position + _WORDS.size, text, tag)


def _read_gzip(window: _Window) -> Frame:
    frame = _gzip_member_at(window)
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
