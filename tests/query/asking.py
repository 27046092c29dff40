"""A store of events in memory, and questions to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from collectord.query.question import Answer, Asked, Questions
from collectord.query.span import Span
from collectord.query.values import plain, rows_of
from collectord.testing.store import MemoryStore, StoredBlob

HOUR = "2026/11/21/17"


def line(**fields: Any) -> bytes:
    """An event as it lands."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def put(store: MemoryStore, table: str, lines: Iterable[bytes], hour: str = HOUR, writer: str = "w0") -> str:
    """One blob of these lines; its name."""
    name = f"_collectord/telemetry/{table}/s/g/w/svc/m/1/{hour}/{writer}.jsonl"
    store.blobs[name] = StoredBlob(bytearray(b"".join(lines)))
    return name


def asked(store: MemoryStore, *, span: Span | None = None, layout: str = "documented", prefix: str = "") -> Questions:
    return Questions(Asked(store, layout, prefix, 256, span or Span()))


def rows(answer: Answer) -> list[Mapping[str, Any]]:
    """Values as JSON has them."""
    return [
        {name: plain(value, kind) for (name, kind), value in zip(answer.columns, row, strict=True)}
        for batch in answer.batches
        for row in rows_of(batch)
    ]


def ask(store: MemoryStore, kql: str, **options: Any) -> list[Mapping[str, Any]]:
    with asked(store, **options) as questions:
        return rows(questions.kql(kql))


def ask_sql(store: MemoryStore, sql: str, **options: Any) -> list[Mapping[str, Any]]:
    with asked(store, **options) as questions:
        return rows(questions.sql(sql))
