"""What goes to the blobs of each stream: appends and bytes of the last hour, the blob's name, and what failed there last.

Threads: any; a lock of its own, held for a moment.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from collectord.clock import Clock

SLOT_SECONDS = 300
SLOTS = 12
MOST = 20_000
"""Streams, and blobs, that are remembered; the ones silent for longest make room."""


class Flow(NamedTuple):
    """One stream."""

    operations: int
    """Appends that were tried within the window."""
    bytes: int
    """Landed within the window."""
    blob: str
    """Where rows landed last; empty: nowhere since the start."""
    error: str
    """What failed last; empty: nothing since the start."""


@dataclass(slots=True)
class _Stream:
    slots: deque[list[int]] = field(default_factory=lambda: deque(maxlen=SLOTS))
    """`[slot, operations, bytes]`, the oldest first."""
    blob: str = ""
    error: str = ""


class Traffic:
    """Counts since the start, for an hour each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        """Guards the two below."""
        self._streams: dict[str, _Stream] = {}
        self._of_base: dict[str, str] = {}

    def begins(self, base: str, stream: str) -> None:
        """Something is to go to the blob `base`, whose rows are this stream's."""
        with self._lock:
            # Last in the order of both, so that what is used stays.
            self._of_base.pop(base, None)
            self._of_base[base] = stream
            self._streams[stream] = self._streams.pop(stream, _Stream())
            for known in (self._of_base, self._streams):
                while len(known) > MOST:
                    known.pop(next(iter(known)))

    def tried(self, base: str) -> None:
        """An append is tried."""
        self._count(base, 1, 0)

    def landed(self, base: str, blob: str, size: int) -> None:
        """So many bytes are in their blob."""
        self._count(base, 0, size)
        with self._lock:
            if (stream := self._stream(base)) is not None:
                stream.blob = blob

    def failed(self, base: str, what: str) -> None:
        """Nothing has landed."""
        with self._lock:
            if (stream := self._stream(base)) is not None:
                stream.error = what

    def view(self) -> tuple[dict[str, Flow], float]:
        """By stream, what the window holds, and how many seconds it has."""
        now = self._clock.monotonic()
        oldest = int(now // SLOT_SECONDS) - SLOTS + 1
        with self._lock:
            flows = {}
            for key, stream in self._streams.items():
                held = [slot for slot in stream.slots if slot[0] >= oldest]
                flows[key] = Flow(sum(one[1] for one in held), sum(one[2] for one in held), stream.blob, stream.error)
        return flows, now - max(self._began, oldest * SLOT_SECONDS)

    def _stream(self, base: str) -> _Stream | None:
        return self._streams.get(self._of_base.get(base, ""))

    def _count(self, base: str, operations: int, size: int) -> None:
        now = int(self._clock.monotonic() // SLOT_SECONDS)
        with self._lock:
            stream = self._stream(base)
            if stream is None:
                return
            if not stream.slots or stream.slots[-1][0] != now:
                stream.slots.append([now, 0, 0])
            stream.slots[-1][1] += operations
            stream.slots[-1][2] += size
