"""zstd members: by the level, at level 1 also by a smaller table or by the matches that the text's writer knows of.

At level 1 zstd's table has 16,384 places, which pays where values come back after hundreds of rows. Where rows repeat what stands
right before them, a table of 4,096 finds as much, and text costs a sixth to a fifth less time. Given the matches, zstd takes less
than half of the time. Which of them a stream gets: `ways.py`.
"""

from __future__ import annotations

from typing import Any

import zstandard
import zstandard.backend_cffi

from collectord.encode.ways import Compress, Habits, Members, Text, Way

_ffi: Any = zstandard.backend_cffi.ffi  # type: ignore[attr-defined]
_lib: Any = zstandard.backend_cffi.lib  # type: ignore[attr-defined]

_NEAR = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    window_log=19,
    hash_log=12,
    min_match=7,
    write_checksum=True,
    write_content_size=True,
)


def zstd_members(level: int, habits: Habits | None = None) -> Members:
    """Whose members are zstd frames with their size and a checksum."""
    usual = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    if level > 1:
        return Members({Way.USUAL: lambda text, _: usual.compress(text)}, habits)
    near, given = zstandard.ZstdCompressor(compression_params=_NEAR), _GivenMatches(level)
    ways: dict[Way, Compress] = {
        Way.GIVEN: lambda text, matches: given.compress(text, matches or b""),
        Way.NEAR: lambda text, _: near.compress(text),
        Way.USUAL: lambda text, _: usual.compress(text),
    }
    return Members(ways, habits)


class _GivenMatches:
    """`ZSTD_compressSequences` of libzstd's advanced interface (zstd.h), which python-zstandard offers only as it is.

    zstd takes matches on trust, but for those that no decoder could follow: whoever finds them answers for them.
    """

    def __init__(self, level: int) -> None:
        self._context: Any = _ffi.gc(_lib.ZSTD_createCCtx(), _lib.ZSTD_freeCCtx)
        for parameter, value in (
            (_lib.ZSTD_c_compressionLevel, level),
            (_lib.ZSTD_c_checksumFlag, 1),
            (_lib.ZSTD_c_blockDelimiters, _lib.ZSTD_sf_noBlockDelimiters),
            (_lib.ZSTD_c_validateSequences, 1),
        ):
            _check(_lib.ZSTD_CCtx_setParameter(self._context, parameter, value))
        self._out: Any = _ffi.new("char[]", 0)

    def compress(self, text: Text, matches: Text) -> bytes:
        """Raises `zstandard.ZstdError` for matches that lead out of zstd's window."""
        bound = _lib.ZSTD_compressBound(len(text))
        if len(self._out) < bound:
            self._out = _ffi.new("char[]", bound)
        sequences = _ffi.from_buffer("ZSTD_Sequence[]", matches)
        size = _check(
            _lib.ZSTD_compressSequences(
                self._context, self._out, len(self._out), sequences, len(sequences), _ffi.from_buffer(text), len(text)
            )
        )
        return bytes(_ffi.buffer(self._out, size))


def _check(result: int) -> int:
    """Raises what libzstd says is wrong."""
    if _lib.ZSTD_isError(result):
        raise zstandard.ZstdError(_ffi.string(_lib.ZSTD_getErrorName(result)).decode())
    return result
