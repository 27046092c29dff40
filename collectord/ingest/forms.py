"""Payloads of the v2 door as batches of the wire: packed columns and a heading become a schema and its batch.

A sender's payloads have the same columns again and again, so the schema of the last ones is kept, with the rules by which
batches are checked. Belongs to the event loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.ingest.heading import Heading
from collectord.ingest.payload import BadPayload
from collectord.ingest.records import Packed
from collectord.ingest.validate import weight
from collectord.model import IdLayout, Stream
from collectord.schema import MAX_COLUMNS, parse_schema, stream_message

MAX_FORMS = 1000
MAX_FORMS_BYTES = 8 << 20
MAX_PAYLOAD_BYTES = 4 << 20
"""Of a batch, as on the wire."""

_Key = tuple[Stream, tuple[str, ...], bytes]


class Forms:
    """The schemas used last."""

    def __init__(
        self,
        number: int = MAX_FORMS,
        size: int = MAX_FORMS_BYTES,
        value_bytes: int = batch.MAX_VALUE_BYTES,
        *,
        requests: bool = True,
    ) -> None:
        """`requests`: whether rows have request ids."""
        self._requests = requests
        self._value_bytes = value_bytes
        self._number = number
        self._size = size
        self._used = 0
        self._rules: OrderedDict[_Key, batch.Rules] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rules)

    def rules(self, stream: Stream, columns: Sequence[Packed]) -> batch.Rules:
        """The schema of these columns, compiled.

        Raises:
            Rejected: it breaks a limit or a rule of the proto file.
        """
        key = stream, tuple(column.name for column in columns), bytes(column.type for column in columns)
        rules = self._rules.get(key)
        if rules is not None:
            self._rules.move_to_end(key)
            return rules
        rules = batch.Rules.of(parse_schema(self._raw_schema(stream, columns)), self._value_bytes)
        self._rules[key] = rules
        self._used += weight(rules.schema)
        while len(self._rules) > 1 and (len(self._rules) > self._number or self._used > self._size):
            _, dropped = self._rules.popitem(last=False)
            self._used -= weight(dropped.schema)
        return rules

    def _raw_schema(self, stream: Stream, columns: Sequence[Packed]) -> bytes:
        if len(columns) > MAX_COLUMNS:
            raise BadPayload(f"{len(columns)} columns are too many: {MAX_COLUMNS} are allowed", status=413)
        return pb.Schema(
            stream=stream_message(stream),
            columns=[pb.Column(name=column.name, type=f"COLUMN_TYPE_{column.type.name}") for column in columns],
            layout=pb.LAYOUT_COLUMNS,
            correlation=pb.ID_LAYOUT_TEXT,
            request=pb.ID_LAYOUT_TEXT if self._requests else pb.ID_LAYOUT_NONE,
        ).SerializeToString(deterministic=True)


def payload(
    rules: batch.Rules,
    heading: Heading,
    correlation_id: str,
    rows: int,
    columns: Sequence[Packed],
    request_id: str | None = None,
) -> bytes:
    """The serialized batch. Without a `request_id`, that is the correlation id too, if the schema has any.

    Raises:
        BadPayload: it would be too large.
    """
    size = sum(len(column.validity) + len(column.offsets) + len(column.data) for column in columns)
    if size > MAX_PAYLOAD_BYTES:
        raise BadPayload(f"the rows need {size} bytes; {MAX_PAYLOAD_BYTES} are allowed", status=413)
    correlation, request = correlation_id.encode(), (request_id or correlation_id).encode()
    if rules.schema.request is IdLayout.NONE:
        request = b""
    return pb.Batch(
        sequence=1,
        schema_id=rules.schema.id,
        rows=rows,
        requests=pb.Requests(
            times=heading.time_ns.to_bytes(8, "little", signed=True),
            row_counts=rows.to_bytes(4, "little"),
            correlation_ids=correlation,
            correlation_offsets=_offsets(correlation),
            request_ids=request,
            request_offsets=_offsets(request) if request else b"",
        ),
        columns=[
            pb.ColumnData(validity=column.validity, offsets=column.offsets, data=column.data) for column in columns
        ],
    ).SerializeToString()


def _offsets(text: bytes) -> bytes:
    """Of one text."""
    return bytes(4) + len(text).to_bytes(4, "little")
