"""The values that the rooms of the journey hand each other.

Everything here is immutable and free of input and output. Enumerations that travel carry the numbers of
`proto/collectord/v1/collector.proto`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum, IntEnum
from typing import NewType, TypeAlias

Buffer: TypeAlias = "bytes | bytearray | memoryview"

Lsn = NewType("Lsn", int)
"""Log sequence number: a byte position in the endless log, the only coordinate from acknowledgement to blob."""

HOUR_NS = 3_600_000_000_000
MINUTES_PER_DAY = 1440
MINUTES_PER_HOUR = 60

STREAM_PARTS = (
    "subscription", "resource_group", "workspace", "webservice", "model", "version", "designation", "collection",
)  # fmt: skip
"""Of a `Stream`, what it is called by."""

CORRELATION_COLUMN, REQUEST_COLUMN = "$aml_dc_correlation_id", "$aml_request_id"

SYSTEM_COLUMNS = (
    CORRELATION_COLUMN,
    "$aml_dc_scoring_timestamp",
    "$aml_dc_boundary",
    "$aml_workspace",
    "$aml_service_name",
    "$aml_model_name",
    "$aml_model_version",
    REQUEST_COLUMN,
    "$aml_dc_row",
    "$aml_dc_sampling",
)
"""Written behind the user's columns; the last one only where rows were sampled."""


class StreamKind(IntEnum):
    """What the rows of a stream are; all but ROWS are telemetry events."""

    ROWS = 0
    REQUEST = 1
    DEPENDENCY = 2
    EXCEPTION = 3
    TRACE = 4
    METRIC = 5


class ColumnType(IntEnum):
    """The type of a column's values on the wire and in the log."""

    BOOL = 1
    INT8 = 2
    INT16 = 3
    INT32 = 4
    INT64 = 5
    UINT8 = 6
    UINT16 = 7
    UINT32 = 8
    UINT64 = 9
    FLOAT16 = 10
    FLOAT32 = 11
    FLOAT64 = 12
    STRING = 13
    TIMESTAMP = 14
    TIMESTAMP_UTC = 15


class IdLayout(IntEnum):
    """How an id travels: not at all, as 16 raw bytes, or as text."""

    NONE = 0
    UUID = 1
    TEXT = 2


class Reason(str, Enum):
    """Why rows were refused for good. A bounded set: it labels metrics."""

    MALFORMED = "malformed"
    LENGTH_MISMATCH = "length_mismatch"
    UNKNOWN_SCHEMA = "unknown_schema"
    BAD_SCHEMA = "bad_schema"
    UNSUPPORTED_TYPE = "unsupported_type"
    UNSUPPORTED_KIND = "unsupported_kind"
    TOO_MANY_COLUMNS = "too_many_columns"
    HEADER_TOO_LARGE = "header_too_large"
    DUPLICATE_COLUMN = "duplicate_column"
    BAD_NAME = "bad_name"
    NO_ROWS = "no_rows"
    TOO_MANY_ROWS = "too_many_rows"
    ROW_TOO_LARGE = "row_too_large"
    VALUE_TOO_LARGE = "value_too_large"
    INVALID_UTF8 = "invalid_utf8"
    TIME_OUT_OF_WINDOW = "time_out_of_window"
    MIXED_PARTITION = "mixed_partition"
    TOO_MANY_STREAMS = "too_many_streams"
    STREAM_BLOCKED = "stream_blocked"
    TOO_MANY_SCHEMAS = "too_many_schemas"
    NOT_ALLOWED = "not_allowed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Stream:
    """Who speaks: eight name parts as the client gave them; an empty part means `default`."""

    subscription: str = ""
    resource_group: str = ""
    workspace: str = ""
    webservice: str = ""
    model: str = ""
    version: str = ""
    designation: str = ""
    collection: str = ""
    kind: StreamKind = StreamKind.ROWS

    def key(self) -> str:
        """The stream as one readable line, also its key in the ledger: parts joined by `/`, slashes in them escaped."""
        parts = (
            self.subscription, self.resource_group, self.workspace, self.webservice,
            self.model, self.version, self.designation, self.collection,
        )  # fmt: skip
        text = "/".join((part or "default").replace("%", "%25").replace("/", "%2F") for part in parts)
        if self.kind is not StreamKind.ROWS:
            return f"{self.kind.name.lower()}:{text}"
        # Rows are never taken for events, whatever a subscription is called.
        first, mark, rest = text.partition(":")
        return f"{first}%3A{rest}" if mark and first.upper() in StreamKind.__members__ else text


