"""Frames that are made while the one before them is on its way: one core makes what another, or the disk, sends.

Such a frame is only a guess at what comes next. Whoever is to send its rows uses it if it begins where the partition then does,
and makes another if not; one that is not used has cost a little work and the number of a frame, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collectord.buffer.index import Index, Slice
from collectord.model import Cursor, Partition
from collectord.pipeline.framer import Frame


@dataclass(frozen=True, slots=True)
class Made:
    """A frame, and what it was made of."""

    slices: Sequence[Slice]
    frame: Frame

    @property
    def begin(self) -> Cursor:
        """Where the partition has to begin, so that this is its next frame."""
        return Cursor(self.slices[0].place.lsn, self.slices[0].start)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What of a partition is on its way."""

    rows: int
    payload_bytes: float
    after: Cursor


class Ahead:
    """Keeps at most `most` frames, the newest. Not thread-safe: whoever owns it has a lock."""

    def __init__(self, index: Index, most: int) -> None:
        self._index = index
        self._most = most
        self._sent: dict[Partition, _Sent] = {}
        self._making: set[Partition] = set()
        self._made: dict[Partition, Made] = {}

    def sends(self, partition: Partition, rows: int, payload_bytes: float, after: Cursor) -> bool:
        """The first rows that wait are on their way, until `sent`. Returns whether the frame behind them may be made."""
        self._sent[partition] = _Sent(rows, payload_bytes, after)
        return self._may_follow(partition)

    def sent(self, partition: Partition) -> None:
        """They have landed, or have to be sent again later. May be repeated."""
        self._sent.pop(partition, None)

    def wanted(self) -> list[Partition]:
        """The partitions of which the next frame may be made."""
        return [partition for partition in self._sent if self._may_follow(partition)]

    def begin(self, partition: Partition) -> Sequence[Slice]:
        """Of one of those: what its next frame is to be made of, until `end`."""
        self._making.add(partition)
        return self._index.take(partition, begin=self._sent[partition].after)

    def end(self, partition: Partition, made: Made | None) -> None:
        """The next frame of a partition was made; None: it could not be."""
        self._making.discard(partition)
        if made is not None:
            self._made[partition] = made
            if len(self._made) > self._most:
                del self._made[next(iter(self._made))]

    def is_making(self, partition: Partition) -> bool:
        """Whether its next frame is being made."""
        return partition in self._making

    @property
    def making(self) -> int:
        """How many frames are being made."""
        return len(self._making)

    def take(self, partition: Partition) -> Made | None:
        """The frame that was made of the first rows that wait, if there is one. It is kept no longer."""
        made = self._made.pop(partition, None)
        return made if made is not None and made.begin == self._index.begin(partition) else None

    def _may_follow(self, partition: Partition) -> bool:
        if partition in self._making or partition in self._made:
            return False
        sent = self._sent[partition]
        return self._index.fills_behind(partition, sent.rows, sent.payload_bytes)
