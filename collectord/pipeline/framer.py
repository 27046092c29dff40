"""Entries of the log become a frame: assembled, written as text, compressed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collectord.buffer.assemble import Rows
from collectord.buffer.index import Slice
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.frame import FrameEncoder
from collectord.model import FrameTag, Schema


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows of one partition, ready to be appended."""

    header: bytes
    """Text of the header row."""
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
        self._local = threading.local()

    def text(
        self, schema: Schema, plan: CsvPlan, slices: Sequence[Slice], payloads: Sequence[memoryview]
    ) -> memoryview:
        """The rows as CSV, without a header. Valid until this thread's next call."""
        return plan.encode(_rows(schema, slices, payloads).batch(), self._tools().text)

    def make(self, schema: Schema, plan: CsvPlan, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> Frame:
        """One frame of these slices; `payloads` are those of their entries."""
        tools, rows = self._tools(), _rows(schema, slices, payloads)
        text = plan.encode(rows.batch(), tools.text)
        tag = FrameTag(self._writer_id, self._next_frame_id(), sum(piece.stop - piece.start for piece in slices))
        data_frame = tools.encoder.data_frame(text, tag, rows.ids())
        return Frame(plan.header, tools.encoder.header_frame(plan.header), data_frame, tag)

    def _tools(self) -> _Tools:
        tools: _Tools | None = getattr(self._local, "tools", None)
        if tools is None:
            tools = self._local.tools = _Tools(FrameEncoder(self._codec, self._level), TextBuffer())
        return tools


def _rows(schema: Schema, slices: Sequence[Slice], payloads: Sequence[memoryview]) -> Rows:
    return Rows(schema, ((payload, s.start, s.stop) for payload, s in zip(payloads, slices, strict=True)))
