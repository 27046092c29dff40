"""Rows of the log become one record batch: equal to what a plain reading of the same values gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from collectord.batch import WIDTHS
from collectord.buffer.assemble import Rows, assemble, ids_of_texts, ids_of_uuids
from collectord.encode.frame_index import PROBES, may_hold
from collectord.model import MAX_FILTER, ColumnType, FrameIds, IdLayout, Schema
from tests.reference_batch import NOW, Request, Values, build, make_schema
from tests.strategies import schemas, values

Row = dict[str, Any]


def expected(schema: Schema, kept: Values) -> list[Row]:
    """One dictionary per row: `columns` (raw bytes or None) and what its request says."""
    rows: list[Row] = []
    for request in kept.requests:
        for at in range(request.rows):
            row: Row = {
                "columns": [column[len(rows)] for column in kept.columns],
                "correlation_id": as_id(schema.correlation, request.correlation),
                "time": request.time,
                "row": request.first + at,
            }
            if schema.request is not IdLayout.NONE:
                row["request_id"] = as_id(schema.request, request.request)
            if schema.sampled:
                row["sampling"] = request.sampling
            rows.append(row)
    return rows


def as_id(layout: IdLayout, value: bytes) -> bytes | str:
    return value.decode() if layout is IdLayout.TEXT else value


def read(schema: Schema, batch: pa.RecordBatch) -> list[Row]:
    """The record batch in the form of `expected`."""
    columns = [values_of(batch, at, column.type, schema) for at, column in enumerate(schema.columns)]
    rows = [{"columns": [column[at] for column in columns]} for at in range(batch.num_rows)]
    for name in ("correlation_id", "request_id", "time", "row", "sampling"):
        if name in batch.schema.names:
            array = batch.column(name)
            array = array.cast(pa.int64()) if name == "time" else array
            for row, value in zip(rows, array.to_pylist(), strict=True):
                row[name] = value
    return rows


def values_of(batch: pa.RecordBatch, at: int, kind: ColumnType, schema: Schema) -> list[bytes | None]:
    width = WIDTHS[kind]
    if schema.tensor:
        data = batch.column("tensor").flatten().buffers()[1].to_pybytes()
        step = len(schema.columns)
        return [data[(row * step + at) * width :][:width] for row in range(batch.num_rows)]
    array = batch.column(f"c{at}")
    if kind is ColumnType.STRING:
        return [None if text is None else text.encode() for text in array.to_pylist()]
    data = array.buffers()[1].to_pybytes()
    valid = array.is_valid().to_pylist()
    return [data[row * width :][:width] if valid[row] else None for row in range(batch.num_rows)]


@given(st.data())
def test_any_slices_of_any_batches_equal_the_plain_reading(data: st.DataObject) -> None:
    """All types, nulls, texts and runs; slices that begin and end inside runs; several pieces; Arrow finds no fault."""
    schema = data.draw(schemas())
    pieces, rows = [], []
    for _ in range(data.draw(st.integers(1, 3))):
        kept = data.draw(values(schema))
        payload = build(schema, kept, runs=data.draw(st.sampled_from([None, True]))).SerializeToString()
        start = data.draw(st.integers(0, kept.rows - 1))
        stop = data.draw(st.integers(start + 1, kept.rows))
        pieces.append((payload, start, stop))
        rows += expected(schema, kept)[start:stop]
    batch = assemble(schema, pieces)
    batch.validate(full=True)
    assert batch.num_rows == len(rows)
    assert read(schema, batch) == rows


@pytest.mark.parametrize("start", range(8))
def test_every_slice_of_runs_of_different_lengths(start: int) -> None:
    schema = make_schema(
        ColumnType.STRING, ColumnType.INT16, correlation=IdLayout.TEXT, request=IdLayout.UUID, sampled=True
    )
    requests = [
        Request(
            rows,
            first=10 * rows,
            time=NOW + rows,
            correlation=f"c{rows}".encode(),
            request=bytes([rows]) * 16,
            sampling=rows / 8,
        )
        for rows in (1, 4, 3)
    ]
    texts: list[bytes | None] = [b"", None, "ä".encode(), b"four", None, b'"', b"\n", b"x" * 300]
    numbers: list[bytes | None] = [bytes([row, 0]) for row in range(8)]
    kept = Values([texts, numbers], requests)
    payload = build(schema, kept).SerializeToString()
    for stop in range(start + 1, 9):
        batch = assemble(schema, [(payload, start, stop)])
        batch.validate(full=True)
        assert read(schema, batch) == expected(schema, kept)[start:stop]


def test_the_payload_may_be_reused_afterwards() -> None:
    """The rows were copied."""
    schema = make_schema(ColumnType.STRING)
    payload = bytearray(build(schema, Values([[b"kept"]], [Request()])).SerializeToString())
    batch = assemble(schema, [(payload, 0, 1)])
    payload[:] = bytes(len(payload))
    assert batch.column("c0").to_pylist() == ["kept"]


def test_names_and_types_are_those_that_the_encoder_expects() -> None:
    schema = make_schema(*ColumnType, request=IdLayout.TEXT, sampled=True)
    columns: list[list[bytes | None]] = [[bytes(WIDTHS[kind])] for kind in ColumnType]
    batch = assemble(schema, [(build(schema, Values(columns, [Request(request=b"r")])).SerializeToString(), 0, 1)])
    assert batch.schema.names == [f"c{at}" for at in range(15)] + [
        "correlation_id",
        "time",
        "request_id",
        "row",
        "sampling",
    ]
    assert [str(field.type) for field in batch.schema] == [
        "uint8", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "halffloat", "float", "double",
        "string", "timestamp[ns]", "timestamp[ns, tz=UTC]", "fixed_size_binary[16]", "timestamp[ns]", "string", "uint32",
        "double",
    ]  # fmt: skip


def test_a_null_in_one_batch_leaves_the_rows_of_another_valid() -> None:
    schema = make_schema(ColumnType.INT8)
    first = build(schema, Values([[b"\1", None]], [Request(2)])).SerializeToString()
    second = build(schema, Values([[b"\2", b"\3"]], [Request(2)])).SerializeToString()
    assert assemble(schema, [(second, 0, 2), (first, 0, 2), (second, 1, 2)]).column("c0").to_pylist() == [
        2,
        3,
        1,
        None,
        3,
    ]
    assert assemble(schema, [(second, 0, 2)]).column("c0").buffers()[0] is None


def test_10000_columns_are_assembled() -> None:
    for tensor in (False, True):
        schema = make_schema(*[ColumnType.FLOAT32] * 10_000, tensor=tensor)
        column: list[bytes | None] = [b"\0\0\x80\x3f", b"\0\0\0\x40"]
        payload = build(schema, Values([column] * 10_000, [Request(2)])).SerializeToString()
        batch = assemble(schema, [(payload, 0, 2), (payload, 1, 2)])
        batch.validate(full=True)
        assert batch.num_rows == 3
        last = batch.column(0).to_pylist() if not tensor else [row[-1] for row in batch.column("tensor").to_pylist()]
        assert last == [1.0, 2.0, 2.0]


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 1), (2, 1), (0, 3), (-1, 1)])
def test_rows_that_a_batch_does_not_have_are_an_error(start: int, stop: int) -> None:
    schema = make_schema(ColumnType.INT8)
    payload = build(schema, Values([[b"\1", b"\2"]], [Request(2)])).SerializeToString()
    with pytest.raises(ValueError, match="of a batch of 2"):
        assemble(schema, [(payload, start, stop)])


def test_no_pieces_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        assemble(make_schema(ColumnType.STRING), [])


# ---------------------------------------------------------------- which ids there are


def reference(layout: IdLayout, ids: Sequence[bytes], size: int | None = None) -> FrameIds:
    """What is said of the ids of these requests, in plain Python; `size` of the filter, where it is not that of as many."""
    timed = [one for one in ids if layout is IdLayout.UUID and UUID(bytes=one).version == 7]
    others = [one for one in ids if one not in timed]
    if size is None:
        size = next((2**power for power in range(3, 15) if 2**power >= len(others)), MAX_FILTER)
    bits = [0] * (8 * size if others else 0)
    for one in others:
        digest = xxhash.xxh64_intdigest(one)
        for probe in range(PROBES):
            bits[(digest + probe * (digest >> 32 | 1)) % len(bits)] = 1
    packed = bytes(sum(bit << at for at, bit in enumerate(bits[i : i + 8])) for i in range(0, len(bits), 8))
    times = [UUID(bytes=one).int >> 80 for one in timed]
    return FrameIds(layout, min(times, default=2**64 - 1), max(times, default=0), packed)


def text_of(layout: IdLayout, one: bytes) -> str:
    return one.decode() if layout is IdLayout.TEXT else str(UUID(bytes=one))


def batch_of(layout: IdLayout, ids: Sequence[bytes], counts: Sequence[int] | None = None) -> tuple[Schema, bytes]:
    """A batch of requests with these ids, of one row each or as many as `counts` says."""
    schema = make_schema(ColumnType.INT8, correlation=layout)
    requests = [Request(rows, correlation=one) for one, rows in zip(ids, counts or [1] * len(ids), strict=True)]
    rows = sum(request.rows for request in requests)
    return schema, build(schema, Values([[b"\1"] * rows], requests)).SerializeToString()


uuids = st.binary(min_size=16, max_size=16) | st.builds(
    lambda ms, rest: ms.to_bytes(6, "big") + bytes([0x70 | rest[0] & 15, rest[1], 0x80 | rest[2] & 63, *rest[3:]]),
    st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10),
)  # fmt: skip
"""Any, and of version 7."""
long_texts = st.binary(max_size=80).map(lambda raw: raw.hex()[: len(raw)].encode())


@given(st.data())
def test_the_ids_of_any_slices_are_those_of_the_plain_reading_and_none_is_missed(data: st.DataObject) -> None:
    """All layouts and lengths; runs; a request's rows cut into two frames are in the index of both."""
    layout = data.draw(st.sampled_from([IdLayout.UUID, IdLayout.TEXT]))
    pieces: list[tuple[bytes, int, int]] = []
    of_row: list[list[bytes]] = []
    for _ in range(data.draw(st.integers(1, 3))):
        ids = data.draw(st.lists(uuids if layout is IdLayout.UUID else long_texts, min_size=1, max_size=12))
        counts = [data.draw(st.integers(1, 3)) for _ in ids] if data.draw(st.booleans()) else [1] * len(ids)
        schema, payload = batch_of(layout, ids, counts)
        rows = [number for number, count in enumerate(counts) for _ in range(count)]
        cuts = sorted({0, len(rows), *data.draw(st.lists(st.integers(0, len(rows)), max_size=3))})
        for start, stop in pairwise(cuts):
            pieces.append((payload, start, stop))
            of_row.append([ids[number] for number in sorted(set(rows[start:stop]))])
    cut = data.draw(st.integers(0, len(pieces) - 1))
    for part in (slice(0, cut), slice(cut, None)):
        expected = [one for ids in of_row[part] for one in ids]
        if not expected:
            continue
        said = Rows(schema, pieces[part]).ids()
        assert said == reference(layout, expected)
        for one in expected:
            assert may_hold(said, text_of(layout, one))


