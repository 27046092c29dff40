"""The values that the rooms hand each other."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.model import (
    HOUR_NS,
    ColumnType,
    Cursor,
    EntryKind,
    IdLayout,
    Lsn,
    Partition,
    Reason,
    Stored,
    Stream,
    StreamKind,
    stream_of_key,
)

DAY, HOUR = 1440, 60


def test_enumerations_that_travel_have_the_numbers_of_the_proto() -> None:
    assert numbers("COLUMN_TYPE_", ColumnType) | {"COLUMN_TYPE_UNSPECIFIED": 0} == of_proto("ColumnType")
    assert numbers("STREAM_KIND_", StreamKind) == of_proto("StreamKind")
    assert numbers("ID_LAYOUT_", IdLayout) == of_proto("IdLayout")


def numbers(prefix: str, kinds: type[IntEnum]) -> dict[str, int]:
    return {prefix + kind.name: int(kind) for kind in kinds}


def of_proto(name: str) -> dict[str, int]:
    return {value.name: value.number for value in pb.DESCRIPTOR.enum_types_by_name[name].values}


@pytest.mark.parametrize("boundary", [DAY, HOUR])
@given(time_ns=st.integers(0, 1 << 62))
def test_a_time_lies_in_its_partition_and_the_partition_begins_at_a_boundary(boundary: int, time_ns: int) -> None:
    partition = Partition.of(bytes(16), time_ns, boundary)
    start_ns = partition.start_hour * HOUR_NS
    assert partition.boundary_minutes == boundary
    assert start_ns <= time_ns < start_ns + boundary * 60 * 10**9
    assert start_ns % (boundary * 60 * 10**9) == 0


def test_the_last_nanosecond_of_a_day_is_of_that_day() -> None:
    midnight = int(datetime(2021, 1, 1, tzinfo=timezone.utc).timestamp()) * 10**9
    before, after = (Partition.of(bytes(16), midnight + step, DAY) for step in (-1, 0))
    assert before.start == datetime(2020, 12, 31, tzinfo=timezone.utc)
    assert after.start == datetime(2021, 1, 1, tzinfo=timezone.utc)


names = st.text("ab/%2F", max_size=4)


@given(st.tuples(*[names] * 8), st.tuples(*[names] * 8))
def test_two_streams_have_one_key_only_if_their_parts_are_the_same(
    first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """An empty part is `default`."""
    same = [part or "default" for part in first] == [part or "default" for part in second]
    assert (Stream(*first).key() == Stream(*second).key()) is same
    assert Stream(*first).key().count("/") == 7


def test_the_key_of_telemetry_names_its_kind() -> None:
    assert Stream(kind=StreamKind.TRACE).key() == "trace:" + Stream().key()
    assert Stream("trace:s").key() != Stream("s", kind=StreamKind.TRACE).key()
    assert Stream("other:s").key().startswith("other:s/")


def test_cursors_are_ordered_by_position_then_row() -> None:
    assert Cursor(Lsn(1), 9) < Cursor(Lsn(2), 0) < Cursor(Lsn(2), 1)


def test_a_stored_entry_knows_its_partition() -> None:
    stored = Stored(Lsn(0), Lsn(8), EntryKind.BATCH, bytes(16), 1, 1, b"s" * 16, 24, DAY, 8)
    assert stored.partition == Partition(b"s" * 16, 24, DAY)


def test_a_reason_prints_as_the_word_that_clients_see() -> None:
    assert {str(reason) for reason in Reason} == {reason.value for reason in Reason}
    assert all(re.fullmatch("[a-z0-9_]{1,64}", reason.value) for reason in Reason)


@pytest.mark.parametrize(
    "stream",
    [
        Stream(model="a/b%2F%25", designation="inputs"),
        Stream("s", "g", "w", "x", "m", "1", "d", "c"),
        Stream(model="ä"),
        Stream("s:1", "g", kind=StreamKind.TRACE),
        Stream("trace:s", "g"),
        Stream("trace:trace:s%3A", "g", kind=StreamKind.METRIC),
    ],
)
def test_a_key_of_the_ledger_names_its_stream(stream: Stream) -> None:
    """Up to empty parts, which equal `default`."""
    assert stream_of_key(stream.key()).key() == stream.key()
    assert stream_of_key(stream.key()).model == stream.model or not stream.model
    assert stream_of_key(stream.key()).kind is stream.kind
    assert stream_of_key(stream.key()).subscription == stream.subscription or not stream.subscription


def test_a_key_that_names_no_stream_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a stream"):
        stream_of_key("trace")
