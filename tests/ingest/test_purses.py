"""Quotas and fair turns: what is beyond a quota waits and is never lost, and nobody waits for another's clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.ingest import gate, purses, validate
from collectord.ingest.admission import FIRST_CREDIT, LEAST_CREDIT, Account, Admission
from collectord.ingest.purses import Bucket, Purse, Purses
from collectord.ingest.session import Session
from collectord.model import ColumnType, EntryKind, Partition, Schema
from collectord.patterns import StreamPatterns
from collectord.schema import parse_schema
from collectord.switches import Rules
from collectord.tenants import ANYBODY, Tenant, Tenants
from tests.ingest.fakes import CLIENT, World, declare, dropped, hello, in_loop, said, send, turn, words
from tests.reference_batch import make_schema

BATCH = EntryKind.BATCH
OTHER = b"another client.."


class Named(Tenants):
    """Whoever comes is this tenant."""

    def __init__(self, tenant: Tenant) -> None:
        super().__init__()
        self._tenant = tenant

    def who(self, listener: str, digest: bytes, certificate: Sequence[str] = ()) -> Tenant:
        return self._tenant


def of_service(webservice: str) -> Schema:
    message = pb.Schema.FromString(make_schema(ColumnType.FLOAT32, tensor=True).raw)
    message.stream.webservice = webservice
    return parse_schema(message.SerializeToString())


def test_a_bucket_holds_a_second_and_what_is_taken_beyond_it_has_to_come_together_again() -> None:
    bucket = Bucket(100, 0.0)
    assert bucket.wait(0.0) == 0
    bucket.take(400, 0.0)
    assert bucket.wait(0.0) == 3
    assert bucket.wait(2.0) == 1
    assert bucket.wait(9.0) == 0
    bucket.take(100, 1000.0)
    assert bucket.wait(1000.0) == 0, "it is empty, not overdrawn: of a long silence only a second counts"
    bucket.take(1, 1000.0)
    assert bucket.wait(1000.0) == pytest.approx(0.01)
    assert (Bucket(0, 0.0).wait(0.0), Bucket(0, 0.0).full(0.0)) == (0, True)


def test_each_tenant_has_a_purse_and_so_has_each_service_of_those_who_name_none() -> None:
    found = Purses(10, 20)
    red, blue = Tenant("red", bytes_per_second=7), Tenant("blue")
    assert found.of(red, "a", 0) is found.of(red, "b", 0)
    assert found.of(ANYBODY, "a", 0) is not found.of(ANYBODY, "b", 0)
    assert found.of(ANYBODY, "a", 0) is found.of(ANYBODY, "a", 9)
    assert [purse.name for purse in (found.of(blue, "a", 0), found.of(ANYBODY, "", 0))] == [
        "tenant blue",
        "service default",
    ]
    mine = found.of(red, "", 0)
    assert mine.take(8, 1, 0)
    assert not mine.take(1, 1, 0), "its own quota of bytes"
    theirs = found.of(blue, "", 0)
    assert theirs.take(11, 1, 0)
    assert not theirs.take(1, 1, 0), "that of all others"
    assert not Purses().of(blue, "", 0).limited


def test_purses_are_bounded_and_those_in_use_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of names shares one, and takes nobody's place."""
    monkeypatch.setattr(purses, "MAX_PURSES", 3)
    found = Purses(10)
    used = [found.of(ANYBODY, name, 0) for name in "ab"]
    for purse in used:
        found.join(purse, purse)
    spent = found.of(ANYBODY, "c", 0)
    assert spent.take(100, 1, 0)
    shared = found.of(ANYBODY, "d", 2)
    found.join(shared, "somebody")
    assert shared is found.of(ANYBODY, "e", 4), "there is no room: what is spent would else be forgotten"
    assert [found.of(ANYBODY, name, 4) for name in "abc"] == [*used, spent]
    found.leave(used[0], used[0])
    assert found.of(ANYBODY, "f", 100) is not shared
    assert found.of(ANYBODY, "b", 100) is used[1]


