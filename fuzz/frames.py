"""Blobs of all codecs: damage ends with a FrameError that names a place, and what is read is what stands there.

Who passes over frames by their index comes to the same places as who reads them.

An input is a byte that picks the codec, and a blob.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import zstandard

from collectord.encode.frame import CODECS, MAX_TEXT, FrameEncoder
from collectord.encode.frame_index import FrameIndex, encode_index
from collectord.encode.frame_reader import Frame, FrameError, first_frame_text, iter_frames
from collectord.model import FrameIds, FrameTag, IdLayout
from fuzz.target import Target

TAG = FrameTag(bytes(range(16)), 7, 3)
INDEXES = (FrameIds(IdLayout.UUID, 5, 9, b""), FrameIds(IdLayout.TEXT, 9, 5, b"\x12" * 64))


def target() -> Target:
    return Target(one, seeds())


def one(data: bytes) -> None:
    if not data:
        return
    codec, blob = CODECS[data[0] % len(CODECS)], data[1:]
    frames: list[Frame] = []
    at = 0
    whole = True
    try:
        for frame in iter_frames(codec, io.BytesIO(blob)):
            assert frame.offset == at
            assert frame.length > 0
            at += frame.length
            assert at <= len(blob)
            assert len(frame.text) <= MAX_TEXT
            frames.append(frame)
    except FrameError as error:
        assert error.offset == at, "the error names the frame behind the last good one"
        whole = False
    assert not whole or at == len(blob)
    for frame in frames:
        _stands_there(codec, blob[frame.offset : frame.offset + frame.length], frame)
        if frame.index is not None:
            assert encode_index(frame.index) in blob[frame.offset : frame.offset + frame.length]
    _first(codec, blob, frames)
    for wanted in (lambda index: False, lambda index: bool(index.ids.filter)):
        _hopped(codec, blob, frames, whole, wanted)


def _hopped(codec: str, blob: bytes, frames: list[Frame], whole: bool, wanted: Callable[[FrameIndex], bool]) -> None:
    """Up to the first damage that shows to who reads, the same frames; those with an unwanted index are passed over."""
    found: list[Frame] = []
    try:
        found.extend(iter_frames(codec, io.BytesIO(blob), wanted))
    except FrameError as error:
        assert not whole, f"read whole, but not hopped over: {error}"
    if codec == "none":
        assert found == frames
        return
    assert len(found) >= len(frames)
    for read, other in zip(frames, found, strict=False):
        assert (read.offset, read.length, read.index) == (other.offset, other.length, other.index)
        assert other.passed == (other.index is not None and not wanted(other.index))
        assert other.passed or other == read


def _stands_there(codec: str, piece: bytes, frame: Frame) -> None:
    """Another decoder finds the same text."""
    if codec == "none":
        assert frame.text == piece
    elif codec == "gzip" and piece[3] & 2:
        return  # The header's own checksum, which we never write, is stepped over; zlib looks at it.
    elif codec == "gzip":
        other = zlib.decompressobj(31)
        assert other.decompress(piece) == frame.text
        assert other.eof
    else:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(piece), read_across_frames=True) as reader:
            assert reader.read() == frame.text


def _first(codec: str, blob: bytes, frames: list[Frame]) -> None:
    for head in (blob, blob[: len(blob) // 2], blob[:5], b""):
        try:
            text = first_frame_text(codec, head)
        except ValueError:
            continue
        if text is not None and codec != "none" and frames:
            assert text == frames[0].text
        elif text is not None and codec == "none":
            assert head.startswith(text)
            assert text.endswith(b"\n")


def seeds() -> list[bytes]:
    made = []
    for number, codec in enumerate(CODECS):
        encoder = FrameEncoder(codec)
        header = encoder.header_frame(b'n,"a\nb"\n')
        data = encoder.data_frame(b'1,x\n2,"y"\n' * 20, TAG)
        small, large = (encoder.data_frame(b'1,x\n2,"y"\n' * 20, TAG, ids) for ids in INDEXES)
        made += [bytes((number,)) + blob for blob in (header, data, header + data + data, header + data[:-9])]
        made += [bytes((number,)) + blob for blob in (header + small + large + data, header + large + small[:-9])]
    plain = zstandard.ZstdCompressor(write_content_size=False).compress(b"no size " * 9)
    other = zlib.compressobj(9, zlib.DEFLATED, 31)
    made += [b"\0" + plain, b"\0\x50\x2a\x4d\x18\x03\0\0\0abc" + plain, b"\1" + other.compress(b"zlib") + other.flush()]
    # A name, a comment and a checksum of the header: what gzip may have and we never write.
    made.append(b"\1\x1f\x8b\x08\x1a\0\0\0\0\0\xffname\0comment\0\0\0" + FrameEncoder("gzip").header_frame(b"x\n")[10:])
    return made
