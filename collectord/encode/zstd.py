"""zstd members, each stream's with the cheaper of two settings.

zstd finds repetitions by a table of places it has been to. At level 1 the table has 16,384 of them, which pays where values
come back after hundreds of rows. Most rows repeat what stands right before them: then a table of 4,096 finds as much, and text
costs a sixth to a fifth less time. Which kind a stream is shows when a frame is compressed with both, as every
`TRIAL_FRAMES`th is. The clock has no say in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

TRIAL_FRAMES = 32
TRIAL_TEXT = 256 * 1024
"""Bytes of text below which a frame is left to the level: zstd makes its tables smaller by itself."""
WORTH = 1.05
"""How much larger a frame may become for being made in less time."""
_MOST_STREAMS = 4096
"""So many are remembered."""

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
    near: bool = False


class ZstdMembers:
    """Compresses text. Holds the memory for it: for one thread."""

    def __init__(self, level: int) -> None:
        self._usual = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
        self._near = zstandard.ZstdCompressor(compression_params=_NEAR) if level == 1 else None
        self._habits: dict[bytes, _Habit] = {}

    def member(self, text: bytes | memoryview, stream: bytes | None = None) -> bytes:
        """One zstd frame with its size and a checksum. `stream` names what has texts of this kind."""
        if self._near is None or stream is None or len(text) < TRIAL_TEXT:
            return self._usual.compress(text)
        habit = self._habits.get(stream)
        if habit is None:
            if len(self._habits) >= _MOST_STREAMS:
                self._habits.clear()
            habit = self._habits[stream] = _Habit()
        habit.frames += 1
        if habit.frames % TRIAL_FRAMES != 1:
            return (self._near if habit.near else self._usual).compress(text)
        usual, near = self._usual.compress(text), self._near.compress(text)
        habit.near = len(near) <= WORTH * len(usual)
        return near if habit.near else usual
