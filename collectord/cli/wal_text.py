"""What `wal export` writes: batches of the log as JSON lines or CSV."""

from __future__ import annotations

import base64
import json
from typing import IO, Any

from collectord.buffer.assemble import assemble
from collectord.encode.csv import CsvPlan, TextBuffer, header_of
from collectord.errors import CallHuman, NeverAgain
from collectord.model import Schema, StreamKind
from collectord.schema import parse_schema
from collectord.wal.export import Exported


class Writer:
    """Writes one batch after the other. Rows are encoded by the same kernel as for blobs, a batch at a time."""

    def __init__(self, file: IO[bytes], kind: str, stream: str, raw: bool) -> None:
        """`kind` is jsonl or csv; `stream` is the beginning of the keys that are wanted."""
        self._file = file
        self._csv = kind == "csv"
        self._prefix = stream
        self._raw = raw
        self._schemas: dict[bytes, Schema | None] = {}
        self._plans: dict[tuple[bytes, int], CsvPlan] = {}
        self._text = TextBuffer()
        self._header: bytes | None = None
        self._batches = self._rows = self._quarantined = self._without_text = 0

    def take(self, batch: Exported) -> None:
        """Raises CallHuman where CSV would need a second header."""
        schema = self._schema(batch)
        if not (schema.stream.key() if schema else "").startswith(self._prefix):
            return
        text = self._rows_of(schema, batch) if schema else None
        self._without_text += text is None
        if self._csv:
            if schema is None or text is None:
                return
            self._take_header(schema)
            self._file.write(text)
        else:
            line = self._object(schema, batch, text)
            self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._batches += 1
        self._rows += batch.stored.rows
        self._quarantined += batch.source != "log"

    def summary(self) -> str:
        """What was written, in one line."""
        said = f"{self._batches:,} batches, {self._rows:,} rows"
        if self._quarantined:
            said += f"; {self._quarantined:,} of the batches from quarantine"
        if self._without_text:
            said += f"; {self._without_text:,} could not be made text" + (" and are left out" if self._csv else "")
        return said

    def _schema(self, batch: Exported) -> Schema | None:
        schema_id = batch.stored.schema_id
        if self._schemas.get(schema_id) is None:
            self._schemas[schema_id] = None
            if batch.schema is not None:
                try:
                    self._schemas[schema_id] = parse_schema(batch.schema)
                except NeverAgain:
                    # Of another version, or forged: its batches are written as they are.
                    return None
        return self._schemas[schema_id]

    def _rows_of(self, schema: Schema, batch: Exported) -> memoryview | None:
        stored = batch.stored
        if schema.stream.kind is not StreamKind.ROWS or not stored.rows:
            return None
        key = (schema.id, stored.boundary_minutes)
        try:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = CsvPlan(schema, stored.boundary_minutes)
            return plan.encode(assemble(schema, [(batch.payload, 0, stored.rows)]), self._text)
        except (NeverAgain, ValueError):
            return None

    def _take_header(self, schema: Schema) -> None:
        header = header_of(schema)
        if self._header is None:
            self._file.write(header)
            self._header = header
        elif header != self._header:
            raise CallHuman(
                f"--format csv: {schema.stream.key()} has other columns than what came before; "
                "name one stream with --stream, or use jsonl"
            )

    def _object(self, schema: Schema | None, batch: Exported, text: memoryview | None) -> dict[str, Any]:
        stored = batch.stored
        line: dict[str, Any] = {
            "lsn": stored.lsn, "source": batch.source, "stream": schema.stream.key() if schema else None,
            "client": stored.client.hex(), "sequence": stored.sequence, "rows": stored.rows,
            "period": f"{stored.partition.start:%Y-%m-%dT%HZ}", "period_minutes": stored.boundary_minutes,
        }  # fmt: skip
        if schema is not None and text is not None:
            line["header"] = header_of(schema).decode()
            line["csv"] = str(text, "utf-8")
        if self._raw or text is None:
            line["schema"] = base64.b64encode(batch.schema).decode() if batch.schema is not None else None
            line["payload"] = base64.b64encode(batch.payload).decode()
        return line
