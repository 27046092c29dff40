"""The door's judgement of a batch: every rule has a test, and random bytes agree with the slow reference."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectord import _batch, batch
from collectord._pb import collector_pb2 as pb
from collectord.errors import Rejected
from collectord.model import HOUR_NS, ColumnType, IdLayout, Reason, Schema
from tests.reference_batch import (
    EARLIEST,
    LATEST,
    NOW,
    Bad,
    Request,
    Values,
    build,
    check_reference,
    make_schema,
    offsets_of,
    simple,
    wire_fields,
)
from tests.strategies import schemas, values

STRINGS = make_schema(ColumnType.STRING, ColumnType.FLOAT64)
TENSOR = make_schema(ColumnType.FLOAT32, ColumnType.FLOAT32, tensor=True)
TEXT_IDS = make_schema(ColumnType.INT8, correlation=IdLayout.TEXT, request=IdLayout.TEXT, sampled=True)


def judge(payload: bytes, schema: Schema) -> int:
    found = batch.find(payload)
    return batch.check(payload, found, batch.Rules.of(schema), EARLIEST, LATEST)


def accepted(payload: bytes, schema: Schema) -> bool:
    try:
        found = batch.find(payload)
        if found.schema_id != schema.id:
            return False
        batch.check(payload, found, batch.Rules.of(schema), EARLIEST, LATEST)
    except Rejected:
        return False
    return True


def reference_accepts(payload: bytes, schema: Schema) -> bool:
    try:
        check_reference(payload, schema)
    except Bad:
        return False
    return True


# ---------------------------------------------------------------- what is found


@given(st.data())
def test_every_type_and_layout_that_protobuf_serializes_is_found_and_accepted(data: st.DataObject) -> None:
    """Whatever a correct client sends passes, and sequence, rows, schema and the first time are read from it."""
    schema = data.draw(schemas())
    rows = data.draw(values(schema))
    message = build(
        schema, rows, data.draw(st.integers(1, (1 << 63) - 1)), runs=data.draw(st.sampled_from([None, True]))
    )
    payload = message.SerializeToString()
    found = batch.find(payload)
    assert (found.sequence, found.rows, found.schema_id) == (message.sequence, message.rows, schema.id)
    assert judge(payload, schema) == rows.requests[0].time
    check_reference(payload, schema)


@pytest.mark.parametrize("kind", list(ColumnType))
def test_a_column_of_each_type_is_accepted_with_and_without_nulls(kind: ColumnType) -> None:
    schema = make_schema(kind)
    width = batch.WIDTHS[kind]
    for column in ([b"\0" * width] * 3, [None, b"\1" * width, None]):
        message = build(schema, Values([list(column)], [Request(rows=3)]))
        assert judge(message.SerializeToString(), schema) == NOW


@pytest.mark.parametrize("kind", [kind for kind in ColumnType if kind is not ColumnType.STRING])
def test_a_tensor_of_each_fixed_width_type_is_accepted(kind: ColumnType) -> None:
    schema = make_schema(kind, kind, tensor=True)
    assert judge(simple(schema, 5).SerializeToString(), schema) == NOW


@pytest.mark.parametrize(
    ("kind", "code", "extremes"),
    [
        (ColumnType.FLOAT64, "d", [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308]),
        (ColumnType.FLOAT32, "f", [float("nan"), float("inf"), float("-inf"), -0.0]),
        (ColumnType.FLOAT16, "e", [float("nan"), float("inf"), float("-inf"), -0.0, 65504.0]),
        (ColumnType.INT64, "q", [-(1 << 63), (1 << 63) - 1]),
        (ColumnType.UINT64, "Q", [0, (1 << 64) - 1]),
        (ColumnType.INT8, "b", [-128, 127]),
        (ColumnType.TIMESTAMP, "q", [-(1 << 63), (1 << 63) - 1]),
    ],
)
def test_extreme_values_are_data_and_not_errors(kind: ColumnType, code: str, extremes: list[float]) -> None:
    schema = make_schema(kind)
    column: list[bytes | None] = [struct.pack(f"<{code}", value) for value in extremes]
    message = build(schema, Values([column], [Request(rows=len(column))]))
    assert judge(message.SerializeToString(), schema) == NOW


def test_a_batch_of_10000_columns_is_accepted() -> None:
    for tensor in (False, True):
        schema = make_schema(*[ColumnType.FLOAT32] * 10_000, tensor=tensor)
        assert judge(simple(schema, 2).SerializeToString(), schema) == NOW


def test_fields_of_later_versions_are_skipped_at_every_level() -> None:
    """Known fields keep their meaning whatever stands between them."""
    unknown = b"\xa2\x06\x03abc" + b"\xa8\x06\x07" + b"\xb1\x06" + bytes(8) + b"\xbd\x06" + bytes(4)
    message = simple(STRINGS, 3)
    requests = unknown + message.requests.SerializeToString() + unknown
    column = [unknown + column.SerializeToString() for column in message.columns]
    message.ClearField("requests")
    message.ClearField("columns")
    payload = (
        unknown + message.SerializeToString() + field(4, requests) + b"".join(field(6, c) for c in column) + unknown
    )
    assert judge(payload, STRINGS) == NOW


def test_a_field_of_the_wrong_wire_type_counts_as_unknown() -> None:
    """As in protobuf itself."""
    assert accepted(simple(TENSOR).SerializeToString() + b"\x30\x05", TENSOR)
    assert not accepted(simple(TENSOR).SerializeToString() + b"\x28\x05", TENSOR), (
        "field 5 as a number, beside the tensor"
    )


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_duplicated_field_of_a_batch_is_refused(number: int) -> None:
    """Merging would let a batch mean two things."""
    message = simple(TENSOR)
    again = pb.Batch()
    name = pb.Batch.DESCRIPTOR.fields_by_number[number].name
    if name == "requests":
        again.requests.CopyFrom(message.requests)
    else:
        setattr(again, name, getattr(message, name))
    with pytest.raises(Rejected, match="occurs twice"):
        batch.find(message.SerializeToString() + again.SerializeToString())


@pytest.mark.parametrize("number", range(1, 9))
def test_a_duplicated_field_of_the_requests_is_refused(number: int) -> None:
    message = simple(TEXT_IDS)
    requests = message.requests.SerializeToString() + field(number, b"") + field(number, b"")
    message.ClearField("requests")
    with pytest.raises(Rejected, match="occurs twice"):
        batch.find(message.SerializeToString() + field(4, requests))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_duplicated_field_of_a_column_is_refused(number: int) -> None:
    message = simple(STRINGS)
    message.ClearField("columns")
    with pytest.raises(Rejected, match="occurs twice"):
        batch.find(message.SerializeToString() + field(6, field(number, b"") + field(number, b"")))


def test_two_million_empty_columns_are_refused_without_a_table_for_them() -> None:
    """4 MiB of the shortest fields must not become 100 MB of memory."""
    payload = simple(STRINGS).SerializeToString() + b"\x32\x00" * 2_000_000
    status, table = _batch.find(payload)
    assert status
    assert len(table) < 1_000_000
    with pytest.raises(Rejected) as refused:
        batch.find(payload)
    assert refused.value.reason is Reason.LENGTH_MISMATCH


def test_a_glance_sees_what_a_refused_batch_says_of_itself() -> None:
    """So that it is rejected under its own number, rows and stream."""
    message = simple(TENSOR, 3, sequence=7)
    message.requests.times = b"123"
    seen = batch.glance(message.SerializeToString())
    assert (seen.sequence, seen.rows, seen.schema_id, seen.table) == (7, 3, TENSOR.id, b"")
    seen = batch.glance(b"")
    assert (seen.sequence, seen.rows, seen.schema_id) == (0, 0, b"")
    message.rows = (1 << 32) - 1
    assert batch.glance(message.SerializeToString()).rows == batch.MAX_ROWS, "a lie is counted up to the limit"


# ---------------------------------------------------------------- every answer of the kernel

Change = Callable[[pb.Batch], object]


def set_rows(rows: int) -> Change:
    return lambda message: setattr(message, "rows", rows)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    size, length = b"", len(content)
    while True:
        size += bytes([length & 0x7F | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            break
    return bytes([number << 3 | 2]) + size + content


def two_hours(message: pb.Batch) -> None:
    message.requests.times = struct.pack("<2q", NOW, NOW + HOUR_NS)


def requests_with(**fields: bytes) -> Change:
    def change(message: pb.Batch) -> None:
        for name, value in fields.items():
            setattr(message.requests, name, value)

    return change


def column_with(at: int, **fields: bytes) -> Change:
    def change(message: pb.Batch) -> None:
        for name, value in fields.items():
            setattr(message.columns[at], name, value)

    return change


def text_column(text: bytes, *more: bytes) -> Change:
    return column_with(0, data=b"".join((text, *more)), offsets=offsets_of([text, *more]))


BOOLS = make_schema(ColumnType.BOOL)
BOOL_TENSOR = make_schema(ColumnType.BOOL, tensor=True)
MANY_TEXTS = make_schema(*[ColumnType.STRING] * 4)


def big_row(message: pb.Batch) -> None:
    """Four texts of 400 KB in the second row: each is allowed, together they are not."""
    text = b"x" * 400_000
    for column in message.columns:
        column.data, column.offsets = text, offsets_of([b"", text])


# status of the kernel, reason, schema, rows, what is wrong
REFUSALS: list[tuple[int, Reason, Schema, int, Change]] = [
    (3, Reason.MALFORMED, TENSOR, 1, lambda m: setattr(m, "schema_id", b"short")),
    (3, Reason.MALFORMED, TENSOR, 1, lambda m: m.ClearField("schema_id")),
    (4, Reason.NO_ROWS, TENSOR, 1, set_rows(0)),
    (5, Reason.TOO_MANY_ROWS, TENSOR, 1, set_rows(batch.MAX_ROWS + 1)),
    (6, Reason.MALFORMED, TENSOR, 1, lambda m: m.ClearField("requests")),
    (7, Reason.LENGTH_MISMATCH, TENSOR, 1, requests_with(times=b"")),
    (7, Reason.LENGTH_MISMATCH, TENSOR, 1, requests_with(times=bytes(9))),
    (8, Reason.LENGTH_MISMATCH, TENSOR, 2, set_rows(1)),
    (8, Reason.LENGTH_MISMATCH, TENSOR, 2, set_rows(3)),
    (8, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(row_counts=bytes(4))),
    (8, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(row_counts=struct.pack("<2I", 2, 0))),
    (8, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(row_counts=struct.pack("<2I", 2, 0xFFFFFFFF))),
    (9, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(first_rows=bytes(4))),
    (9, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(first_rows=b"\xff" * 8)),
    (10, Reason.LENGTH_MISMATCH, TENSOR, 2, requests_with(correlation_ids=bytes(16))),
    (10, Reason.LENGTH_MISMATCH, TENSOR, 1, requests_with(correlation_offsets=bytes(8))),
    (10, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(correlation_offsets=b"")),
    (10, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(correlation_offsets=struct.pack("<2i", 0, 99))),
    (10, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(correlation_offsets=struct.pack("<2i", 1, 16))),
    (10, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(correlation_offsets=bytes(12))),
    (11, Reason.LENGTH_MISMATCH, TENSOR, 1, requests_with(request_ids=bytes(16))),
    (11, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(request_offsets=bytes(4))),
    (12, Reason.LENGTH_MISMATCH, TENSOR, 1, requests_with(sampling=struct.pack("<d", 1))),
    (12, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(sampling=b"")),
    (12, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(sampling=bytes(7))),
    (12, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(sampling=struct.pack("<d", 0))),
    (12, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(sampling=struct.pack("<d", 1.01))),
    (12, Reason.LENGTH_MISMATCH, TEXT_IDS, 1, requests_with(sampling=struct.pack("<d", float("nan")))),
    (13, Reason.TIME_OUT_OF_WINDOW, TENSOR, 1, requests_with(times=struct.pack("<q", 0))),
    (13, Reason.TIME_OUT_OF_WINDOW, TENSOR, 1, requests_with(times=struct.pack("<q", 4_070_908_800_000_000_000))),
    (13, Reason.TIME_OUT_OF_WINDOW, TENSOR, 1, requests_with(times=struct.pack("<q", -(1 << 63)))),
    (14, Reason.MIXED_PARTITION, TENSOR, 2, two_hours),
    (15, Reason.LENGTH_MISMATCH, TENSOR, 2, lambda m: setattr(m, "tensor", bytes(15))),
    (15, Reason.LENGTH_MISMATCH, TENSOR, 2, lambda m: m.ClearField("tensor")),
    (15, Reason.LENGTH_MISMATCH, TENSOR, 2, lambda m: m.columns.add()),
    (16, Reason.LENGTH_MISMATCH, STRINGS, 2, lambda m: m.columns.add()),
    (16, Reason.LENGTH_MISMATCH, STRINGS, 2, lambda m: m.columns.pop()),
    (16, Reason.LENGTH_MISMATCH, STRINGS, 2, lambda m: setattr(m, "tensor", b"x")),
    (17, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(1, validity=b"\1\1")),
    (18, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(0, offsets=b"")),
    (18, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(0, offsets=struct.pack("<3i", 0, 2, 1), data=b"x")),
    (18, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(0, offsets=struct.pack("<3i", 0, -1, 1), data=b"x")),
    (18, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(0, offsets=struct.pack("<3i", 0, 0, 2), data=b"x")),
    (19, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(1, data=bytes(15))),
    (19, Reason.LENGTH_MISMATCH, STRINGS, 2, column_with(1, offsets=bytes(12))),
    (20, Reason.INVALID_UTF8, STRINGS, 1, text_column(b"\xff")),
    (20, Reason.INVALID_UTF8, STRINGS, 2, text_column(b"\xc3", b"\xa4")),
    (20, Reason.INVALID_UTF8, TEXT_IDS, 1, requests_with(correlation_ids=b"\xed\xa0\x80" + b"x" * 13)),
    (21, Reason.VALUE_TOO_LARGE, STRINGS, 1, text_column(b"x" * (batch.MAX_VALUE_BYTES + 1))),
    (22, Reason.ROW_TOO_LARGE, MANY_TEXTS, 2, big_row),
    (23, Reason.MALFORMED, BOOLS, 1, column_with(0, data=b"\2")),
    (23, Reason.MALFORMED, BOOL_TENSOR, 1, lambda m: setattr(m, "tensor", b"\xff")),
    (24, Reason.VALUE_TOO_LARGE, TEXT_IDS, 1,
     requests_with(request_ids=b"x" * 1025, request_offsets=struct.pack("<2i", 0, 1025))),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_each_rule_refuses_with_its_reason(case: tuple[int, Reason, Schema, int, Change]) -> None:
    status, reason, schema, rows, change = case
    message = simple(schema, rows)
    if schema.correlation is IdLayout.TEXT:
        message.requests.correlation_ids = b"x" * 16
        message.requests.correlation_offsets = struct.pack("<2i", 0, 16)
    assert accepted(message.SerializeToString(), schema), "before the change it is right"
    change(message)
    payload = message.SerializeToString()
    with pytest.raises(Rejected) as refused:
        judge(payload, schema)
    answer = batch._ANSWERS[status]
    assert answer is not None
    assert refused.value.reason is reason is answer[0]
    assert refused.value.detail.split()[-3:] == answer[1].split()[-3:], "the sentence of this status"
    assert not reference_accepts(payload, schema)


def test_torn_messages_are_refused() -> None:
    for payload in (
        b"\x08",
        b"\x12\x05ab",
        b"\x0b",
        b"\x00\x00",
        b"\x09abc",
        b"\x0d\0",
        b"\x80" * 11,
        b"\x08" + b"\xff" * 9 + b"\x01",
    ):
        assert _batch.find(payload)[0] == 1
        with pytest.raises(Rejected, match="cut short"):
            batch.find(payload)


def test_every_answer_of_the_kernel_is_produced_by_a_test_above() -> None:
    """A rule without a test would be found here."""
    torn_and_twice = {1, 2}
    assert {case[0] for case in REFUSALS} | torn_and_twice == set(range(1, len(batch._ANSWERS)))
    assert batch._ANSWERS[0] is None


def test_a_row_that_is_just_small_enough_is_accepted() -> None:
    """The bound is exact: one byte more is refused."""
    schema = make_schema(*[ColumnType.STRING] * 2)
    fixed = batch.Rules.of(schema).fixed_text
    room = (batch.MAX_ROW_TEXT - fixed - 6) // 2
    first = min(room, batch.MAX_VALUE_BYTES)
    for more, fits in ((0, True), (1, False)):
        texts: list[list[bytes | None]] = [[b"x" * first], [b"x" * (room - first + more)]]
        assert accepted(build(schema, Values(texts, [Request()])).SerializeToString(), schema) is fits


def test_the_limits_of_the_kernel_are_those_of_its_face() -> None:
    """A million rows of one bool fit into a message; one more row is too many."""
    schema = make_schema(ColumnType.BOOL, tensor=True)
    for rows, fits in ((batch.MAX_ROWS, True), (batch.MAX_ROWS + 1, False)):
        message = build(schema, Values([], [Request(rows=rows)]))
        message.tensor = bytes(rows)
        assert accepted(message.SerializeToString(), schema) is fits


def test_a_schema_whose_numbers_alone_overflow_a_row_is_refused() -> None:
    schema = make_schema(ColumnType.INT8)
    object.__setattr__(schema, "columns", schema.columns * 100_000)
    with pytest.raises(Rejected) as refused:
        batch.Rules.of(schema)
    assert refused.value.reason is Reason.ROW_TOO_LARGE


@pytest.mark.parametrize(("offset", "fits"), [(0, True), (-1, False)])
def test_the_edges_of_the_window_belong_to_it(offset: int, fits: bool) -> None:
    assert accepted(simple(TENSOR, time=EARLIEST + offset).SerializeToString(), TENSOR) is fits
    assert accepted(simple(TENSOR, time=LATEST - offset).SerializeToString(), TENSOR) is fits


# ---------------------------------------------------------------- against the reference


@given(st.binary(max_size=300))
def test_random_bytes_never_crash_and_are_judged_as_by_the_reference(payload: bytes) -> None:
    assert accepted(payload, TENSOR) == reference_accepts(payload, TENSOR)


@given(st.data())
def test_damaged_batches_never_crash_and_are_judged_as_by_the_reference(data: st.DataObject) -> None:
    """Bytes changed, cut out, doubled and inserted in valid batches."""
    schema = data.draw(schemas())
    damaged = bytearray(build(schema, data.draw(values(schema))).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        more = data.draw(st.integers(0, 8))
        match data.draw(st.sampled_from(["change", "cut", "double", "insert"])):
            case "change":
                damaged[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del damaged[at : at + more]
            case "double":
                damaged[at:at] = damaged[at : at + more]
            case _:
                damaged[at:at] = data.draw(st.binary(max_size=more))
    payload = bytes(damaged)
    assert accepted(payload, schema) == reference_accepts(payload, schema)


@given(st.data())
def test_changed_fields_are_judged_as_by_the_reference(data: st.DataObject) -> None:
    """Whole fields dropped, emptied, cut and mixed up, which random damage to the bytes seldom does."""
    schema = data.draw(schemas())
    message = build(schema, data.draw(values(schema)), runs=True)
    targets: list[pb.Requests | pb.ColumnData | pb.Batch] = [message.requests, *message.columns, message]
    target = data.draw(st.sampled_from(targets))
    names = [f.name for f in target.DESCRIPTOR.fields if f.type == f.TYPE_BYTES]
    name = data.draw(st.sampled_from(names))
    old: bytes = getattr(target, name)
    changed = data.draw(
        st.sampled_from([old[:-1], old[1:], old + b"\1", b"", old[::-1], old + old]) | st.binary(max_size=40)
    )
    setattr(target, name, changed)
    payload = message.SerializeToString()
    assert accepted(payload, schema) == reference_accepts(payload, schema)


@given(st.binary(max_size=24) | st.text().map(lambda text: text.encode()))
@example(b"\xed\x9f\xbf")
@example(b"\xed\xa0\x80")
@example(b"\xf4\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")
@example(b"\xe0\x9f\xbf")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"12345678\xc3")
@example(b"1234567\xc3\xa4")
def test_texts_are_utf8_exactly_when_python_can_decode_them(text: bytes) -> None:
    message = build(STRINGS, Values([[text], [bytes(8)]], [Request()]))
    try:
        text.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert accepted(message.SerializeToString(), STRINGS) is valid


def test_every_sequence_of_up_to_three_bytes_is_judged_like_python_does() -> None:
    """All lead bytes, and continuations around each of their borders."""
    edges = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xFF]
    for lead in range(256):
        for second in edges:
            for third in edges:
                text = bytes((lead, second, third))
                message = build(STRINGS, Values([[text], [bytes(8)]], [Request()]))
                assert accepted(message.SerializeToString(), STRINGS) is (text.decode(errors="ignore").encode() == text)


def test_the_reference_sees_all_fields() -> None:
    """The reference's own parser is not blind."""
    message = simple(STRINGS, 2)
    assert sorted({number for number, _, _ in wire_fields(message.SerializeToString())}) == [1, 2, 3, 4, 6]
