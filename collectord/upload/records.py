"""The values that the ledger keeps."""

from __future__ import annotations

from dataclasses import dataclass

from collectord.model import Cursor, Partition


@dataclass(frozen=True, slots=True)
class Intent:
    """A frame that is about to be appended, or may have been: written down before the first attempt."""

    frame_id: int
    """The writer's sequence number of the frame, and the name of the file that holds its bytes."""
    base: str
    part: int
    position: int
    """The length that the blob must have. At 0 the header frame goes first."""
    header: bytes
    """Hash of the header's text."""
    header_length: int
    """Bytes of the header frame, at the beginning of the file."""
    length: int
    """Bytes of the file: header frame and data frame."""
    checksum: bytes
    """XXH3-128 of the file, 16 bytes."""
    rows: int
    stream_key: str
    partition: Partition
    after: Cursor
    """The partition's cursor once this has landed."""
    created_ns: int

    @property
    def size(self) -> int:
        """Bytes of the append at the present position."""
        return self.length if self.position == 0 else self.length - self.header_length


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition has landed."""

    cursor: Cursor
    rows: int
    """Rows landed in all."""


@dataclass(frozen=True, slots=True)
class ClientMark:
    """The highest sequence number taken from a client, and when it was last heard."""

    client: bytes
    mark: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class DroppedRows:
    """What a client says to have dropped itself, cumulative."""

    client: bytes
    stream_key: str
    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """What became of a stream's rows at this end, cumulative."""

    rows: int
    bytes: int
    frames: int


@dataclass(frozen=True, slots=True)
class LandedFrame:
    """Where the rows of a partition after `before` up to `after` are."""

    frame_id: int
    base: str
    part: int
    position: int
    length: int
    rows: int
    partition: Partition
    before: Cursor
    after: Cursor
    landed_ns: int