@in_loop
async def test_what_is_beyond_the_quota_waits_without_credit_and_is_then_taken_whole_and_in_order() -> None:
    """Nothing is refused, nothing is lost, and the client hears why."""
    world = World(eager=True)
    world.gate.purses = Purses(rows_per_second=10)
    session = await world.greeted()
    await session.receive(send(1, rows=30))
    await turn()
    assert words(session) == ["ack 1"]
    held = asyncio.create_task(session.receive(send(2, rows=5)))
    await turn()
    assert words(session) == ["credit 0 the quota of the service default is used up"]
    assert world.counted("collectord_credit_waits_total", cause="quota") == 1
    assert [seconds for seconds, _ in world.gate.timers] == [2.0]
    world.clock.advance(1.0)
    world.gate.expire()
    await turn()
    assert not held.done(), "not yet"
    world.clock.advance(1.0)
    world.gate.expire()
    await held
    await turn()
    assert sorted(words(session)) == ["ack 2", f"credit {FIRST_CREDIT}"]
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]
    assert not world.counted("collectord_records_rejected_total", reason="too_many_rows")


@in_loop
async def test_a_repeat_is_answered_at_once_and_costs_nothing() -> None:
    world = World(eager=True)
    world.gate.purses = Purses(rows_per_second=10)
    session = await world.greeted()
    await session.receive(send(1, rows=30))
    await session.receive(send(1, rows=30))
    assert world.gate.timers == []


@in_loop
async def test_who_goes_while_he_waits_takes_nothing_from_those_behind_him() -> None:
    world = World(eager=True)
    world.gate.purses = Purses(rows_per_second=10)
    first, second = await world.greeted(), await world.greeted(OTHER)
    await first.receive(send(1, rows=20))
    waiting = asyncio.create_task(first.receive(send(2, rows=1000)))
    behind = asyncio.create_task(second.receive(send(1, rows=1)))
    await turn()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.clock.advance(1.0)
    world.gate.expire()
    await behind
    assert world.log.stored(OTHER) == [(BATCH, 1)]
    assert world.log.stored() == [(BATCH, 1)]


@in_loop
async def test_reports_of_dropped_rows_are_paid_for_too() -> None:
    """They stand in the log like rows."""
    world = World(eager=True)
    world.gate.purses = Purses(bytes_per_second=10)
    session = await world.greeted()
    await session.receive(dropped(("m", "outbox_full", 1)))
    held = asyncio.create_task(session.receive(dropped(("m", "outbox_full", 2))))
    await turn()
    assert not held.done()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


@in_loop
async def test_one_services_quota_is_not_anothers() -> None:
    """Also on one stream, and whatever the client said at first."""
    world = World(eager=True)
    world.gate.purses = Purses(rows_per_second=10)
    a, b = of_service("a"), of_service("b")
    session = await world.greeted(CLIENT, a, b)
    await session.receive(send(1, a, rows=100))
    await session.receive(send(2, b, rows=1))
    assert world.gate.timers == []
    assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]
    held = asyncio.create_task(session.receive(send(3, a)))
    await turn()
    assert not held.done()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


@in_loop
async def test_a_hundred_clients_of_one_wait_as_long_as_the_single_client_of_the_other() -> None:
    """Where the budget is used up, a batch of each tenant is taken in turn: of the first ten, five are the quiet one's."""
    admission = Admission(10)
    order: list[str] = []
    noisy, quiet = Purse("noisy"), Purse("quiet")
    first = Account(whose=noisy)
    await admission.acquire(first, 10, lambda: 1000)

    async def want(purse: Purse) -> None:
        account = Account(whose=purse)
        await admission.acquire(account, 10, lambda: 1000)
        order.append(purse.name)
        admission.release(account, 10)

    wanted = [asyncio.create_task(want(noisy)) for _ in range(100)]
    await turn()
    wanted += [asyncio.create_task(want(quiet)) for _ in range(5)]
    await turn()
    admission.release(first, 10)
    await asyncio.gather(*wanted)
    assert Counter(order[:10]) == {"quiet": 5, "noisy": 5}
    assert Counter(order) == {"quiet": 5, "noisy": 100}
    assert admission.used == 0


