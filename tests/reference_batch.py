"""Batches for tests: a builder from plain values, and the rules of `proto/collectord/v1/collector.proto` in plain Python.

The reference parses the wire format by itself and looks at one value after the other; the kernel must agree with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from collectord._pb import collector_pb2 as pb
from collectord.batch import MAX_ID_BYTES, MAX_ROWS, MAX_VALUE_BYTES, WIDTHS, Rules
from collectord.model import HOUR_NS, ColumnType, IdLayout, Schema
from collectord.schema import MAX_COLUMNS, MAX_ROW_TEXT, parse_schema

NOW = 1_600_000_000_000_000_000
"""2020-09-13T12:26:40Z."""
EARLIEST = NOW - 35 * 24 * HOUR_NS
LATEST = NOW + 24 * HOUR_NS


def make_schema(
    *types: ColumnType,
    tensor: bool = False,
    correlation: IdLayout = IdLayout.UUID,
    request: IdLayout = IdLayout.NONE,
    sampled: bool = False,
    names: Sequence[str] = (),
    **stream: str,
) -> Schema:
    """A schema with these column types."""
    return parse_schema(schema_message(*types, tensor=tensor, correlation=correlation, request=request, sampled=sampled,
                                       names=names, **stream).SerializeToString())  # fmt: skip


def schema_message(
    *types: ColumnType,
    tensor: bool = False,
    correlation: IdLayout = IdLayout.UUID,
    request: IdLayout = IdLayout.NONE,
    sampled: bool = False,
    names: Sequence[str] = (),
    **stream: str,
) -> pb.Schema:
    """The proto message of `make_schema`."""
    columns = [
        pb.Column(name=names[at] if names else f"f{at}", type=kind)  # type: ignore[arg-type]
        for at, kind in enumerate(types)
    ]
    return pb.Schema(
        stream=pb.Stream(**stream),
        columns=columns,
        layout=pb.LAYOUT_TENSOR if tensor else pb.LAYOUT_COLUMNS,
        correlation=int(correlation),  # type: ignore[arg-type]
        request=int(request),  # type: ignore[arg-type]
        sampled=sampled,
    )


@dataclass
class Request:
    """One scoring request's share of a batch."""

    rows: int = 1
    first: int = 0
    time: int = NOW
    correlation: bytes = bytes(16)
    request: bytes = bytes(16)
    sampling: float = 0.5


