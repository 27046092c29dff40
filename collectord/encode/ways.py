"""Texts are compressed in one of several ways, each stream's in the cheapest that suits it.

A codec's level says how hard it looks for repetitions. Most rows repeat what stands right before them: then a smaller search finds
as much. Where rows have nothing in common but what their writer knows of, the constants, times and ids of neighbours, the
codec need not search at all: it is given the matches that were found while the text was written (`_matches.h`). Which kind a
stream is shows when a frame is compressed in all ways, as every `TRIAL_FRAMES`th is. The clock has no say in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

TRIAL_FRAMES = 32
TRIAL_TEXT = 256 * 1024
"""Bytes of text below which a frame is left to the level: what looks for less has little to save there."""
_MOST_STREAMS = 4096
"""So many are remembered."""

Text: TypeAlias = bytes | memoryview


class Way(Enum):
    """How matches are found, what costs least first. The value is how much larger than with `USUAL` a frame may become for the
    time it saves."""

    GIVEN = 1.08
    NEAR = 1.05
    USUAL = 1.0


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


Compress: TypeAlias = Callable[[Text, Text | None], bytes]
"""Takes text and its matches, and makes one member."""


class Members:
    """Compresses text. Holds the memory for it: for one thread."""

    def __init__(self, ways: Mapping[Way, Compress], habits: Habits | None = None) -> None:
        """`ways` are in the order of `Way`, USUAL always among them. `habits` are shared with others of the same codec."""
        self._ways = ways
        self._habits = habits or Habits()

    def wants_matches(self, stream: bytes) -> bool:
        """Whether the next text of this stream is to come with its matches."""
        if Way.GIVEN not in self._ways:
            return False
        habit = self._habits.get(stream)
        return habit is None or habit.on_trial or habit.way is Way.GIVEN

    def member(self, text: Text, stream: bytes | None = None, matches: Text | None = None) -> bytes:
        """`stream` names what has texts of this kind, `matches` are what `TextBuffer.matches` has of the text."""
        usual = self._ways[Way.USUAL]
        if len(self._ways) == 1 or stream is None or len(text) < TRIAL_TEXT:
            return usual(text, matches)
        habit = self._habits.get(stream) or self._habits.begin(stream)
        if matches is None and habit.way is Way.GIVEN:
            # Asked for before another worker's frame changed what is wanted. A trial without them would rule them out.
            return usual(text, matches)
        on_trial = habit.on_trial
        habit.frames += 1
        if not on_trial:
            return self._ways[habit.way](text, matches)
        open_ways = [way for way in self._ways if way is not Way.GIVEN or matches is not None]
        members = {way: self._ways[way](text, matches) for way in open_ways}
        most = len(members[Way.USUAL])
        habit.way = next(way for way, member in members.items() if len(member) <= way.value * most)
        return members[habit.way]
