"""Whether a schema or a batch is accepted, and into which partition a batch goes. Pure but for the cache of schemas."""

from __future__ import annotations

from dataclasses import dataclass

from collectord import batch
from collectord.errors import Rejected
from collectord.model import Buffer, Partition, Reason, Schema
from collectord.schema import parse_schema, schema_id

DAY_NS = 86_400_000_000_000
MAX_SCHEMAS_PER_CLIENT = 1000


@dataclass(frozen=True, slots=True)
class Window:
    """Which scoring times are accepted, relative to now, and the period of a partition."""

    late_ns: int
    early_ns: int
    boundary_minutes: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch that is accepted."""

    schema: Schema
    partition: Partition
    rows: int


class Declared:
    """The schemas that one client has declared on its stream, the refused ones included."""

    def __init__(self) -> None:
        self._rules: dict[bytes, batch.Rules | Rejected] = {}

    def declare(self, raw: bytes) -> Rejected | None:
        """Remembers a schema. A refused one is remembered too: each batch that names it is refused for its reason."""
        key = schema_id(raw)
        if key in self._rules:
            return None
        if len(self._rules) >= MAX_SCHEMAS_PER_CLIENT:
            return Rejected(Reason.TOO_MANY_SCHEMAS, f"a client may declare {MAX_SCHEMAS_PER_CLIENT} schemas")
        try:
            self._rules[key] = batch.Rules.of(parse_schema(raw))
        except Rejected as rejected:
            self._rules[key] = rejected
            return rejected
        return None

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
            raise Rejected(Reason.UNKNOWN_SCHEMA, f"schema {found.schema_id.hex()} was not declared on this stream")
        if isinstance(rules, Rejected):
            raise rules
        earliest = max(0, now_ns - window.late_ns)
        time_ns = batch.check(payload, found, rules, earliest, now_ns + window.early_ns)
        partition = Partition.of(found.schema_id, time_ns, window.boundary_minutes)
        return Judged(rules.schema, partition, found.rows)
