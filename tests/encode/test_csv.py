"""The kernel writes exactly what the oracle writes, for every type, layout and slice, and refuses what it cannot trust."""

from __future__ import annotations

import struct
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.model import ColumnType, IdLayout, Schema, Stream
from tests.encode import batches, oracle

INTEGERS = {
    kind: st.integers(*bounds)
    for kind, bounds in {
        ColumnType.BOOL: (0, 1),
        ColumnType.INT8: (-(2**7), 2**7 - 1),
        ColumnType.INT16: (-(2**15), 2**15 - 1),
        ColumnType.INT32: (-(2**31), 2**31 - 1),
        ColumnType.INT64: (-(2**63), 2**63 - 1),
        ColumnType.UINT8: (0, 2**8 - 1),
        ColumnType.UINT16: (0, 2**16 - 1),
        ColumnType.UINT32: (0, 2**32 - 1),
        ColumnType.UINT64: (0, 2**64 - 1),
        ColumnType.TIMESTAMP: (-(2**63), 2**63 - 1),
        ColumnType.TIMESTAMP_UTC: (-(2**63), 2**63 - 1),
    }.items()
}
TEXT = st.text(st.sampled_from('ab ,"\n\r\t;é漢😀\x00') | st.characters(exclude_categories=["Cs"]), max_size=40)


def decimals(places: int) -> st.SearchStrategy[float]:
    return st.integers(-(10**9), 10**9).map(lambda n: n / 10**places)


VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    **INTEGERS,
    ColumnType.FLOAT16: st.floats(width=16).map(np.float16),
    ColumnType.FLOAT32: st.floats(width=32) | st.integers(-(10**7), 10**7).map(lambda n: float(np.float32(n / 100))),
    ColumnType.FLOAT64: st.floats() | st.integers(0, 6).flatmap(decimals) | st.integers(-(2**53), 2**53).map(float),
    ColumnType.STRING: TEXT,
}
assert VALUES.keys() == set(ColumnType)
STREAMS = st.builds(Stream, *[st.sampled_from(["", "a", "Ab,c", 'x"y', "Äß"])] * 8)
LAYOUTS = {
    "correlation": st.sampled_from([IdLayout.UUID, IdLayout.TEXT]),
    "request": st.sampled_from(IdLayout),
    "sampled": st.booleans(),
    "stream": STREAMS,
}


@st.composite
def column_batches(draw: st.DrawFn) -> tuple[Schema, pa.RecordBatch]:
    kinds = draw(st.lists(st.sampled_from(ColumnType), max_size=6))
    names = draw(st.lists(TEXT.filter(bool), min_size=len(kinds), max_size=len(kinds)))
    plan = batches.schema(*kinds, names=names, **{name: draw(layout) for name, layout in LAYOUTS.items()})
    rows = draw(st.integers(0, 12))
    arrays = [
        pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), batches.ARROW[kind])
        for kind in kinds
    ]
    return plan, batches.batch_of([*arrays, *batches.tail(plan, rows)])


@st.composite
def tensor_batches(draw: st.DrawFn) -> tuple[Schema, pa.RecordBatch]:
    kind = draw(st.sampled_from([kind for kind in ColumnType if kind is not ColumnType.STRING]))
    width, rows = draw(st.integers(1, 5)), draw(st.integers(0, 8))
    plan = batches.schema(*[kind] * width, tensor=True, **{name: draw(layout) for name, layout in LAYOUTS.items()})
    flat = pa.array(draw(st.lists(VALUES[kind], min_size=rows * width, max_size=rows * width)), batches.ARROW[kind])
    lists = pa.FixedSizeListArray.from_arrays(flat, width)
    return plan, batches.batch_of([lists, *batches.tail(plan, rows)])


def check_matches(text: bytes, matches: memoryview | None) -> int:
    """Each repeats what stands before it, and is worth it. Returns how many bytes they cover."""
    assert matches is not None
    at = covered = 0
    for offset, literals, length, unused in struct.iter_unpack("=IIII", matches):
        at += literals
        assert 0 < offset <= at
        assert unused == 0
        assert length >= 6
        assert at + length <= len(text)
        assert all(text[i] == text[i - offset] for i in range(at, at + length))
        at += length
        covered += length
    return covered


