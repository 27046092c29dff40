"""What stands in a gzip member between its header and the next one: a DEFLATE stream, its checksum and its length.

ISA-L searches for repetitions as its level says. At level 1 a stream may instead get the matches that the text's writer knows of,
which ISA-L does not take; they are coded by `_deflate.h` in a quarter to half of the time. Which of them a stream gets: `ways.py`.
"""

from __future__ import annotations

import struct

from isal import isal_zlib

from collectord.encode._gzip import deflate
from collectord.encode.ways import Compress, Habits, Members, Text, Way

_TRAILER = struct.Struct("<II")


def gzip_members(level: int, habits: Habits | None = None) -> Members:
    """Whose members lack the header of RFC 1952."""

    def searched(text: Text, _: Text | None) -> bytes:
        compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
        return b"".join((compressor.compress(text), compressor.flush(), _trailer(text)))

    ways: dict[Way, Compress] = {Way.USUAL: searched}
    if level == 1:
        ways = {Way.GIVEN: lambda text, matches: deflate(text, matches or b"") + _trailer(text)} | ways
    return Members(ways, habits)


def _trailer(text: Text) -> bytes:
    return _TRAILER.pack(isal_zlib.crc32(text), len(text))