@pytest.mark.parametrize("layout", [IdLayout.UUID, IdLayout.TEXT])
def test_every_cut_through_requests_of_several_rows_keeps_the_ids_of_both_sides(layout: IdLayout) -> None:
    counts = (1, 4, 3)
    ids = [bytes([number]) * 16 for number in range(3)]
    schema, payload = batch_of(layout, ids, counts)
    rows = [number for number, count in enumerate(counts) for _ in range(count)]
    for start, stop in combinations(range(len(rows) + 1), 2):
        said = Rows(schema, [(payload, start, stop)]).ids()
        assert said == reference(layout, [ids[number] for number in sorted(set(rows[start:stop]))]), (start, stop)


@given(st.lists(uuids, min_size=1), st.lists(long_texts, min_size=1))
def test_ids_that_lie_end_to_end_give_the_same(raw: list[bytes], texts: list[bytes]) -> None:
    """Each only once, as a reader knows them, into a filter as large as the index has."""
    schema, payload = batch_of(IdLayout.UUID, raw)
    said = Rows(schema, [(payload, 0, len(raw))]).ids()
    assert ids_of_uuids(b"".join(dict.fromkeys(raw)), len(said.filter)) == said
    schema, payload = batch_of(IdLayout.TEXT, texts)
    said = Rows(schema, [(payload, 0, len(texts))]).ids()
    assert ids_of_texts(pa.array(dict.fromkeys(texts), pa.binary()), len(said.filter)) == said


