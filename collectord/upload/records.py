"""The values that the ledger keeps, and how a row of its tables holds one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from collectord.model import Cursor, Lsn, Partition

Columns = tuple[bytes | int | str, ...]


def columns_of(partition: Partition) -> tuple[bytes, int, int]:
    """`schema_id`, `start_hour` and `boundary_minutes`, as every table has them."""
    return partition.schema_id, partition.start_hour, partition.boundary_minutes


@dataclass(frozen=True, slots=True)
class Intent:
    """A frame that is about to be appended, or may have been: written down before the first attempt."""

    COLUMNS: ClassVar = (
        "frame_id, base, part, position, header, header_length, length, checksum, rows, stream_key, "
        "schema_id, start_hour, boundary_minutes, after_lsn, after_row, created_ns"
    )

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

    def row(self) -> Columns:
        """Its `COLUMNS`."""
        return (
            self.frame_id, self.base, self.part, self.position, self.header, self.header_length, self.length,
            self.checksum, self.rows, self.stream_key, *columns_of(self.partition), self.after.lsn, self.after.row,
            self.created_ns,
        )  # fmt: skip

    @staticmethod
    def of_row(row: Sequence[Any]) -> Intent:
        """From its `COLUMNS`."""
        return Intent(
            frame_id=row[0], base=row[1], part=row[2], position=row[3], header=row[4], header_length=row[5],
            length=row[6], checksum=row[7], rows=row[8], stream_key=row[9], partition=Partition(*row[10:13]),
            after=Cursor(Lsn(row[13]), row[14]), created_ns=row[15],
        )  # fmt: skip


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
