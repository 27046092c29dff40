"""Frames: whole CSV rows as one self-contained compressed member, with a tag that says who wrote it and an index of its ids.

A blob is a sequence of frames, each appended in one piece: first the header row, then data. What the members look like
byte for byte, and why, is written down in docs/formats/blob.md.

Threads: a `FrameEncoder` belongs to one worker thread. Compressing releases the GIL. `frame_reader.py` reads what is written here.
"""

from __future__ import annotations

import struct

from collectord.encode import frame_tag
from collectord.encode.frame_index import FrameIndex, encode_index
from collectord.encode.frame_tag import encode_tag
from collectord.encode.gzip import gzip_members
from collectord.encode.ways import Habits
from collectord.encode.zstd import zstd_members
from collectord.model import FrameIds, FrameTag

CODECS = ("zstd", "gzip", "none")
JSONL = "jsonl"
"""Names no compression, but lines of JSON for Azure ML: read like codec `none`, and without a header. See `jsonl.py`."""
TELEMETRY = "telemetry"
"""The same of telemetry events. See `telemetry.py`."""
EVENT = b'{"specversion":"1.0","id":"'
"""How every line for Azure ML begins."""
ITEM = b'{"itemId":"'
"""How every telemetry event begins."""
LINE_BEGINS = {JSONL: EVENT, TELEMETRY: ITEM}
"""The codecs whose blobs are lines of JSON."""
MAX_TEXT = 256 * 1024 * 1024
"""Bytes of text in one frame: more is not written, and not decoded."""

_SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
_CONTENT_TYPE = {"zstd": "application/zstd", "gzip": "application/gzip", "none": "text/csv; charset=utf-8"}
_MEMBERS = {"zstd": zstd_members, "gzip": gzip_members}
_LEVELS = {"zstd": range(1, 20), "gzip": range(4), "none": range(2)}

WORDS = struct.Struct("<II")
TAG_FRAME = WORDS.pack(0x184D2A5C, frame_tag.LENGTH)
"""How the skippable frame with a tag begins."""
_INDEX_MAGIC = 0x184D2A5D
"""Of the skippable frame with an index."""

GZIP_MAGIC = b"\x1f\x8b\x08"
GZIP_EXTRA = 4
GZIP_HEAD = struct.Struct("<3sBIBB")
GZIP_SUBFIELD = b"cd"
GZIP_INDEX_SUBFIELD = b"ci"
_GZIP_UNKNOWN_OS = 255


class FrameEncoder:
    """Makes frames of one codec. Holds the compressor's memory: one per worker thread."""

    name: str
    suffix: str
    """What a file name gets: "", ".zst" or ".gz"."""
    content_type: str

    def __init__(self, codec: str, level: int = 1, habits: Habits | None = None) -> None:
        """`habits` are shared with other encoders of the same streams. Raises ValueError for an unknown codec or a level that
        the codec does not have (zstd 1 to 19, gzip 0 to 3).
        """
        if codec not in CODECS:
            raise ValueError(f"codec is {codec!r}, allowed: {', '.join(CODECS)}")
        if level not in _LEVELS[codec]:
            levels = _LEVELS[codec]
            raise ValueError(f"level of {codec} is {level}, allowed: {levels.start} to {levels.stop - 1}")
        self.name = codec
        self.suffix = _SUFFIX[codec]
        self.content_type = _CONTENT_TYPE[codec]
        self._members = _MEMBERS[codec](level, habits) if codec in _MEMBERS else None

    def header_frame(self, header: bytes) -> bytes:
        """A frame that holds the header row and has no tag."""
        return self._frame(header, None)

    def wants_matches(self, stream: bytes) -> bool:
        """Whether the next rows of this stream are better compressed if `data_frame` gets their matches."""
        return self._members is not None and self._members.wants_matches(stream)

    def data_frame(
        self,
        text: bytes | memoryview,
        tag: FrameTag,
        ids: FrameIds | None = None,
        stream: bytes | None = None,
        matches: bytes | memoryview | None = None,
    ) -> bytes:
        """A frame of whole rows with its tag and, given their `ids`, its index; with codec none just the text. `stream` names
        what has rows of this kind: the codec learns what suits them. `matches` are the text's, if it was written with them.

        Raises ValueError above `MAX_TEXT` bytes.
        """
        return self._frame(text, tag, ids, stream, matches)

    def _frame(
        self,
        text: bytes | memoryview,
        tag: FrameTag | None,
        ids: FrameIds | None = None,
        stream: bytes | None = None,
        matches: bytes | memoryview | None = None,
    ) -> bytes:
        if len(text) > MAX_TEXT:
            raise ValueError(f"a frame of {len(text)} bytes of text, at most {MAX_TEXT} are allowed")
        if self._members is None:
            return bytes(text)
        parts = [self._members.member(text, stream, matches)]
        if self.name == "zstd" and tag is not None:
            parts += [TAG_FRAME, encode_tag(tag)]
        index = b""
        if tag is not None and ids is not None:
            index = encode_index(FrameIndex(sum(map(len, parts)), tag.rows, ids))
        if self.name == "gzip":
            return b"".join((_gzip_head_of(tag, index), *parts))
        return b"".join((WORDS.pack(_INDEX_MAGIC, len(index)), index, *parts) if index else parts)


def _gzip_head_of(tag: FrameTag | None, index: bytes) -> bytes:
    """A member's header. The index comes last, right before what its length counts."""
    extra = b"" if tag is None else struct.pack("<2sH", GZIP_SUBFIELD, frame_tag.LENGTH) + encode_tag(tag)
    if index:
        extra += struct.pack("<2sH", GZIP_INDEX_SUBFIELD, len(index)) + index
    head = GZIP_HEAD.pack(GZIP_MAGIC, GZIP_EXTRA if extra else 0, 0, 0, _GZIP_UNKNOWN_OS)
    return head + len(extra).to_bytes(2, "little") + extra if extra else head