@pytest.mark.parametrize("count", [1, 8, 9, 100, 8192, 8193, 16_384])
def test_a_filter_has_a_byte_per_id_at_least_and_takes_few_absent_ids_for_present(count: int) -> None:
    """The bounds of docs/formats/blob.md; with 8 bits and 5 probes for each of many ids 2.2 of 100 are to be expected."""
    chance = random.Random(count)
    ids = [b"order-%d" % chance.randrange(2**60) for _ in range(count)]
    schema, payload = batch_of(IdLayout.TEXT, ids)
    said = Rows(schema, [(payload, 0, count)]).ids()
    assert max(8, count) <= len(said.filter) < max(9, 2 * count)
    assert said == reference(IdLayout.TEXT, ids)
    tries = 20_000
    wrong = sum(may_hold(said, f"absent-{chance.randrange(2**60)}") for _ in range(tries))
    assert wrong / tries < (0.03 if count >= 100 else 0.05)


def test_more_ids_than_a_filter_is_made_for_are_all_in_it() -> None:
    ids = [b"%d" % number for number in range(40_000)]
    schema, payload = batch_of(IdLayout.TEXT, ids)
    said = Rows(schema, [(payload, 0, len(ids))]).ids()
    assert len(said.filter) == MAX_FILTER
    assert all(may_hold(said, one.decode()) for one in ids)


def test_uuids_of_version_7_need_no_filter() -> None:
    ids = [(1000 + number).to_bytes(6, "big") + bytes.fromhex("7abc8000000000000001") for number in range(50)]
    schema, payload = batch_of(IdLayout.UUID, ids)
    assert Rows(schema, [(payload, 10, 20)]).ids() == FrameIds(IdLayout.UUID, 1010, 1019, b"")


@pytest.mark.parametrize("wrong", [(b"x" * 15, None, 1, 8), (b"x" * 16, None, -1, 8), (b"ab", b"\0\0\0\0", 1, 8)])
def test_the_kernel_does_not_follow_what_is_too_short(wrong: tuple[bytes, bytes | None, int, int]) -> None:
    from collectord.buffer import _assemble

    with pytest.raises(ValueError, match="too few"):
        _assemble.present(*wrong, bytearray(MAX_FILTER))
    with pytest.raises(ValueError, match="do not fit"):
        _assemble.present(b"ab", (0).to_bytes(4, "little") + (3).to_bytes(4, "little"), 1, 8, bytearray(MAX_FILTER))
    with pytest.raises(ValueError, match="too small"):
        _assemble.present(b"", None, 0, 8, bytearray(9))
