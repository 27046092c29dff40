"""What one tenant may have of what all share: whatever he does, something is left for the next one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.errors import TooManyClients
from collectord.ingest import gate, purses
from collectord.ingest.shares import NAME_BYTES, Names, allowed
from collectord.ingest.validate import Shared
from collectord.model import ColumnType, EntryKind, StreamKind
from tests.encode.test_telemetry import event_schema
from tests.ingest.fakes import CLIENT, World, bad, declare, dropped, hello, in_loop, said, send, turn, words
from tests.reference_batch import make_schema

BATCH = EntryKind.BATCH


def test_one_who_is_alone_has_the_share_and_of_many_each_the_same() -> None:
    assert allowed(0.8, 100, 0) == 80
    assert allowed(1.0, 100, 0) == 100
    assert allowed(0.5, 90, 30) == 30, "two of whom each has a third"
    assert allowed(0.8, 1, 0) == 1
    assert allowed(0.8, 100, 101) == 0


@given(st.floats(0.01, 0.99), st.integers(1000, 10**9), st.integers(1, 20))
def test_whoever_takes_all_that_he_can_get_leaves_something_to_the_next(share: float, whole: int, number: int) -> None:
    """They come one after the other, and nobody gives back anything: each leaves the next one its part of what there was."""
    left = whole
    for _ in range(number):
        left -= allowed(share, whole, whole - left)
    assert left >= int(whole * (1 - share) ** number) - number
    assert left >= 0


def test_who_invents_names_of_streams_reaches_his_share_and_others_have_room() -> None:
    """What is in the books already is nobody's, and taken from whoever it is."""
    weight = 4 + NAME_BYTES
    names = Names(10 * weight, 0.5, ["old1", "old2"])
    assert names.let_in("old1", "red")
    assert [names.let_in(f"red{n}", "red") for n in range(6)] == [True] * 4 + [False] * 2
    assert names.let_in("red1", "red"), "one that he has"
    assert names.let_in("red1", "blue"), "and anybody else"
    assert [names.let_in(f"blu{n}", "blue") for n in range(4)] == [True, True, False, False]
    assert names.bytes == (2 + 4 + 2) * weight
    assert len(names) == 8


@in_loop
async def test_rows_of_a_stream_that_the_books_have_no_place_for_are_rejected_and_it_is_said() -> None:
    """Per schema, not per batch; what is known goes on."""
    world = World(eager=True)
    known, more = (make_schema(ColumnType.FLOAT32, webservice=name) for name in ("red", "blue"))
    world.gate.names = Names(0, 1.0, [known.stream.key()])
    session = await world.greeted(CLIENT, known, more)
    await session.receive(send(1, known))
    await session.receive(send(2, more))
    await turn()
    assert words(session) == ["reject 2 too_many_streams 1", "ack 2"]
    report = pb.Dropped(
        counts=[
            pb.DropCount(stream=pb.Stream(webservice=name, model="m"), reason="r", rows=1) for name in ("red", "green")
        ]
    )
    world.gate.names.let_in("", "")
    await session.receive(pb.ClientMessage(dropped=report).SerializeToString())
    counts = pb.Dropped.FromString(bytes(world.log.entries[-1].payload)).counts
    assert not counts, "nor is it heard what was dropped of such a stream"


@in_loop
async def test_a_schema_with_more_columns_than_are_allowed_is_refused() -> None:
    world = World(eager=True)
    world.gate.schemas = Shared(2)
    narrow, wide = (make_schema(*[ColumnType.FLOAT32] * number, tensor=True) for number in (2, 3))
    session = await world.greeted(CLIENT, narrow, wide)
    await session.receive(send(1, narrow))
    await session.receive(send(2, wide))
    await turn()
    assert words(session) == ["reject 2 too_many_columns 1", "ack 2"]


@in_loop
async def test_a_schema_with_longer_names_than_are_allowed_is_refused() -> None:
    """An event's columns have the names that they have."""
    world = World(eager=True)
    world.gate.schemas = Shared(max_name_bytes=32, max_column_name_bytes=8)
    taken = make_schema(ColumnType.FLOAT32, names=["n" * 8], webservice="é" * 16)
    stream = make_schema(ColumnType.FLOAT32, names=["n"], webservice="é" * 16 + "s")
    column = make_schema(ColumnType.FLOAT32, names=["n" * 7 + "é"])
    session = await world.greeted(CLIENT, taken, stream, column)
    for sequence, schema in enumerate((taken, stream, column), 1):
        await session.receive(send(sequence, schema))
    await turn()
    assert words(session) == ["reject 2 bad_name 1", "reject 3 bad_name 1", "ack 3"]
    why = [world.gate.schemas.too_large(schema) for schema in (stream, column, event_schema(StreamKind.TRACE))]
    assert [refusal and refusal.detail for refusal in why] == [
        "a part of the stream's name has 33 bytes; 32 are allowed (max_name_bytes)",
        "a column name has 9 bytes; 8 are allowed (max_column_name_bytes)",
        None,
    ]


