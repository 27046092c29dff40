"""What has to be known of a partition to write it: its schema, the name of its blob, the plan of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from collectord.encode.csv import CsvPlan
from collectord.errors import Rejected
from collectord.model import Partition, Schema
from collectord.schema import parse_schema
from collectord.upload.naming import Layout
from collectord.wal.damage import DamagedEntry


class Known:
    """Made when first asked for, and bounded: a flood of schemas costs time, not memory.

    `raw_schema` gives a schema as declared in the log, by id; raises DamagedEntry if no declaration survives.
    Threads: any. Two that ask at once may both make it; each result is as good as the other.
    """

    def __init__(
        self, raw_schema: Callable[[bytes], bytes], layout: Layout, *, lowercase_workspace: bool, max_streams: int
    ) -> None:
        self._raw_schema = raw_schema
        self._layout = layout
        self._lowercase_workspace = lowercase_workspace
        self._max_streams = max_streams
        self._schemas: dict[bytes, Schema] = {}
        self._plans: dict[tuple[bytes, int], CsvPlan] = {}
        self._bases: dict[Partition, str] = {}

    def schema(self, schema_id: bytes) -> Schema:
        """Raises DamagedEntry if no declaration of it survives whole, Rejected if it is none that this version knows."""
        schema = self._schemas.get(schema_id)
        if schema is None:
            raw = self._raw_schema(schema_id)
            # Whatever it came from: rows must never get the header of another schema.
            if hashlib.sha256(raw).digest()[:16] != schema_id:
                raise DamagedEntry(f"the declaration of schema {schema_id.hex()} is another's")
            if len(self._schemas) > 2 * self._max_streams:
                self._schemas.clear()
            schema = self._schemas[schema_id] = parse_schema(raw)
        return schema

    def knows(self, schema_id: bytes) -> bool:
        """Whether the schema can be had; without it its rows can neither be written nor counted for a stream."""
        try:
            self.schema(schema_id)
        except (DamagedEntry, Rejected):
            return False
        return True

    def stream_key(self, schema_id: bytes) -> str:
        return self.schema(schema_id).stream.key()

    def base(self, partition: Partition) -> str:
        """The name of the partition's blob without its part and suffix."""
        base = self._bases.get(partition)
        if base is None:
            base = self._layout.base(self.schema(partition.schema_id).stream, partition)
            if len(self._bases) > 2 * self._max_streams:
                self._bases.clear()
            self._bases[partition] = base
        return base

    def plan(self, partition: Partition) -> CsvPlan:
        key = (partition.schema_id, partition.boundary_minutes)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) > self._max_streams:
                self._plans.clear()
            schema = self.schema(partition.schema_id)
            plan = CsvPlan(schema, partition.boundary_minutes, lowercase_workspace=self._lowercase_workspace)
            self._plans[key] = plan
        return plan

    def header(self, partition: Partition) -> bytes | None:
        """The header's text, if a plan has been made; a frame settled after a restart needed none."""
        plan = self._plans.get((partition.schema_id, partition.boundary_minutes))
        return plan.header if plan is not None else None
