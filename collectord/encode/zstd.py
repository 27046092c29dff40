"""zstd members, each stream's in the cheapest of three ways.

zstd finds repetitions by a table of places it has been to. At level 1 the table has 16,384 of them, which pays where values
come back after hundreds of rows. Most rows repeat what stands right before them: then a table of 4,096 finds as much, and text
costs a sixth to a fifth less time. Where rows have nothing in common but what their writer knows of, the constants, times and ids
of neighbours, zstd need not search at all: it is given the matches that were found while the text was written
(`_matches.h`), and takes less than half of the time. Which kind a stream is shows when a frame is compressed in all ways, as
every `TRIAL_FRAMES`th is. The clock has no say in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import zstandard
import zstandard.backend_cffi

TRIAL_FRAMES = 32
TRIAL_TEXT = 256 * 1024
"""Bytes of text below which a frame is left to the level: zstd makes its tables smaller by itself."""
_MOST_STREAMS = 4096
"""So many are remembered."""

_ffi: Any = zstandard.backend_cffi.ffi  # type: ignore[attr-defined]
_lib: Any = zstandard.backend_cffi.lib  # type: ignore[attr-defined]


class Way(Enum):
    """How matches are found. The value is how much larger than with `USUAL` a frame may become for the time it saves."""

    GIVEN = 1.08
    NEAR = 1.05
    USUAL = 1.0


_NEAR = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    window_log=19,
    hash_log=12,
    min_match=7,
    write_checksum=True,
    write_content_size=True,
)


@dataclass(slots=True)
class _Habit:
    """Of a stream."""

    frames: int = 0
    way: Way = Way.USUAL

    @property
    def on_trial(self) -> bool:
        """Whether the next frame is compressed in all ways."""
        return self.frames % TRIAL_FRAMES == 0


class Habits:
    """Which way suits which stream. Threads may share them: what one has tried, the others need not."""

    def __init__(self) -> None:
        self._of: dict[bytes, _Habit] = {}

    def get(self, stream: bytes) -> _Habit | None:
        return self._of.get(stream)

    def begin(self, stream: bytes) -> _Habit:
        """That of a stream without one."""
        if len(self._of) >= _MOST_STREAMS:
            self._of.clear()
        return self._of.setdefault(stream, _Habit())


class ZstdMembers:
    """Compresses text. Holds the memory for it: for one thread."""

    def __init__(self, level: int, habits: Habits | None = None) -> None:
        self._usual = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        self._near = zstandard.ZstdCompressor(compression_params=_NEAR)
        self._given = _GivenMatches(level)
        self._learns = level == 1
        self._habits = habits or Habits()

    def wants_matches(self, stream: bytes) -> bool:
        """Whether the next text of this stream is to come with its matches."""
        if not self._learns:
            return False
        habit = self._habits.get(stream)
        return habit is None or habit.on_trial or habit.way is Way.GIVEN

    def member(
        self, text: bytes | memoryview, stream: bytes | None = None, matches: bytes | memoryview | None = None
    ) -> bytes:
        """One zstd frame with its size and a checksum. `stream` names what has texts of this kind, `matches` are what
        `TextBuffer.matches` has of the text."""
        if not self._learns or stream is None or len(text) < TRIAL_TEXT:
            return self._usual.compress(text)
        habit = self._habits.get(stream) or self._habits.begin(stream)
        if matches is None and habit.way is Way.GIVEN:
            # Asked for before another worker's frame changed what is wanted. A trial without them would rule them out.
            return self._usual.compress(text)
        ways: dict[Way, Callable[[], bytes]] = {
            Way.NEAR: lambda: self._near.compress(text),
            Way.USUAL: lambda: self._usual.compress(text),
        }
        if matches is not None:
            ways = {Way.GIVEN: lambda: self._given.compress(text, matches)} | ways
        on_trial = habit.on_trial
        habit.frames += 1
        if not on_trial:
            return ways[habit.way]()
        members = {way: compress() for way, compress in ways.items()}
        most = len(members[Way.USUAL])
        habit.way = next(way for way, member in members.items() if len(member) <= way.value * most)
        return members[habit.way]


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

    def compress(self, text: bytes | memoryview, matches: bytes | memoryview) -> bytes:
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
