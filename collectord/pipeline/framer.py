"""Entries of the log become a frame: assembled, written as text, compressed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from collectord.buffer.assemble import Rows
from collectord.buffer.index import Slice
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import FrameEncoder
from collectord.encode.jsonl import JsonlPlan
from collectord.encode.telemetry import TelemetryPlan
from collectord.encode.ways import Habits
from collectord.model import FrameTag, Schema
from collectord.upload.store import MAX_APPEND

Plan: TypeAlias = CsvPlan | JsonlPlan | TelemetryPlan
"""How rows of one schema become text."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of one partition, ready to be appended."""

    header: bytes
    """Text of the header row; empty for lines of JSON."""
    header_frame: bytes
    data_frame: bytes
    tag: FrameTag

    @property
    def size(self) -> int:
        """Bytes of an append at the beginning of a blob, where the header goes first."""
        return len(self.header_frame) + len(self.data_frame)


@dataclass(slots=True)
class _Tools:
    encoder: FrameEncoder
    text: TextBuffer


class Framer:
    """Makes frames on any thread, each with an encoder and a text buffer of its own."""

    def __init__(self, codec: str, level: int, writer_id: bytes, next_frame_id: Callable[[], int]) -> None:
        self._codec = codec
        self._level = level
        self._writer_id = writer_id
        self._next_frame_id = next_frame_id
        self._habits = Habits()
        self._local = threading.local()

    def text(self, schema: Schema, plan: Plan, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> memoryview:
        """The rows as text, without a header; lines of JSON as those of a frame 0. Valid until this thread's next call."""
        batch = _rows(schema, slices, payloads).batch()
        if isinstance(plan, CsvPlan):
            return plan.encode(batch, self._tools().text)
        return memoryview(plan.encode(batch, FrameTag(self._writer_id, 0, batch.num_rows)))

    def make(self, schema: Schema, plan: Plan, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> Frame:
        """One frame of these slices; `payloads` are those of their entries. If it is larger than an append may be, it is
        not to be sent, but made again of fewer rows. Raises ValueError for a single row that is.
        """
        tools, rows = self._tools(), _rows(schema, slices, payloads)
        tag = FrameTag(self._writer_id, self._next_frame_id(), sum(piece.stop - piece.start for piece in slices))
        if not isinstance(plan, CsvPlan):
            lines = plan.encode(rows.batch(), tag, MAX_APPEND)
            if tag.rows == 1 and len(lines) > MAX_APPEND:
                # Ingest bounds a row as CSV, which has neither the columns' names nor such long escapes.
                raise ValueError(f"a row of {len(lines)} bytes as JSON; {MAX_APPEND} are allowed")
            return Frame(plan.header, plan.header, lines, tag)
        text = plan.encode(rows.batch(), tools.text, matches=tools.encoder.wants_matches(schema.id))
        data_frame = tools.encoder.data_frame(text, tag, rows.ids(), schema.id, tools.text.matches)
        return Frame(plan.header, tools.encoder.header_frame(plan.header), data_frame, tag)

    def _tools(self) -> _Tools:
        tools: _Tools | None = getattr(self._local, "tools", None)
        if tools is None:
            tools = self._local.tools = _Tools(FrameEncoder(self._codec, self._level, self._habits), TextBuffer())
        return tools


def _rows(schema: Schema, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> Rows:
    return Rows(schema, ((payload, s.start, s.stop) for payload, s in zip(payloads, slices, strict=True)))
