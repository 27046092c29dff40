"""What has to be known of a partition to write it: its schema, the name of its blob, the plan of its text."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from collectord.encode.csv import CsvPlan
from collectord.encode.frame import JSONL, TELEMETRY
from collectord.encode.jsonl import JsonlPlan
from collectord.encode.telemetry import TelemetryPlan
from collectord.errors import Rejected
from collectord.ingest.validate import weight
from collectord.model import Partition, Schema, stream_of_key
from collectord.pipeline.framer import Plan
from collectord.schema import parse_schema
from collectord.upload.naming import Layout, codec_of
from collectord.wal.damage import DamagedEntry

KEPT_BYTES = 32 << 20
"""Of memory that schemas may need, and plans as much again. One schema of 10,000 columns needs about 2 MiB."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """What was made lately: at most `number` values that need `size` bytes together, but the newest in any case."""

    def __init__(self, number: int, size: int = KEPT_BYTES) -> None:
        self._number = number
        self._size = size
        self._lock = threading.Lock()
        """Guards the sum; looking at a value needs no lock."""
        self._values: dict[Key, tuple[Value, int]] = {}
        self._used = 0

    def get(self, key: Key) -> Value | None:
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: Key, value: Value, size: int = 0) -> None:
        """Of two that were made at once the first stays. The oldest make room."""
        with self._lock:
            if key in self._values:
                return
            while self._values and (len(self._values) >= self._number or self._used + size > self._size):
                self._used -= self._values.pop(next(iter(self._values)))[1]
            self._values[key] = (value, size)
            self._used += size


class Known:
    """Made when first asked for, and bounded: a flood of schemas, or of large ones, costs time, not memory.

    `raw_schema` gives a schema as declared in the log, by id; raises DamagedEntry if no declaration survives.
    Threads: any. Two that ask at once may both make it; each result is as good as the other.
    """

    def __init__(
        self, raw_schema: Callable[[bytes], bytes], layout: Layout, *, lowercase_workspace: bool, max_streams: int
    ) -> None:
        self._raw_schema = raw_schema
        self._layout = layout
        self._lowercase_workspace = lowercase_workspace
        self._schemas = Kept[bytes, Schema](2 * max_streams)
        self._plans = Kept[tuple[bytes, int], Plan](max_streams)
        self._keys = Kept[bytes, str](2 * max_streams)
        """Small, and asked for all the time: what waits is counted by them, under the lock."""
        self._bases = Kept[Partition, str](2 * max_streams)

    def schema(self, schema_id: bytes) -> Schema:
        """Raises DamagedEntry if no declaration of it survives whole, Rejected if it is none that this version knows."""
        schema = self._schemas.get(schema_id)
        if schema is None:
            raw = self._raw_schema(schema_id)
            # Whatever it came from: rows must never get the header of another schema.
            if hashlib.sha256(raw).digest()[:16] != schema_id:
                raise DamagedEntry(f"the declaration of schema {schema_id.hex()} is another's")
            schema = parse_schema(raw)
            self._schemas.put(schema_id, schema, weight(schema))
        return schema

    def knows(self, schema_id: bytes) -> bool:
        """Whether the schema can be had; without it its rows can neither be written nor counted for a stream."""
        try:
            self.stream_key(schema_id)
        except (DamagedEntry, Rejected):
            return False
        return True

    def stream_key(self, schema_id: bytes) -> str:
        """Raises as `schema` does."""
        key = self._keys.get(schema_id)
        if key is None:
            key = self.schema(schema_id).stream.key()
            self._keys.put(schema_id, key)
        return key

    def service(self, schema_id: bytes) -> str:
        """The service whose rows they are; `default`: none is named. Raises as `schema` does."""
        return stream_of_key(self.stream_key(schema_id)).webservice

    def base(self, partition: Partition) -> str:
        """The name of the partition's blob without its part and suffix."""
        base = self._bases.get(partition)
        if base is None:
            base = self._layout.base(self.schema(partition.schema_id).stream, partition)
            self._bases.put(partition, base)
        return base

    def plan(self, partition: Partition) -> Plan:
        """How the partition is written: its blob's name says it, as it does to every reader."""
        key = (partition.schema_id, partition.boundary_minutes)
        plan = self._plans.get(key)
        if plan is None:
            schema = self.schema(partition.schema_id)
            codec = codec_of(self.base(partition))
            if codec == JSONL:
                plan = JsonlPlan(schema)
            elif codec == TELEMETRY:
                plan = TelemetryPlan(schema)
            else:
                plan = CsvPlan(schema, partition.boundary_minutes, lowercase_workspace=self._lowercase_workspace)
            self._plans.put(key, plan, weight(schema) + len(plan.header))
        return plan

    def header(self, partition: Partition) -> bytes | None:
        """The header's text, if a plan has been made; a frame settled after a restart needed none. Empty: it has none."""
        plan = self._plans.get((partition.schema_id, partition.boundary_minutes))
        return plan.header if plan is not None else None
