"""A batch as it travels and as it lies in the log: the serialized proto `Batch`, found and checked without a copy.

The bytes that a client sent are the bytes that the log keeps and the bytes that the buffer reads, so they are judged
once, at the door, and whatever is acknowledged can be encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from collectord import _batch
from collectord.errors import Rejected
from collectord.model import Buffer, ColumnType, Reason, Schema
from collectord.schema import MAX_ROW_TEXT

MAX_ROWS = 1_000_000
MAX_ID_BYTES = 1024
MAX_VALUE_BYTES = 1 << 20

WIDTHS: Final[dict[ColumnType, int]] = {
    ColumnType.BOOL: 1,
    ColumnType.INT8: 1,
    ColumnType.INT16: 2,
    ColumnType.INT32: 4,
    ColumnType.INT64: 8,
    ColumnType.UINT8: 1,
    ColumnType.UINT16: 2,
    ColumnType.UINT32: 4,
    ColumnType.UINT64: 8,
    ColumnType.FLOAT16: 2,
    ColumnType.FLOAT32: 4,
    ColumnType.FLOAT64: 8,
    ColumnType.STRING: 0,
    ColumnType.TIMESTAMP: 8,
    ColumnType.TIMESTAMP_UTC: 8,
}
"""Bytes of one value; 0 for texts."""

_TEXT_WIDTH = 32
"""No number, bool or timestamp needs more characters, its separator included."""

_SYSTEM_TEXT = 16_384
"""The most that our own columns need: seven stream parts of 255 bytes, two ids of 1024, doubled by quoting, and numbers."""

# The kernel's answers, in its order: reason, and a sentence in which {0} is what the kernel points at.
_ANSWERS: Final[tuple[tuple[Reason, str] | None, ...]] = (
    None,
    (Reason.MALFORMED, "the message is cut short or is not a Batch"),
    (Reason.MALFORMED, "a field occurs twice"),
    (Reason.MALFORMED, "schema_id must have 16 bytes"),
    (Reason.NO_ROWS, "rows is 0"),
    (Reason.TOO_MANY_ROWS, f"more than {MAX_ROWS} rows; split the batch"),
    (Reason.MALFORMED, "requests is missing"),
    (Reason.LENGTH_MISMATCH, "requests.times must hold one int64 for each request, and at least one"),
    (Reason.LENGTH_MISMATCH, "requests.row_counts must be positive and add up to rows"),
    (Reason.LENGTH_MISMATCH, "requests.first_rows must hold one uint32 for each request"),
    (Reason.LENGTH_MISMATCH, "requests.correlation_ids do not fit the schema's layout and the number of requests"),
    (Reason.LENGTH_MISMATCH, "requests.request_ids do not fit the schema's layout and the number of requests"),
    (
        Reason.LENGTH_MISMATCH,
        "requests.sampling must hold one float64 in (0, 1] for each request, if the schema says so",
    ),
    (
        Reason.TIME_OUT_OF_WINDOW,
        "the scoring time {0} is not between {1} and {2}, as late_days and early_days allow by the daemon's clock",
    ),
    (Reason.MIXED_PARTITION, "the scoring times lie in more than one UTC hour; split the batch"),
    (Reason.LENGTH_MISMATCH, "tensor must hold rows x columns values and nothing else"),
    (Reason.LENGTH_MISMATCH, "columns must be as many as the schema's"),
    (Reason.LENGTH_MISMATCH, "columns[{0}].validity must hold one bit for each row"),
    (Reason.LENGTH_MISMATCH, "columns[{0}].offsets must rise from 0 to the length of data"),
    (Reason.LENGTH_MISMATCH, "columns[{0}].data must hold one value for each row"),
    (Reason.INVALID_UTF8, "a text is not UTF-8"),
    (Reason.VALUE_TOO_LARGE, "columns[{0}] holds a text of more bytes than {1}, as max_value_bytes allows"),
    (Reason.ROW_TOO_LARGE, f"row {{0}} may need more than {MAX_ROW_TEXT} bytes as text"),
    (Reason.MALFORMED, "a bool is neither 0 nor 1"),
    (Reason.VALUE_TOO_LARGE, f"an id is longer than {MAX_ID_BYTES} bytes"),
)
_OUTSIDE: Final = next(at for at, answer in enumerate(_ANSWERS) if answer and answer[0] is Reason.TIME_OUT_OF_WINDOW)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Found:
    """Where the fields of a batch lie. `table` is int64 words in the order of `_batch.pyx`."""

    sequence: int
    rows: int
    schema_id: bytes
    table: bytes


@dataclass(frozen=True)
class Rules:
    """What a schema demands of its batches, compiled for the kernel. Can be referred to weakly."""

    schema: Schema
    types: bytes
    widths: bytes
    fixed_text: int
    value_bytes: int = MAX_VALUE_BYTES
    """Of one text."""

    @staticmethod
    def of(schema: Schema, value_bytes: int = MAX_VALUE_BYTES) -> Rules:
        """Raises Rejected if even a row without texts could be too large."""
        types = bytes(column.type for column in schema.columns)
        widths = bytes(WIDTHS[column.type] for column in schema.columns)
        fixed = _SYSTEM_TEXT + sum(_TEXT_WIDTH for width in widths if width)
        if fixed > MAX_ROW_TEXT:
            raise Rejected(Reason.ROW_TOO_LARGE, f"a row may need {fixed} bytes as text; {MAX_ROW_TEXT} are allowed")
        return Rules(schema, types, widths, fixed, value_bytes)


def room(size: int) -> bytearray:
    """So many bytes that are not cleared, for a batch to be read into. Raises MemoryError."""
    return _batch.room(size)


def find(payload: Buffer) -> Found:
    """Finds the fields of a serialized `Batch`; every offset in the table stays inside `payload`.

    Raises:
        Rejected: the bytes are not a batch.
    """
    status, table = _batch.find(payload)
    words = memoryview(table).cast("q")
    sequence, rows = words[2], words[0]
    if status:
        _refuse(status, 0)
    at = words[3]
    return Found(sequence, rows, bytes(memoryview(payload)[at : at + 16]), table)


def glance(payload: Buffer) -> Found:
    """What can be seen of a batch, even of one that `find` refuses: 0 or empty where there is nothing to be seen.

    `rows` is what the client claims, at most `MAX_ROWS`. The table must not be followed.
    """
    _, table = _batch.find(payload)
    words = memoryview(table).cast("q")
    at = words[3]
    schema_id = b"" if at < 0 else bytes(memoryview(payload)[at : at + 16])
    return Found(words[2], min(words[0], MAX_ROWS), schema_id, b"")


def check(payload: Buffer, found: Found, rules: Rules, earliest_ns: int, latest_ns: int) -> int:
    """Checks every value of a batch against its schema and the accepted window of scoring times.

    Returns:
        The scoring time of its first row in nanoseconds; all others lie in the same UTC hour.

    Raises:
        Rejected: with the reason and the field.
    """
    schema = rules.schema
    status, where, time_ns = _batch.check(
        payload, found.table, rules.types, rules.widths, schema.tensor, schema.correlation, schema.request,
        schema.sampled, earliest_ns, latest_ns, MAX_ID_BYTES, rules.value_bytes, rules.fixed_text, MAX_ROW_TEXT,
    )  # fmt: skip
    if status == _OUTSIDE:
        _refuse(status, *map(_second, (where, earliest_ns, latest_ns)))
    if status:
        _refuse(status, where, rules.value_bytes)
    return time_ns


def _refuse(status: int, *values: int | str) -> None:
    answer = _ANSWERS[status]
    assert answer is not None
    raise Rejected(answer[0], answer[1].format(*values))


def _second(time_ns: int) -> str:
    """For whose clock is wrong: people do not see it in nanoseconds since 1970. Any int64 is a date."""
    return f"{_EPOCH + timedelta(seconds=time_ns // 1_000_000_000):%Y-%m-%dT%H:%M:%SZ}"
