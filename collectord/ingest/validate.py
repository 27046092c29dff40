"""Whether a schema or a batch is accepted, and into which partition a batch goes. Pure but for the cache of schemas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from collectord import batch
from collectord._pb import collector_pb2 as pb
from collectord.errors import Rejected
from collectord.model import Buffer, Partition, Reason, Schema, Stream, StreamKind
from collectord.outputs import Outputs
from collectord.schema import (
    MAX_COLUMNS,
    MAX_NAME_BYTES,
    MAX_STREAM_PART_BYTES,
    longest_name,
    longest_part,
    parse_schema,
    schema_id,
    stream_of,
)

DAY_NS = 86_400_000_000_000
MAX_SCHEMAS_PER_CLIENT = 1000
MAX_COLUMNS_PER_CLIENT = 100_000
"""Of all the schemas of a client together."""
MAX_SCHEMA_BYTES_PER_CLIENT = 16 << 20
MAX_SCHEMA_BYTES = 2 * MAX_SCHEMA_BYTES_PER_CLIENT
"""Of the schemas of all clients; one that several have declared counts once."""
MAX_DROP_COUNTS = 1000
SCHEMA_BYTES, COLUMN_BYTES = 1024, 192
"""What a schema and each of its columns cost in memory besides their names, about."""


def weight(schema: Schema) -> int:
    """The bytes that are planned with for a schema."""
    return SCHEMA_BYTES + COLUMN_BYTES * len(schema.columns) + 2 * len(schema.raw)


class Shared:
    """Schemas in use by any client, by id. Whoever declares one of them gets the same object; it goes with the last of
    them. Belongs to the event loop."""

    def __init__(
        self,
        max_columns: int = MAX_COLUMNS,
        max_value_bytes: int = batch.MAX_VALUE_BYTES,
        max_name_bytes: int = MAX_STREAM_PART_BYTES,
        max_column_name_bytes: int = MAX_NAME_BYTES,
    ) -> None:
        self.max_columns = max_columns
        self.max_name_bytes = max_name_bytes
        """Of each part of a stream's name."""
        self.max_column_name_bytes = max_column_name_bytes
        self.max_value_bytes = max_value_bytes
        """Of one text."""
        self.bytes = 0
        self._rules: dict[bytes, tuple[batch.Rules, int]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def get(self, key: bytes) -> batch.Rules | None:
        found = self._rules.get(key)
        return found[0] if found is not None else None

    def too_large(self, schema: Schema) -> Refusal | None:
        """Why a schema has more columns, or longer names, than are taken here; None: it has not."""
        if len(schema.columns) > self.max_columns:
            return Refusal(
                Reason.TOO_MANY_COLUMNS,
                f"the schema has {len(schema.columns)} columns; {self.max_columns} are allowed (max_columns)",
            )
        # What every schema has to keep to anyway is not looked for again: the v2 door asks with each payload.
        if self.max_name_bytes < MAX_STREAM_PART_BYTES and (part := longest_part(schema.stream)) > self.max_name_bytes:
            return Refusal(
                Reason.BAD_NAME,
                f"a part of the stream's name has {part} bytes; {self.max_name_bytes} are allowed (max_name_bytes)",
            )
        if self.max_column_name_bytes == MAX_NAME_BYTES or schema.stream.kind is not StreamKind.ROWS:
            return None
        if (name := longest_name(schema)) > self.max_column_name_bytes:
            return Refusal(
                Reason.BAD_NAME,
                f"a column name has {name} bytes; {self.max_column_name_bytes} are allowed (max_column_name_bytes)",
            )
        return None

    def hold(self, rules: batch.Rules) -> None:
        """One client more uses it."""
        key = rules.schema.id
        known, users = self._rules.get(key, (rules, 0))
        if not users:
            self.bytes += weight(rules.schema)
        self._rules[key] = known, users + 1

    def drop(self, rules: batch.Rules) -> None:
        """One client fewer does."""
        key = rules.schema.id
        known, users = self._rules.pop(key)
        if users > 1:
            self._rules[key] = known, users - 1
        else:
            self.bytes -= weight(rules.schema)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is refused for good. Unlike an exception it holds no frames, and so no payload."""

    reason: Reason
    detail: str

    @staticmethod
    def of(rejected: Rejected) -> Refusal:
        return Refusal(rejected.reason, rejected.detail)


@dataclass(frozen=True, slots=True)
class Window:
    """Which scoring times are accepted, relative to now, and the period of a partition."""

    late_ns: int
    early_ns: int
    boundary_minutes: int
    outputs: Outputs = field(default_factory=Outputs)
    """Some streams have a period of their own."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch that is accepted."""

    schema: Schema
    partition: Partition
    rows: int


def judge(payload: Buffer, found: batch.Found, rules: batch.Rules, window: Window, now_ns: int) -> Judged:
    """Checks a batch against its schema and the window.

    Raises:
        Rejected: it will never be accepted.
    """
    earliest = max(0, now_ns - window.late_ns)
    time_ns = batch.check(payload, found, rules, earliest, now_ns + window.early_ns)
    boundary = window.outputs.boundary(rules.schema.stream, window.boundary_minutes)
    return Judged(rules.schema, Partition.of(found.schema_id, time_ns, boundary), found.rows)


class Declared:
    """The schemas that one client has declared on its stream, the refused ones included."""

    def __init__(self, shared: Shared, why_refused: Callable[[Stream], Refusal | None] = lambda _: None) -> None:
        """`why_refused`: why rows of a stream are not taken here at all; None if they are."""
        self._shared = shared
        self._why_refused = why_refused
        self._rules: dict[bytes, batch.Rules | Refusal] = {}
        self._columns = 0
        self.bytes = 0
        """Memory planned for them."""
        self._full: Refusal | None = None

    def declare(self, raw: bytes) -> Refusal | None:
        """Remembers a schema. A refused one is remembered too: each batch that names it is refused for its reason."""
        key = schema_id(raw)
        if key in self._rules:
            return None
        if len(self._rules) >= MAX_SCHEMAS_PER_CLIENT:
            self._full = Refusal(Reason.TOO_MANY_SCHEMAS, f"a client may declare {MAX_SCHEMAS_PER_CLIENT} schemas")
            return self._full
        refusal = self._learn(key, raw)
        if refusal is not None:
            self._rules[key] = refusal
        return refusal

    def schema(self, key: bytes) -> Schema | None:
        """A declared schema, if it was accepted."""
        rules = self._rules.get(key)
        return rules.schema if isinstance(rules, batch.Rules) else None

    def judge(self, payload: Buffer, found: batch.Found, window: Window, now_ns: int) -> Judged:
        """Checks a batch in full.

        Raises:
            Rejected: it will never be accepted.
        """
        rules = self._rules.get(found.schema_id)
        if rules is None:
            if self._full is not None:
                raise Rejected(self._full.reason, self._full.detail)
            raise Rejected(Reason.UNKNOWN_SCHEMA, f"schema {found.schema_id.hex()} was not declared on this stream")
        if isinstance(rules, Refusal):
            raise Rejected(rules.reason, rules.detail)
        return judge(payload, found, rules, window, now_ns)

    def _learn(self, key: bytes, raw: bytes) -> Refusal | None:
        rules = self._shared.get(key)
        if rules is None:
            try:
                rules = batch.Rules.of(parse_schema(raw), self._shared.max_value_bytes)
            except Rejected as rejected:
                return Refusal.of(rejected)
        refusal = self._shared.too_large(rules.schema) or self._why_refused(rules.schema.stream)
        if refusal is not None:
            return refusal
        columns = len(rules.schema.columns)
        if self._columns + columns > MAX_COLUMNS_PER_CLIENT:
            return Refusal(
                Reason.TOO_MANY_SCHEMAS, f"the schemas of a client may have {MAX_COLUMNS_PER_CLIENT} columns together"
            )
        size = weight(rules.schema)
        if self.bytes + size > MAX_SCHEMA_BYTES_PER_CLIENT:
            return Refusal(
                Reason.TOO_MANY_SCHEMAS,
                f"the schemas of a client may need {MAX_SCHEMA_BYTES_PER_CLIENT} bytes together",
            )
        self._columns += columns
        self.bytes += size
        self._rules[key] = rules
        self._shared.hold(rules)
        return None

    def close(self) -> None:
        """The client is gone, and nothing is judged any more. May be repeated."""
        for rules in self._rules.values():
            if isinstance(rules, batch.Rules):
                self._shared.drop(rules)
        self._rules.clear()
        self.bytes = 0


def counted_drops(
    message: pb.Dropped, may_count: Callable[[Stream, str], bool] = lambda stream, reason: True
) -> tuple[bytes, int]:
    """The part of a client's report of dropped rows that can be kept, serialized, and how many counts cannot. `may_count`: whether
    he may say so of a stream, with a reason: nobody may add to the books of another's."""
    kept = []
    for count in message.counts[:MAX_DROP_COUNTS]:
        try:
            if not may_count(stream_of(count.stream), count.reason):
                continue
        except Rejected:
            continue
        kept.append(count)
    if len(kept) == len(message.counts):
        return message.SerializeToString(), 0
    return pb.Dropped(counts=kept).SerializeToString(), len(message.counts) - len(kept)