@settings(max_examples=400, deadline=None)
@given(column_batches() | tensor_batches(), st.booleans(), st.data())
def test_any_batch_has_the_oracles_bytes(
    case: tuple[Schema, pa.RecordBatch], lowercase: bool, data: st.DataObject
) -> None:
    """All types, nulls, quoting, unicode; whole, sliced by Arrow (offsets) and sliced by row numbers."""
    plan, batch = case
    compiled = CsvPlan(plan, 60, lowercase_workspace=lowercase)
    out = TextBuffer(0)
    assert compiled.header == oracle.header(plan)
    whole = oracle.encode(plan, batch, 60, lowercase_workspace=lowercase)
    assert bytes(compiled.encode(batch, out)) == whole
    start = data.draw(st.integers(0, batch.num_rows))
    stop = data.draw(st.integers(start, batch.num_rows))
    piece = batch.slice(start, stop - start)
    expected = oracle.encode(plan, piece, 60, lowercase_workspace=lowercase)
    assert bytes(compiled.encode(piece, out)) == expected
    assert bytes(compiled.encode(batch, out, start, stop)) == expected
    assert out.matches is None
    assert bytes(compiled.encode(batch, out, start, stop, matches=True)) == expected
    check_matches(expected, out.matches)
    assert whole == bytes(compiled.encode(batch, out, 0, start)) + bytes(compiled.encode(batch, out, start))


def test_a_batch_of_many_blocks_is_the_sum_of_its_rows() -> None:
    """2,000 rows cross several blocks; each block may choose other ways to write a column, the bytes stay the same."""
    random = np.random.default_rng(7)
    kinds = (ColumnType.FLOAT64, ColumnType.FLOAT32, ColumnType.STRING, ColumnType.TIMESTAMP_UTC, ColumnType.BOOL)
    plan = batches.schema(*kinds, request=IdLayout.TEXT, sampled=True)
    floats = np.where(np.arange(2000) % 700 < 350, random.normal(size=2000), np.arange(2000) / 4)
    batch = batches.columns(
        plan,
        [
            [None if i % 11 == 0 else value for i, value in enumerate(floats.tolist())],
            np.round(floats, 2).astype(np.float32),
            [None if i % 5 == 0 else "x" * (i % 40) + ("" if i < 1000 else ',"\n'[i % 3]) for i in range(2000)],
            (random.integers(-(2**62), 2**62, 2000)).tolist(),
            [i % 2 for i in range(2000)],
        ],
    )
    compiled, out = CsvPlan(plan, 1440), TextBuffer(10)
    text = bytes(compiled.encode(batch, out))
    assert text == oracle.encode(plan, batch, 1440)
    assert bytes(compiled.encode(batch, out, matches=True)) == text
    check_matches(text, out.matches)
    assert text == b"".join(bytes(compiled.encode(batch, out, i, i + 1)) for i in range(2000))