_EVENT_KINDS = {kind.name.lower(): kind for kind in StreamKind if kind is not StreamKind.ROWS}


def stream_of_key(key: str) -> Stream:
    """The stream that a key of the ledger names; see `Stream.key`. Raises ValueError if it is none."""
    name, mark, rest = key.partition(":")
    kind = _EVENT_KINDS.get(name, StreamKind.ROWS) if mark else StreamKind.ROWS
    text = key if kind is StreamKind.ROWS else rest
    parts = [part.replace("%2F", "/").replace("%3A", ":").replace("%25", "%") for part in text.split("/")]
    if len(parts) != 8:
        raise ValueError(f"not a stream: {key!r}")
    subscription, group, workspace, webservice, model, version, designation, collection = parts
    return Stream(subscription, group, workspace, webservice, model, version, designation, collection, kind)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the user's data."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Schema:
    """What a batch's bytes mean. `id` is the first 16 bytes of the SHA-256 of `raw`, the serialized proto message."""

    id: bytes
    raw: bytes = field(repr=False)
    stream: Stream
    columns: tuple[Column, ...]
    tensor: bool
    correlation: IdLayout
    request: IdLayout
    sampled: bool


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """Rows that belong into the same day (or hour) of the same stream under the same schema."""

    schema_id: bytes
    start_hour: int
    """Hours since 1970-01-01T00Z of the period's beginning."""
    boundary_minutes: int
    """The period's length: 1440 or 60."""

    @staticmethod
    def of(schema_id: bytes, time_ns: int, boundary_minutes: int) -> Partition:
        """The partition of a row scored at `time_ns`."""
        hours = boundary_minutes // 60
        return Partition(schema_id, time_ns // HOUR_NS // hours * hours, boundary_minutes)

    @property
    def start(self) -> datetime:
        return datetime.fromtimestamp(self.start_hour * 3600, timezone.utc)

    @property
    def end_hour(self) -> int:
        """Hours since 1970-01-01T00Z of the period's end, which is the beginning of the next one."""
        return self.start_hour + self.boundary_minutes // 60


class EntryKind(IntEnum):
    """What an entry of the log holds."""

    BATCH = 1
    REJECT = 2
    DECLARE = 3
    DROPPED = 4


NO_SCHEMA = bytes(16)
ENTRY_BYTES = 96
"""What an entry takes of the log besides its payload, but for padding."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to be made durable.

    BATCH: `payload` is the serialized proto `Batch` as the client sent it. REJECT: the reason, UTF-8; it takes the
    batch's place in the client's sequence (0: it has none, as what the v2 door refuses). DROPPED: a serialized proto
    `Dropped` (sequence 0). DECLARE entries are written by the log itself, once per segment for every schema that a BATCH or
    REJECT in it names.
    """

    kind: EntryKind
    client: bytes
    sequence: int
    rows: int
    payload: Buffer
    schema: Schema | None = None
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry of the log lies, and how many bytes its payload has: enough to read it."""

    lsn: Lsn
    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry as it stands in the log, without its payload."""

    lsn: Lsn
    end: Lsn
    """Position right behind this entry, where the next one may begin."""
    kind: EntryKind
    client: bytes
    sequence: int
    rows: int
    schema_id: bytes
    start_hour: int
    boundary_minutes: int
    length: int
    """Bytes of the payload."""

    @property
    def partition(self) -> Partition:
        return Partition(self.schema_id, self.start_hour, self.boundary_minutes)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """How far a partition has landed: all of its entries before `lsn`, and the first `row` rows of the entry at `lsn`."""

    lsn: Lsn
    row: int


@dataclass(frozen=True, slots=True)
class FrameTag:
    """Identifies a frame: who wrote it, and his how-manieth it is. Rides along in the blob where the codec allows."""

    writer: bytes
    """16 random bytes, kept in the spool."""
    sequence: int
    rows: int


MAX_FILTER = 16 * 1024
"""Bytes of the largest filter of ids."""


@dataclass(frozen=True, slots=True)
class FrameIds:
    """Which correlation ids a frame may hold. Rides along in the blob where the codec allows; see `encode/frame_index.py`."""

    layout: IdLayout
    first_ms: int
    last_ms: int
    """The milliseconds since 1970 in the UUIDv7 among them; the first behind the last: there are none. A text is none."""
    filter: bytes
    """Bloom filter of all others; empty if there are none."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob of the store's listing."""

    name: str
    size: int
    metadata: Mapping[str, str]
