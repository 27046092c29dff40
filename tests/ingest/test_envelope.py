"""The outside of a ClientMessage."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.errors import ProtocolError
from collectord.ingest.envelope import MAX_FIELDS, Kind, unwrap


def test_the_kinds_are_those_of_the_proto() -> None:
    fields = pb.ClientMessage.DESCRIPTOR.fields_by_name
    assert {kind.name.lower(): int(kind) for kind in Kind} == {name: field.number for name, field in fields.items()}


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_a_message_of_each_kind_is_unwrapped_without_a_copy(size: int) -> None:
    batch = pb.Batch(tensor=b"x" * size)
    for message, kind in (
        (pb.ClientMessage(batch=batch), Kind.BATCH),
        (pb.ClientMessage(hello=pb.Hello(client_id=b"x" * size)), Kind.HELLO),
        (pb.ClientMessage(declare=pb.Declare(schema=b"x" * size)), Kind.DECLARE),
        (pb.ClientMessage(dropped=pb.Dropped()), Kind.DROPPED),
    ):
        raw = message.SerializeToString()
        unwrapped = unwrap(raw)
        assert unwrapped is not None
        assert unwrapped[0] is kind
        assert unwrapped[1].obj is raw
        assert bytes(unwrapped[1]) == getattr(message, kind.name.lower()).SerializeToString()


@pytest.mark.parametrize("unknown", [b"\x78\x01", b"\x7a\x02ab", b"\x79" + bytes(8), b"\x7d" + bytes(4)])
def test_fields_of_later_versions_are_skipped(unknown: bytes) -> None:
    assert unwrap(unknown) is None
    assert unwrap(unknown + b"\x1a\x01x" + unknown) == (Kind.BATCH, memoryview(b"x"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x1a",
        b"\x1a\x02x",
        b"\x1a\xff\xff\xff\xff\x0f",
        b"\x1a" + b"\x80" * 11,
        b"\x00\x01",
        b"\x1b\x1c",
        b"\x79\0",
        b"\x1a\x00\x1a\x00",
        b"\x0a\x00\x22\x00",
        b"\x78\x00" * (MAX_FIELDS + 1),
    ],
)
def test_what_is_torn_empty_or_several_messages_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        unwrap(raw)


@given(st.binary(max_size=30))
def test_whatever_is_unwrapped_protobuf_understands_the_same_way(raw: bytes) -> None:
    try:
        unwrapped = unwrap(raw)
    except ProtocolError:
        return
    try:
        message = pb.ClientMessage.FromString(raw)
    except DecodeError:
        return  # the inside is judged later
    assert message.WhichOneof("message") == (unwrapped[0].name.lower() if unwrapped else None)
