"""A declared schema: from the bytes on the wire or in the log to `model.Schema`, with every limit on it.

The text bounds here and in `batch.py` make sure, before anything is acknowledged, that a header and a row fit into one
append: at worst-case quoting a header is at most `MAX_HEADER_TEXT` and a row `MAX_ROW_TEXT`, and the two together, framed,
stay below the 4 MiB that one append may have.
"""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from collectord._pb import collector_pb2 as pb
from collectord.errors import Rejected
from collectord.kinds import problem_of
from collectord.model import (
    STREAM_PARTS,
    SYSTEM_COLUMNS,
    Column,
    ColumnType,
    IdLayout,
    Reason,
    Schema,
    Stream,
    StreamKind,
)

MAX_COLUMNS = 10_000
MAX_NAME_BYTES = 1024
MAX_STREAM_PART_BYTES = 255
MAX_SCHEMA_BYTES = 1 << 20
MAX_HEADER_TEXT = 960 << 10
MAX_ROW_TEXT = 3 << 20


def schema_id(raw: bytes) -> bytes:
    """The 16 bytes by which batches name a schema."""
    return hashlib.sha256(raw).digest()[:16]


def parse_schema(raw: bytes) -> Schema:
    """Reads a serialized proto `Schema`.

    Raises:
        Rejected: it breaks a limit or a rule of the proto file.
    """
    if len(raw) > MAX_SCHEMA_BYTES:
        # Looked at before it is parsed: a schema whose header fits is never as large.
        raise Rejected(Reason.HEADER_TOO_LARGE, f"the schema has {len(raw)} bytes; {MAX_SCHEMA_BYTES} are allowed")
    try:
        message = pb.Schema.FromString(raw)
    except DecodeError as error:
        raise Rejected(Reason.BAD_SCHEMA, f"not a Schema message: {error}") from error
    stream = stream_of(message.stream)
    if message.layout not in (pb.LAYOUT_TENSOR, pb.LAYOUT_COLUMNS):
        raise Rejected(Reason.BAD_SCHEMA, f"layout is {message.layout}; 1 (tensor) and 2 (columns) are known")
    tensor = message.layout == pb.LAYOUT_TENSOR
    if message.correlation not in (pb.ID_LAYOUT_UUID, pb.ID_LAYOUT_TEXT):
        raise Rejected(Reason.BAD_SCHEMA, "correlation must be UUID or TEXT: every row carries a correlation id")
    if message.request not in (pb.ID_LAYOUT_NONE, pb.ID_LAYOUT_UUID, pb.ID_LAYOUT_TEXT):
        raise Rejected(Reason.BAD_SCHEMA, f"request is {message.request}; 0 (none), 1 (UUID) and 2 (text) are known")
    columns = _columns(message, tensor)
    if stream.kind is not StreamKind.ROWS:
        _check_event(stream.kind, columns, tensor, message)
    return Schema(
        id=schema_id(raw),
        raw=raw,
        stream=stream,
        columns=columns,
        tensor=tensor,
        correlation=IdLayout(message.correlation),
        request=IdLayout(message.request),
        sampled=message.sampled,
    )


def stream_of(message: pb.Stream) -> Stream:
    """A proto `Stream` as a value, checked.

    Raises:
        Rejected: a part is too long or holds control characters, or the kind is unknown.
    """
    try:
        kind = StreamKind(message.kind)
    except ValueError:
        raise Rejected(Reason.UNSUPPORTED_KIND, f"stream kind {message.kind} is not known to this daemon") from None
    parts = {name: getattr(message, name) for name in STREAM_PARTS}
    for name, text in parts.items():
        if len(text.encode()) > MAX_STREAM_PART_BYTES:
            raise Rejected(Reason.BAD_NAME, f"stream.{name} is longer than {MAX_STREAM_PART_BYTES} bytes")
        if any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise Rejected(Reason.BAD_NAME, f"stream.{name} holds control characters")
    return Stream(kind=kind, **parts)


def longest_part(stream: Stream) -> int:
    """Bytes of the longest part of a stream's name."""
    return max(len(getattr(stream, name).encode()) for name in STREAM_PARTS)


def longest_name(schema: Schema) -> int:
    """Bytes of the longest name of a column."""
    return max(len(column.name.encode()) for column in schema.columns)


def stream_message(stream: Stream) -> pb.Stream:
    """The same the other way round."""
    return pb.Stream(kind=int(stream.kind), **{name: getattr(stream, name) for name in STREAM_PARTS})  # type: ignore[arg-type]


def _check_event(kind: StreamKind, columns: tuple[Column, ...], tensor: bool, message: pb.Schema) -> None:
    if problem := problem_of(kind, columns, tensor):
        raise Rejected(Reason.BAD_SCHEMA, problem)
    if message.correlation != pb.ID_LAYOUT_UUID:
        raise Rejected(Reason.BAD_SCHEMA, "the correlation id of an event is its own, a UUID")
    if message.request != pb.ID_LAYOUT_NONE:
        raise Rejected(Reason.BAD_SCHEMA, "an event has no request id: what it belongs to is its operation_Id")


def _columns(message: pb.Schema, tensor: bool) -> tuple[Column, ...]:
    if not 1 <= len(message.columns) <= MAX_COLUMNS:
        raise Rejected(
            Reason.TOO_MANY_COLUMNS if message.columns else Reason.BAD_SCHEMA,
            f"the schema has {len(message.columns)} columns; 1 to {MAX_COLUMNS} are allowed",
        )
    try:
        columns = tuple(Column(column.name, ColumnType(column.type)) for column in message.columns)
    except ValueError as error:
        raise Rejected(Reason.UNSUPPORTED_TYPE, f"unknown column type: {error}") from None
    if tensor and (len({column.type for column in columns}) > 1 or columns[0].type is ColumnType.STRING):
        raise Rejected(Reason.BAD_SCHEMA, "a tensor's columns have one fixed-width type")
    seen = set(SYSTEM_COLUMNS)
    header_text = 2048
    for column in columns:
        size = len(column.name.encode())
        if not 0 < size <= MAX_NAME_BYTES or "\0" in column.name:
            raise Rejected(
                Reason.BAD_NAME, f"a column name has {size} bytes or a NUL; 1 to {MAX_NAME_BYTES} are allowed"
            )
        if column.name in seen:
            raise Rejected(Reason.DUPLICATE_COLUMN, f"column {column.name!r} occurs twice or is one of our own")
        seen.add(column.name)
        header_text += 2 * size + 3
    if header_text > MAX_HEADER_TEXT:
        raise Rejected(
            Reason.HEADER_TOO_LARGE, f"the header may need {header_text} bytes; {MAX_HEADER_TEXT} are allowed"
        )
    return columns