def test_matches_are_where_rows_repeat_each_other() -> None:
    """Constants, times and ids always, values where neighbours are equal; what differs in each row is no match."""
    kinds = (ColumnType.FLOAT64, ColumnType.FLOAT64, ColumnType.STRING, ColumnType.BOOL)
    plan = batches.schema(*kinds, request=IdLayout.UUID)
    rows = 600
    noise = np.random.default_rng(5).normal(size=rows).tolist()
    values = [noise, [0.125] * rows, ["a text, quoted"] * rows, [i // 100 % 2 for i in range(rows)]]
    out = TextBuffer(0)
    text = bytes(CsvPlan(plan, 1440).encode(batches.columns(plan, values), out, matches=True))
    lines = text.splitlines(keepends=True)
    own = sum(len(str(value)) for value in noise)
    # The correlation id and the time's last digits are every row's own; the request id says what the correlation id says.
    most = len(text) - len(lines[0]) - own - rows * 36
    assert 0.95 * most < check_matches(text, out.matches) <= most + 3 * rows


def test_matches_of_a_tensor_are_those_of_the_columns_that_stay() -> None:
    plan = batches.schema(*[ColumnType.FLOAT32] * 40, tensor=True)
    values = np.random.default_rng(6).normal(size=(1000, 40)).astype(np.float32)
    out, compiled = TextBuffer(), CsvPlan(plan, 1440)

    def covered() -> int:
        text = bytes(compiled.encode(batches.tensor(plan, values), out, matches=True))
        assert text == oracle.encode(plan, batches.tensor(plan, values), 1440)
        return check_matches(text, out.matches)

    little = covered()
    values[:, 10:30] = values[0, 10:30]
    stay = sum(len(str(value)) + 1 for value in values[0, 10:30])
    assert covered() > little + 990 * stay


def test_rows_too_long_for_a_window_have_no_matches() -> None:
    plan = batches.schema(ColumnType.STRING)
    out = TextBuffer()
    text = bytes(CsvPlan(plan, 60).encode(batches.columns(plan, [["x" * 200_000] * 3]), out, matches=True))
    assert text == oracle.encode(plan, batches.columns(plan, [["x" * 200_000] * 3]), 60)
    assert check_matches(text, out.matches) == 0


def test_golden_bytes() -> None:
    """A released dialect never changes: these bytes are for ever."""
    kinds = (ColumnType.FLOAT64, ColumnType.STRING, ColumnType.BOOL, ColumnType.INT64, ColumnType.TIMESTAMP_UTC)
    plan = batches.schema(
        *kinds,
        names=["feat1", 'say "hi"', "ok", "n", "seen"],
        request=IdLayout.UUID,
        sampled=True,
        stream=Stream("1a2b", "my,group", "WS", "svc", "best_model", "10"),
    )
    batch = batches.columns(
        plan,
        [
            [1.0, -0.0, None, 1e16, 1e-05],
            ["plain", "", None, 'a"b', "two\nlines"],
            [1, 0, None, 1, 0],
            [2**63 - 1, -(2**63), None, 0, -1],
            [0, -1, None, 1_500, 1_000],
        ],
    )
    assert CsvPlan(plan, 1440).header == (
        b'feat1,"say ""hi""",ok,n,seen,$aml_dc_correlation_id,$aml_dc_scoring_timestamp,$aml_dc_boundary,$aml_workspace,'
        b"$aml_service_name,$aml_model_name,$aml_model_version,$aml_request_id,$aml_dc_row,$aml_dc_sampling\n"
    )
    assert bytes(CsvPlan(plan, 1440).encode(batch, TextBuffer())) == (
        b"1.0,plain,true,9223372036854775807,1970-01-01T00:00:00.000000Z,"
        b"%s,2018-12-31T23:59:59.123456,1440,"
        b'"1a2b/my,group/WS",svc,best_model,10,%s,0,0.25\n'
        b'-0.0,"",false,-9223372036854775808,1969-12-31T23:59:59.999999999Z,'
        b"%s,2018-12-31T23:59:59.123457,1440,"
        b'"1a2b/my,group/WS",svc,best_model,10,%s,1,0.25\n'
        b",,,,,%s,2018-12-31T23:59:59.123458,1440,"
        b'"1a2b/my,group/WS",svc,best_model,10,%s,2,0.25\n'
        b'1e+16,"a""b",true,0,1970-01-01T00:00:00.000001500Z,'
        b"%s,2018-12-31T23:59:59.123459,1440,"
        b'"1a2b/my,group/WS",svc,best_model,10,%s,0,0.25\n'
        b'1e-05,"two\nlines",false,-1,1970-01-01T00:00:00.000001Z,'
        b"%s,2018-12-31T23:59:59.123460,1440,"
        b'"1a2b/my,group/WS",svc,best_model,10,%s,1,0.25\n' % tuple(text for text in UUID_TEXTS for _twice in range(2))
    )


UUID_TEXTS = [
    b"035c4ea0-d73b-5bde-bd6f-c806b04f2ec3",
    b"b80c8fef-a677-5340-85fb-2c162d75df03",
    b"334b6b31-12a2-5bfc-bf4f-870c0954b343",
    b"c093c7f6-6edf-595e-9539-70de788efbaa",
    b"ff6c5a08-b2fa-56b6-ac00-6830f4074b6a",
]


def test_without_a_request_id_the_nil_uuid_is_written() -> None:
    plan = batches.schema(ColumnType.INT8, request=IdLayout.NONE)
    text = bytes(CsvPlan(plan, 1440).encode(batches.columns(plan, [[1]]), TextBuffer()))
    assert b",10,00000000-0000-0000-0000-000000000000,0\n" in text


def test_bool_may_come_packed() -> None:
    """Arrow's own boolean, with an offset into its bits, is as good as a byte each."""
    plan = batches.schema(ColumnType.BOOL)
    values = [True, None, False, True, True, False, None, True, True, False, True]
    packed = batches.batch_of([pa.array(values), *batches.tail(plan, 11)]).slice(3)
    bytewise = batches.columns(plan, [[None if value is None else int(value) for value in values]]).slice(3)
    assert bytes(CsvPlan(plan, 60).encode(packed, TextBuffer())) == oracle.encode(plan, bytewise, 60)


def test_a_tensor_over_unaligned_bytes_is_read() -> None:
    """Tensors are wrapped where the log's bytes lie, at any address."""
    plan = batches.schema(*[ColumnType.FLOAT64] * 3, tensor=True)
    values = np.arange(12) / 7
    buffer = pa.py_buffer(b"?" + values.tobytes()).slice(1)
    flat = pa.Array.from_buffers(pa.float64(), 12, [None, buffer])
    batch = batches.batch_of([pa.FixedSizeListArray.from_arrays(flat, 3), *batches.tail(plan, 4)])
    expected = oracle.encode(plan, batches.tensor(plan, values), 1440)
    assert bytes(CsvPlan(plan, 1440).encode(batch, TextBuffer())) == expected


def test_nat_is_null() -> None:
    """A tensor has no nulls, numpy's NaT is the missing time."""
    plan = batches.schema(ColumnType.TIMESTAMP, ColumnType.TIMESTAMP, tensor=True)
    values = np.array(["NaT", "1969-07-20T20:17:40"], "datetime64[ns]")
    flat = pa.Array.from_buffers(pa.timestamp("ns"), 2, [None, pa.py_buffer(values)])
    batch = batches.batch_of([pa.FixedSizeListArray.from_arrays(flat, 2), *batches.tail(plan, 1)])
    text = bytes(CsvPlan(plan, 60).encode(batch, TextBuffer()))
    assert text.startswith(b",1969-07-20T20:17:40.000000,")


def test_the_view_is_valid_until_the_buffer_is_used_again_and_safe_after() -> None:
    plan = batches.schema(ColumnType.STRING)
    compiled, out = CsvPlan(plan, 60), TextBuffer(16)
    small = compiled.encode(batches.columns(plan, [["a"]]), out)
    assert small.readonly
    compiled.encode(batches.columns(plan, [["b" * 100_000]]), out)
    assert out.capacity > 100_000
    assert len(bytes(small)) == len(small)


def test_wide_rows_make_short_blocks() -> None:
    """10,000 columns: the worst case of a block must not reserve memory for 256 rows at once."""
    plan = batches.schema(*[ColumnType.FLOAT64] * 10_000, tensor=True)
    batch = batches.tensor(plan, np.arange(40_000) / 3)
    out = TextBuffer()
    assert bytes(CsvPlan(plan, 60).encode(batch, out)) == oracle.encode(plan, batch, 60)
    assert out.capacity <= 4 * 1024 * 1024


def test_long_texts_make_short_blocks() -> None:
    plan = batches.schema(ColumnType.STRING)
    batch = batches.columns(plan, [["x," * 200_000] * 20])
    out = TextBuffer()
    assert bytes(CsvPlan(plan, 60).encode(batch, out)) == oracle.encode(plan, batch, 60)
    assert out.capacity <= 4 * 20 * 400_000


def test_threads_share_a_plan() -> None:
    plan = batches.schema(*[ColumnType.FLOAT64] * 4, tensor=True)
    batch = batches.tensor(plan, np.random.default_rng(0).normal(size=40_000))
    compiled, expected = CsvPlan(plan, 60), oracle.encode(plan, batch, 60)
    wrong: list[int] = []

    def work(number: int) -> None:
        out = TextBuffer()
        wrong.extend(number for _ in range(5) if bytes(compiled.encode(batch, out)) != expected)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def text_batch(offsets: list[int], data: bytes) -> pa.RecordBatch:
    """A text column whose offsets turn into these after Arrow has looked at them."""
    rows = len(offsets) - 1
    memory = np.zeros(rows + 1, np.int32)
    texts = pa.Array.from_buffers(pa.utf8(), rows, [None, pa.py_buffer(memory), pa.py_buffer(data)])
    batch = batches.batch_of([texts, *batches.tail(batches.schema(ColumnType.STRING), rows)])
    memory[:] = offsets
    return batch


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 5, 3, 6],
        [0, 7, 3, 6],
        [0, -1, 3, 6],
        [0, 2**31 - 1, 3, 6],
        [-4, 1, 2, 6],
        [0, 1, 2, 7],
        [7, 7, 7, 7],
        [0, 1, 2, -1],
    ],
)
def test_offsets_that_lead_out_of_the_text_are_refused(offsets: list[int]) -> None:
    """By rows, too; and the buffer is as good as before."""
    plan = CsvPlan(batches.schema(ColumnType.STRING), 60)
    out = TextBuffer()
    for start, stop in ((0, 3), (0, 1), (1, 2), (2, 3)):
        bad = offsets[start : stop + 1] != sorted(offsets[start : stop + 1])
        ends = offsets[0] < 0 or not offsets[0] <= offsets[-1] <= 6
        if bad or ends:
            with pytest.raises(ValueError):
                plan.encode(text_batch(offsets, b"abcdef"), out, start, stop)
    good = text_batch([0, 1, 1, 6], b"abcdef")
    assert bytes(plan.encode(good, out)) == oracle.encode(batches.schema(ColumnType.STRING), good, 60)