@in_loop
async def test_who_has_his_share_of_the_spool_waits_without_credit_and_others_do_not() -> None:
    """Nothing is refused and nothing is lost; when some of it has landed he goes on. What he drops meanwhile is heard."""
    world = World(eager=True)
    red, blue = (make_schema(ColumnType.FLOAT32, webservice=name) for name in ("red", "blue"))
    session = world.session()
    await session.receive(hello(webservices=["red"]))
    other = world.session()
    await other.receive(hello(b"another client..", webservices=["blue"]))
    for one, schema in ((session, red), (other, blue)):
        said(one)
        await one.receive(declare(schema))
    world.room.left["service red"] = 0
    await session.receive(send(1, red))
    assert words(session) == ["credit 0 the share of the service red in the spool is used up"]
    assert world.counted("collectord_credit_waits_total", cause="share") == 1
    await other.receive(send(1, blue))
    assert world.log.stored(b"another client..") == [(BATCH, 1)]
    await session.receive(dropped((red.stream.key(), "outbox_full", 3)))
    assert world.log.stored() == [(EntryKind.DROPPED, 0)]
    world.gate.expire()
    await turn()
    assert words(session) == []
    world.room.left["service red"] = 1 << 20
    world.gate.expire()
    resumed, credit = words(session)
    assert resumed == "resume 1"
    assert credit.startswith("credit 5")
    await session.receive(send(1, red))
    await turn()
    assert world.log.stored() == [(EntryKind.DROPPED, 0), (BATCH, 1)]
    assert "ack 1" in words(session)
    assert world.counted("collectord_records_rejected_total", reason="too_many_streams") == 0


@in_loop
async def test_it_is_looked_for_room_seldom_while_there_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of what one may have is granted at a time, and none of it twice."""
    world = World(eager=True)
    looked: list[str] = []
    monkeypatch.setattr(world.room, "room", lambda whose: looked.append(whose) or 8000)
    purse = world.gate.purses.of(gate.Tenant("red"), "", 0)
    assert world.gate.has_share(purse, 100)
    assert purse.spare == 8000 // gate.GRANT_SHARE
    purse.spare -= 1900
    assert world.gate.has_share(purse, 100)
    assert looked == ["tenant red"]
    assert world.gate.has_share(purse, 5000)
    assert (purse.spare, len(looked)) == (5000, 2)
    assert not world.gate.has_share(purse, 8001)


@in_loop
async def test_one_tenants_clients_leave_places_for_others() -> None:
    """And one that comes again takes the place that it has."""
    world = World()
    world.gate.share, world.gate.max_clients = 0.5, 8
    red = [world.session() for _ in range(5)]
    for number, one in enumerate(red[:4]):
        await one.receive(hello(bytes([number]) * 16, webservices=["red"]))
    with pytest.raises(TooManyClients, match="share of the service red"):
        await red[4].receive(hello(b"5" * 16, webservices=["red"]))
    again = world.session()
    await again.receive(hello(bytes([0]) * 16, webservices=["red"]))
    for number in range(2):
        await world.session().receive(hello(bytes([9, number]) * 8, webservices=["blue"]))


@in_loop
async def test_a_flood_of_refusals_is_slowed_down_and_none_is_lost() -> None:
    """They stand in the log and nothing of them ever waits, so that no share holds them."""
    world = World(eager=True)
    session = await world.greeted()
    session.purse.reports.take(purses.HELD_REPORTS, world.clock.monotonic())
    await session.receive(bad(1))
    held = asyncio.create_task(session.receive(bad(2)))
    await turn()
    assert not held.done()
    assert "credit 0 too much of the service default is refused" in words(session)
    assert 0 < world.gate.timers[0][0] < 0.1
    world.clock.advance(1.0)
    world.gate.expire()
    await held
    await turn()
    assert sum("reject" in word for word in words(session)) == 1
    assert world.log.stored() == [(EntryKind.REJECT, 1), (EntryKind.REJECT, 2)]
    await session.receive(send(3))


@in_loop
async def test_a_flood_of_reports_is_left_out_and_the_next_one_counts() -> None:
    world = World(eager=True)
    session = await world.greeted()
    session.purse.reports.take(purses.HELD_REPORTS + 1, world.clock.monotonic())
    await session.receive(dropped(("m", "outbox_full", 1)))
    assert world.log.entries == []
    assert world.counted("collectord_reports_left_out_total") == 1
    world.clock.advance(60.0)
    await session.receive(dropped(("m", "outbox_full", 7)))
    assert [count.rows for count in pb.Dropped.FromString(bytes(world.log.entries[0].payload)).counts] == [7]


@in_loop
async def test_reports_bring_up_so_many_lines_of_the_books_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was brought up before goes on to be counted."""
    monkeypatch.setattr(purses, "HELD_COUNTS", 2)
    world = World(eager=True)
    session = await world.greeted()
    await session.receive(dropped(*((f"m{number}", "outbox_full", 1) for number in range(5))))
    await session.receive(dropped(*((f"m{number}", "outbox_full", 2) for number in range(5))))
    kept = [
        [(count.stream.model, count.rows) for count in pb.Dropped.FromString(bytes(entry.payload)).counts]
        for entry in world.log.entries
    ]
    assert kept == [[("m0", 1), ("m1", 1), ("m2", 1)], [("m0", 2), ("m1", 2), ("m2", 2)]]
