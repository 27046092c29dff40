"""Who watches sees what becomes durable, and holds up nobody."""

from __future__ import annotations

import pytest

from collectord.errors import LogUnavailable
from collectord.ingest import arrivals
from collectord.ingest.arrivals import MAX_WATCHES, Arrivals
from collectord.model import ColumnType, EntryKind
from tests.ingest.fakes import SCHEMA, World, bad, dropped, in_loop, send
from tests.reference_batch import make_schema

OTHER = make_schema(ColumnType.INT8)


@in_loop
async def test_a_batch_is_offered_when_it_is_durable_and_to_those_who_want_its_stream() -> None:
    world = World()
    session = await world.greeted(b"1" * 16, SCHEMA, OTHER)
    with (
        world.gate.arrivals.watch(lambda stream: stream == SCHEMA.stream) as one,
        world.gate.arrivals.watch(lambda _: False) as nothing,
    ):
        assert one is not None and nothing is not None
        await session.receive(send(1, rows=3))
        await session.receive(bad(2))
        await session.receive(send(3, rows=2))
        await session.receive(dropped(("m", "closed", 1)))
        assert not one.wake.is_set()
        await world.commit()
        assert one.wake.is_set()
        batches, missed = one.take()
        assert [(entry.kind, entry.sequence, entry.rows) for entry in batches] == [
            (EntryKind.BATCH, 1, 3), (EntryKind.BATCH, 3, 2)
        ]  # fmt: skip
        assert missed == 0
        assert not one.wake.is_set()
        assert nothing.take() == ([], 0)
        await session.receive(send(4))
        await world.fail(LogUnavailable("the disk is gone"))
        assert one.take() == ([], 0), "what is not durable did not arrive"


@in_loop
async def test_while_nobody_watches_nothing_is_kept() -> None:
    world = World()
    session = await world.greeted()
    await session.receive(send(1))
    (entry, done) = world.log.queue[0]
    with world.gate.arrivals.watch(lambda _: True) as watch:
        assert watch is not None
        await world.commit()
        assert watch.take() == ([], 0), "it was handed to the log before"
    assert not world.gate.arrivals.watched
    assert entry.rows == 1 and done is not None


@in_loop
async def test_who_reads_slowly_misses_rows_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    session = await world.greeted()
    monkeypatch.setattr(arrivals, "MAX_BYTES", 1)
    with world.gate.arrivals.watch(lambda _: True) as watch:
        assert watch is not None
        for sequence in range(1, 5):
            await session.receive(send(sequence, rows=10 * sequence))
        await world.commit()
        batches, missed = watch.take()
        assert [entry.rows for entry in batches] == [10], "one is always kept, whatever its size"
        assert missed == 20 + 30 + 40
        assert watch.take() == ([], 0)
    world.at_rest()


@in_loop
async def test_so_many_may_watch_and_who_leaves_makes_room() -> None:
    all_of = Arrivals()
    watches = [all_of.watch(lambda _: True) for _ in range(MAX_WATCHES)]
    for one in watches:
        one.__enter__()
    with all_of.watch(lambda _: True) as more:
        assert more is None
    assert all_of.watched
    watches.pop().__exit__(None, None, None)
    with all_of.watch(lambda _: True) as more:
        assert more is not None
    for one in watches:
        one.__exit__(None, None, None)
    assert not all_of.watched