def test_other_fields_than_the_plans_are_refused() -> None:
    plan = batches.schema(ColumnType.INT64)
    good = batches.columns(plan, [[1, 2]])
    compiled, out = CsvPlan(plan, 60), TextBuffer()
    wrong_type = good.set_column(0, "c0", pa.array([1.0, 2.0]))
    dictionary = good.set_column(1, "c1", pa.array(["a", "a"]).dictionary_encode())
    for batch in (
        wrong_type,
        dictionary,
        batches.batch_of(good.columns[1:]),
        batches.batch_of([*good.columns, good.column(0)]),
    ):
        with pytest.raises(ValueError):
            compiled.encode(batch, out)
    for start, stop in ((-1, 1), (0, 3), (2, 1)):
        with pytest.raises(ValueError):
            compiled.encode(good, out, start, stop)
    assert bytes(compiled.encode(good, out)) == oracle.encode(plan, good, 60)


def test_a_tensor_of_another_width_type_or_with_nulls_is_refused() -> None:
    plan = batches.schema(*[ColumnType.FLOAT32] * 2, tensor=True)
    compiled = CsvPlan(plan, 60)
    rows = batches.tail(plan, 2)
    with_null = pa.array([[1, None], [3, 4]], pa.list_(pa.float32(), 2))
    null_row = pa.array([[1, 2], None], pa.list_(pa.float32(), 2))
    wider = pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.float32(), 3))
    other = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2))
    for lists in (with_null, null_row, wider, other):
        with pytest.raises(ValueError):
            compiled.encode(batches.batch_of([lists, *rows]), TextBuffer())


def test_a_slice_before_the_nulls_of_a_tensor_is_fine() -> None:
    plan = batches.schema(*[ColumnType.FLOAT32] * 2, tensor=True)
    lists = pa.array([[1, 2], [3, 4], [None, 5]], pa.list_(pa.float32(), 2))
    batch = batches.batch_of([lists, *batches.tail(plan, 3)]).slice(0, 2)
    assert bytes(CsvPlan(plan, 60).encode(batch, TextBuffer())) == oracle.encode(plan, batch, 60)


@pytest.mark.parametrize("kinds", [(), (ColumnType.STRING,), (ColumnType.INT8, ColumnType.INT16)])
def test_a_tensor_has_one_fixed_width_type(kinds: tuple[ColumnType, ...]) -> None:
    with pytest.raises(ValueError):
        CsvPlan(batches.schema(*kinds, tensor=True), 60)