@in_loop
async def test_credit_is_shared_by_tenants_first_and_then_by_their_clients() -> None:
    """A thousand clients of one leave the other's single one what it has alone among two."""
    world = World(budget=4 * FIRST_CREDIT)
    noisy, quiet = Tenant("noisy"), Tenant("quiet")
    purses = [world.gate.purses.of(tenant, "", 0) for tenant in (noisy, quiet)]
    for number in range(1000):
        world.gate.purses.join(purses[0], number)
    world.gate.purses.join(purses[1], "one")
    assert [world.gate.credit(purse) for purse in purses] == [LEAST_CREDIT, FIRST_CREDIT]
    for number in range(1000):
        world.gate.purses.leave(purses[0], number)
    assert world.gate.purses.used == 1


@in_loop
async def test_a_tenants_open_partitions_leave_room_for_others() -> None:
    """Beyond its limit only its own are refused; and it may open another when one is closed."""
    world = World(eager=True)
    tenant = Tenant("red", partitions=2)
    purse = world.gate.purses.of(tenant, "", 0)
    refused = await opened(world, purse, 3)
    assert refused == [None, None, "the limit of open partitions of the tenant red is reached"]
    world.room.closed = set(list(purse.partitions)[:1])
    assert await opened(world, purse, 4) == [None, None, None, refused[2]]
    assert await opened(world, world.gate.purses.of(Tenant("blue"), "", 0), 9) == [None] * 9


async def opened(world: World, purse: Purse, count: int) -> list[str | None]:
    found = [world.gate.no_room(purse, Partition(bytes([number]) * 16, 0, 1440)) for number in range(count)]
    return [refusal and refusal.detail for refusal in found]


@in_loop
async def test_too_many_schemas_end_a_stream_of_whoever_has_the_most_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant that spreads them over many streams does not push out the one that has more on a single one."""
    schemas = [make_schema(ColumnType.FLOAT32, ColumnType.INT8, designation=f"d{n}") for n in range(9)]
    size = validate.weight(schemas[0])
    monkeypatch.setattr(gate, "MAX_SCHEMA_BYTES", 8 * size)
    world = World(eager=True)
    noisy, quiet = Tenant("noisy"), Tenant("quiet")
    few = await greeted_as(world, quiet, b"q" * 16, schemas[:3])
    many = [await greeted_as(world, noisy, bytes([n]) * 16, schemas[3 + 2 * n : 5 + 2 * n]) for n in range(3)]
    assert not few.over.done()
    assert sum(session.over.done() for session in many) == 1


async def greeted_as(world: World, tenant: Tenant, client: bytes, schemas: list[Schema]) -> Session:
    session = world.session()
    world.gate.tenants = Named(tenant)
    await session.receive(hello(client))
    said(session)
    for schema in schemas:
        await session.receive(declare(schema))
    return session


@in_loop
async def test_a_tenant_learns_nothing_of_anothers_services_and_writes_nothing_into_his_books() -> None:
    """Neither what is switched on there, nor by a report of dropped rows."""
    world = World(eager=True)
    world.gate.rules = Rules(True, StreamPatterns(("red/m/*", "blue/m/*")), StreamPatterns())
    session = world.session()
    world.gate.tenants = Named(Tenant("red", StreamPatterns(("red/*/*",))))
    await session.receive(hello(webservices=["red", "blue"]))
    (message,) = said(session)
    assert list(message.welcome.settings.on) == ["red/m/*"]
    report = pb.Dropped(
        counts=[
            pb.DropCount(stream=pb.Stream(webservice=name, model="m"), reason="r", rows=1) for name in ("red", "blue")
        ]
    )
    await session.receive(pb.ClientMessage(dropped=report).SerializeToString())
    (entry,) = world.log.entries
    assert [count.stream.webservice for count in pb.Dropped.FromString(bytes(entry.payload)).counts] == ["red"]