@dataclass
class Values:
    """The rows of a batch. `columns`: per column one value per row: the raw bytes, or None for a null."""

    columns: list[list[bytes | None]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(request.rows for request in self.requests)


def build(schema: Schema, values: Values, sequence: int = 1, *, runs: bool | None = None) -> pb.Batch:
    """The message that holds `values`. `runs`: whether row counts and first rows are written; None: if needed."""
    message = pb.Batch(sequence=sequence, schema_id=schema.id, rows=values.rows)
    requests = values.requests
    message.requests.times = struct.pack(f"<{len(requests)}q", *(request.time for request in requests))
    if runs or (runs is None and any(request.rows != 1 for request in requests)):
        message.requests.row_counts = struct.pack(f"<{len(requests)}I", *(request.rows for request in requests))
    if runs or (runs is None and any(request.first for request in requests)):
        message.requests.first_rows = struct.pack(f"<{len(requests)}I", *(request.first for request in requests))
    corr, req = [r.correlation for r in requests], [r.request for r in requests]
    message.requests.correlation_ids = b"".join(corr)
    if schema.correlation is IdLayout.TEXT:
        message.requests.correlation_offsets = offsets_of(corr)
    if schema.request is not IdLayout.NONE:
        message.requests.request_ids = b"".join(req)
    if schema.request is IdLayout.TEXT:
        message.requests.request_offsets = offsets_of(req)
    if schema.sampled:
        message.requests.sampling = struct.pack(f"<{len(requests)}d", *(request.sampling for request in requests))
    if schema.tensor:
        message.tensor = b"".join(column[row] or b"" for row in range(values.rows) for column in values.columns)
        return message
    for column, kept in zip(schema.columns, values.columns, strict=True):
        data = message.columns.add()
        width = WIDTHS[column.type]
        if any(value is None for value in kept):
            bits = bytearray((len(kept) + 7) // 8)
            for row, value in enumerate(kept):
                bits[row // 8] |= (value is not None) << (row % 8)
            data.validity = bytes(bits)
        data.data = b"".join(bytes(width) if value is None else value for value in kept)
        if column.type is ColumnType.STRING:
            data.offsets = offsets_of([value or b"" for value in kept])
    return message


def simple(schema: Schema, rows: int = 1, sequence: int = 1, time: int = NOW) -> pb.Batch:
    """A batch of zeros and empty texts."""
    columns: list[list[bytes | None]] = [[bytes(WIDTHS[column.type])] * rows for column in schema.columns]
    return build(schema, Values(columns, [Request(time=time) for _ in range(rows)]), sequence)


def offsets_of(texts: Sequence[bytes]) -> bytes:
    ends = [0]
    for text in texts:
        ends.append(ends[-1] + len(text))
    return struct.pack(f"<{len(ends)}i", *ends)


# ---------------------------------------------------------------- the rules


class Bad(Exception):
    """The reference refuses the batch."""


def need(condition: bool, why: str) -> None:
    if not condition:
        raise Bad(why)


def wire_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """`(number, wire type, value)` of every field."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 70, 7):
            need(at < len(data), "torn number")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1
        raise Bad("endless number")

    while at < len(data):
        tag = varint()
        number, wire = tag >> 3, tag & 7
        need(0 < number < 1 << 29, "field number")
        if wire == 0:
            yield number, wire, varint()
            continue
        need(wire in (1, 2, 5), "wire type")
        size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        need(at + size <= len(data), "torn field")
        yield number, wire, data[at : at + size]
        at += size


def once(data: bytes, known: range) -> dict[int, bytes]:
    """The known length-delimited fields; each may occur once."""
    found: dict[int, bytes] = {}
    for number, wire, value in wire_fields(data):
        if wire == 2 and number in known:
            need(number not in found, "twice")
            assert isinstance(value, bytes)
            found[number] = value
    return found


def check_reference(payload: bytes, schema: Schema, earliest: int = EARLIEST, latest: int = LATEST) -> None:
    """Raises Bad if the rules refuse the batch."""
    numbers: dict[int, int] = {}
    blobs: dict[int, bytes] = {}
    columns: list[dict[int, bytes]] = []
    seen: set[int] = set()
    for number, wire, value in wire_fields(payload):
        if 1 <= number <= 5:
            need(number not in seen, "twice")
            seen.add(number)
        if wire == 0:
            assert isinstance(value, int)
            numbers[number] = value
        elif wire == 2:
            assert isinstance(value, bytes)
            if number == 6:
                columns.append(once(value, range(1, 4)))
            else:
                blobs[number] = value
    need(numbers.get(1, 0) < 1 << 63, "sequence")
    rows = numbers.get(3, 0)
    need(1 <= rows <= MAX_ROWS, "rows")
    need(blobs.get(2, b"") == schema.id, "schema id")
    need(4 in blobs, "requests")
    need(len(columns) <= MAX_COLUMNS, "columns")
    requests = once(blobs[4], range(1, 9))
    counts = check_requests(requests, rows, schema, earliest, latest)
    assert sum(counts) == rows
    if schema.tensor:
        width = WIDTHS[schema.columns[0].type]
        tensor = blobs.get(5, b"")
        need(not columns and len(tensor) == rows * len(schema.columns) * width, "tensor")
        need(schema.columns[0].type is not ColumnType.BOOL or set(tensor) <= {0, 1}, "bool")
        return
    need(not blobs.get(5) and len(columns) == len(schema.columns), "column count")
    text = [Rules.of(schema).fixed_text] * rows
    for column, found in zip(schema.columns, columns, strict=True):
        validity, offsets, data = (found.get(number, b"") for number in (1, 2, 3))
        need(len(validity) in (0, (rows + 7) // 8), "validity")
        if column.type is not ColumnType.STRING:
            need(not offsets and len(data) == rows * WIDTHS[column.type], "data")
            need(column.type is not ColumnType.BOOL or set(data) <= {0, 1}, "bool")
            continue
        texts = cut(data, offsets, rows)
        for row, value in enumerate(texts):
            need(len(value) <= MAX_VALUE_BYTES, "value")
            text[row] += 2 * len(value) + 3
    need(max(text) <= MAX_ROW_TEXT, "row")


def check_requests(found: dict[int, bytes], rows: int, schema: Schema, earliest: int, latest: int) -> list[int]:
    times = found.get(1, b"")
    need(bool(times) and len(times) % 8 == 0, "times")
    m = len(times) // 8
    counts = [1] * m
    if found.get(2):
        need(len(found[2]) == 4 * m, "row counts")
        counts = list(struct.unpack(f"<{m}I", found[2]))
    need(all(counts) and sum(counts) == rows, "row counts")
    if found.get(3):
        need(len(found[3]) == 4 * m, "first rows")
        firsts = struct.unpack(f"<{m}I", found[3])
        need(all(first + count < 1 << 32 for first, count in zip(firsts, counts, strict=True)), "first rows")
    for layout, ids, offsets in ((schema.correlation, 4, 5), (schema.request, 6, 7)):
        data, ends = found.get(ids, b""), found.get(offsets, b"")
        if layout is IdLayout.TEXT:
            need(all(len(text) <= MAX_ID_BYTES for text in cut(data, ends, m)), "id")
        else:
            need(not ends and len(data) == (16 * m if layout is IdLayout.UUID else 0), "ids")
    need(bool(found.get(8)) == schema.sampled, "sampling")
    if schema.sampled:
        need(len(found[8]) == 8 * m, "sampling")
        need(all(0 < fraction <= 1 for fraction in struct.unpack(f"<{m}d", found[8])), "sampling")
    moments = struct.unpack(f"<{m}q", times)
    need(all(earliest <= moment <= latest for moment in moments), "window")
    need(len({moment // HOUR_NS for moment in moments}) == 1, "hour")
    return counts


def cut(data: bytes, offsets: bytes, n: int) -> list[bytes]:
    need(len(offsets) == 4 * (n + 1), "offsets")
    ends = struct.unpack(f"<{n + 1}i", offsets)
    need(ends[0] == 0 and ends[-1] == len(data) and list(ends) == sorted(ends), "offsets")
    texts = [data[begin:end] for begin, end in pairwise(ends)]
    for text in texts:
        try:
            text.decode()
        except UnicodeDecodeError:
            raise Bad("utf8") from None
    return texts
