"""A declared schema: every limit on it, and what it becomes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.batch import Rules
from collectord.errors import Rejected
from collectord.kinds import EVENTS
from collectord.model import SYSTEM_COLUMNS, Column, ColumnType, IdLayout, Reason, Stream, StreamKind
from collectord.schema import (
    MAX_COLUMNS,
    MAX_HEADER_TEXT,
    MAX_NAME_BYTES,
    MAX_ROW_TEXT,
    MAX_SCHEMA_BYTES,
    parse_schema,
    schema_id,
    stream_of,
)
from tests.reference_batch import schema_message

PARTS = ("subscription", "resource_group", "workspace", "webservice", "model", "version", "designation", "collection")
INT = ColumnType.INT64


def refused(message: pb.Schema) -> Rejected:
    with pytest.raises(Rejected) as error:
        parse_schema(message.SerializeToString())
    return error.value


def test_all_fields_arrive_and_the_id_is_the_hash_of_exactly_the_bytes_sent() -> None:
    stream = {part: f"{part} ä,\"'" for part in PARTS}
    message = schema_message(
        INT, ColumnType.STRING, correlation=IdLayout.TEXT, request=IdLayout.UUID, sampled=True, **stream
    )
    raw = message.SerializeToString()
    schema = parse_schema(raw)
    assert schema.id == schema_id(raw) == hashlib.sha256(raw).digest()[:16]
    assert schema.raw == raw
    assert schema.stream == Stream(**stream)
    assert schema.columns == (Column("f0", INT), Column("f1", ColumnType.STRING))
    assert (schema.tensor, schema.correlation, schema.request, schema.sampled) == (
        False,
        IdLayout.TEXT,
        IdLayout.UUID,
        True,
    )


def test_a_field_of_a_later_version_changes_the_id_and_nothing_else() -> None:
    raw = schema_message(INT).SerializeToString()
    assert parse_schema(raw + b"\xa2\x06\x01x").columns == parse_schema(raw).columns
    assert schema_id(raw + b"\xa2\x06\x01x") != schema_id(raw)


@pytest.mark.parametrize(
    "name",
    ["a,b", 'say "hi"', "two\nlines", "tab\t", "ä€𝄞", " ", "../../etc/passwd", "%00", "=1+1", "a" * MAX_NAME_BYTES],
)
def test_awkward_column_names_are_accepted(name: str) -> None:
    """The CSV quotes them."""
    assert parse_schema(schema_message(INT, names=[name]).SerializeToString()).columns[0].name == name


@pytest.mark.parametrize("name", ["", "a\0b", "a" * (MAX_NAME_BYTES + 1), "ä" * (MAX_NAME_BYTES // 2 + 1)])
def test_bad_column_names_are_refused(name: str) -> None:
    assert refused(schema_message(INT, names=[name])).reason is Reason.BAD_NAME


@pytest.mark.parametrize("name", ["f0", *SYSTEM_COLUMNS])
def test_a_name_may_occur_once_and_not_be_one_of_our_own(name: str) -> None:
    assert refused(schema_message(INT, INT, names=["f0", name])).reason is Reason.DUPLICATE_COLUMN


def test_names_that_differ_in_case_or_normalization_are_different() -> None:
    names = ["a", "A", "\u00e4", "a\u0308"]
    assert len(parse_schema(schema_message(*[INT] * 4, names=names).SerializeToString()).columns) == 4


def test_10000_columns_are_accepted_with_rules_and_one_more_is_not() -> None:
    schema = parse_schema(schema_message(*[ColumnType.FLOAT64] * MAX_COLUMNS).SerializeToString())
    assert Rules.of(schema).fixed_text < MAX_ROW_TEXT
    texts = parse_schema(schema_message(*[ColumnType.STRING] * MAX_COLUMNS).SerializeToString())
    assert len(Rules.of(texts).types) == MAX_COLUMNS
    assert refused(schema_message(*[INT] * (MAX_COLUMNS + 1))).reason is Reason.TOO_MANY_COLUMNS


def test_a_schema_without_columns_is_refused() -> None:
    assert refused(schema_message()).reason is Reason.BAD_SCHEMA


@pytest.mark.parametrize("kind", [0, 16, -1, 1 << 30])
def test_an_unknown_column_type_is_refused(kind: int) -> None:
    message = schema_message(INT)
    message.columns[0].type = kind  # type: ignore[assignment]
    assert refused(message).reason is Reason.UNSUPPORTED_TYPE


@pytest.mark.parametrize(
    "types", [(INT, ColumnType.INT32), (ColumnType.STRING,), (ColumnType.STRING, ColumnType.STRING)]
)
def test_a_tensor_has_one_fixed_width_type(types: tuple[ColumnType, ...]) -> None:
    assert refused(schema_message(*types, tensor=True)).reason is Reason.BAD_SCHEMA


@pytest.mark.parametrize(
    ("field", "value"), [("layout", 0), ("layout", 3), ("correlation", 0), ("correlation", 3), ("request", 3)]
)
def test_unknown_layouts_are_refused_not_guessed(field: str, value: int) -> None:
    message = schema_message(INT)
    setattr(message, field, value)
    assert refused(message).reason is Reason.BAD_SCHEMA


def test_a_header_that_may_not_fit_into_an_append_is_refused() -> None:
    name = MAX_NAME_BYTES * "x"
    fits = (MAX_HEADER_TEXT - 2048) // (2 * MAX_NAME_BYTES + 3)
    names = [f"{at:04}{name[4:]}" for at in range(fits + 1)]
    assert parse_schema(schema_message(*[INT] * fits, names=names[:fits]).SerializeToString())
    assert refused(schema_message(*[INT] * (fits + 1), names=names)).reason is Reason.HEADER_TOO_LARGE


def test_a_huge_schema_is_refused_before_it_is_parsed() -> None:
    """Each two bytes could become an object."""
    with pytest.raises(Rejected) as error:
        parse_schema(b"\x12\x00" * (MAX_SCHEMA_BYTES // 2 + 1))
    assert error.value.reason is Reason.HEADER_TOO_LARGE


def test_the_largest_schema_that_the_limits_allow_is_below_the_limit_of_bytes() -> None:
    """So that the limit of bytes refuses nothing that is right."""
    names = MAX_HEADER_TEXT // 2
    assert names + MAX_COLUMNS * 9 + len(PARTS) * 260 + 100 < MAX_SCHEMA_BYTES


@pytest.mark.parametrize("part", PARTS)
def test_stream_parts_have_at_most_255_bytes_and_no_control_characters(part: str) -> None:
    for text in ("a" * 255, "../..", "/", "C:\\x", "..", "%2e%2e", "ä"):
        assert getattr(parse_schema(schema_message(INT, **{part: text}).SerializeToString()).stream, part) == text
    for text in ("a" * 256, "ä" * 128, "a\nb", "\0", "\x7f", "\x1b[31m"):
        assert refused(schema_message(INT, **{part: text})).reason is Reason.BAD_NAME


def test_path_tricks_keep_streams_apart() -> None:
    """What joins the parts cannot be smuggled in."""
    assert Stream(webservice="a/b", model="c").key() != Stream(webservice="a", model="b/c").key()
    assert Stream(webservice="a%2Fb").key() != Stream(webservice="a/b").key()


def event_message(kind: StreamKind, *more: Column) -> pb.Schema:
    """A schema of events of a kind."""
    message = pb.Schema(layout=pb.LAYOUT_COLUMNS, correlation=pb.ID_LAYOUT_UUID)
    message.stream.kind = kind  # type: ignore[assignment]
    for column in (*EVENTS[kind].columns, *more):
        message.columns.add(name=column.name, type=int(column.type))  # type: ignore[arg-type]
    return message


@pytest.mark.parametrize("kind", EVENTS)
def test_events_have_the_columns_of_their_kind(kind: StreamKind) -> None:
    schema = parse_schema(event_message(kind, Column("later", INT)).SerializeToString())
    assert schema.stream.kind is kind
    assert schema.columns == (*EVENTS[kind].columns, Column("later", INT))


@pytest.mark.parametrize("kind", EVENTS)
def test_what_has_not_the_columns_of_its_kind_is_no_event(kind: StreamKind) -> None:
    fewer, other, foreign, tensor, request = (event_message(kind) for _ in range(5))
    del fewer.columns[-1]
    other.columns[0].type = pb.COLUMN_TYPE_INT64
    foreign.correlation = pb.ID_LAYOUT_TEXT
    tensor.layout = pb.LAYOUT_TENSOR
    request.request = pb.ID_LAYOUT_UUID
    ours = event_message(kind, Column("itemId", ColumnType.STRING))
    assert refused(fewer).reason is refused(other).reason is refused(foreign).reason is Reason.BAD_SCHEMA
    assert refused(tensor).reason is refused(request).reason is refused(ours).reason is Reason.BAD_SCHEMA
    assert "operation_Id (string)" in refused(other).detail


def test_all_kinds_but_rows_are_events() -> None:
    assert set(EVENTS) == set(StreamKind) - {StreamKind.ROWS}


@pytest.mark.parametrize("kind", [6, 99])
def test_unknown_kinds_are_refused_as_unsupported(kind: int) -> None:
    message = schema_message(INT)
    message.stream.kind = kind  # type: ignore[assignment]
    assert refused(message).reason is Reason.UNSUPPORTED_KIND
    with pytest.raises(Rejected):
        stream_of(message.stream)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_schema_or_rejected(raw: bytes) -> None:
    try:
        schema = parse_schema(raw)
    except Rejected:
        return
    assert schema.columns


@given(st.integers(0, 60), st.binary(min_size=1, max_size=3))
def test_a_damaged_schema_is_a_schema_or_rejected(at: int, damage: bytes) -> None:
    raw = schema_message(INT, ColumnType.STRING, model="m").SerializeToString()
    try:
        parse_schema(raw[:at] + damage + raw[at + len(damage) :])
    except Rejected as rejected:
        assert rejected.detail


def test_invalid_utf8_in_a_name_is_refused() -> None:
    raw = schema_message(INT, names=["abc"]).SerializeToString().replace(b"abc", b"a\xffc")
    with pytest.raises(Rejected) as error:
        parse_schema(raw)
    assert error.value.reason is Reason.BAD_SCHEMA
