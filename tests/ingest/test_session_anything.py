"""Whatever a client sends and whatever the log does, in any order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.errors import ProtocolError
from collectord.ingest import session as session_module
from collectord.ingest.session import Session
from collectord.model import ColumnType, EntryKind
from tests.ingest.fakes import CLIENT, World, bad, in_loop, send, turn, words
from tests.reference_batch import make_schema

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 8)),
            st.tuples(st.just("bad"), st.integers(1, 8)),
            st.tuples(st.just("next"), st.just(0)),
            st.tuples(st.just("next"), st.just(0)),
            st.tuples(st.just("commit"), st.integers(1, 3)),
            st.tuples(st.just("fail"), st.integers(1, 3)),
            st.tuples(st.just("expire"), st.just(0)),
            st.tuples(st.just("reconnect"), st.just(0)),
        ),
        max_size=40,
    )
)
@in_loop
async def test_whatever_happens_the_log_holds_each_number_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    """Against a log that, like ours, refuses what follows a failed entry until that entry is handed in again."""
    world = World()
    session = await world.greeted()
    failed: int | None = None
    told = 0

    def heard() -> None:
        nonlocal told
        for word in words(session):
            if word.startswith("ack"):
                told = max(told, int(word.split()[1]))

    for what, number in steps:
        if what == "next":
            number = world.gate.marks.taken(CLIENT) + 1
        if what in ("send", "next"):
            await session.receive(send(number))
        elif what == "bad":
            await session.receive(bad(number))
        elif what == "expire":
            world.gate.expire()
        elif what == "reconnect":
            session = await world.greeted()
        for _ in range(number if what in ("commit", "fail") else 0):
            if not world.log.queue:
                break
            sequence = world.log.queue[0][0].sequence
            if what == "fail" or (failed is not None and sequence > failed):
                failed = sequence if failed is None else min(failed, sequence)
                world.log.fail(count=1)
            else:
                failed = None
                await world.commit(1)
        heard()
        assert told <= len(world.log.entries), "nothing is acknowledged that is not durable"
    before = len(world.log.entries)
    for _ in range(20):
        await session.receive(send(world.gate.marks.taken(CLIENT) + 1))
        while world.log.queue:
            sequence = world.log.queue[0][0].sequence
            if failed is not None and sequence > failed:
                world.log.fail(count=1)
            else:
                failed = None
                await world.commit(1)
        world.gate.expire()
        heard()
    assert len(world.log.entries) > before + 10, "everything goes on afterwards"
    assert told == len(world.log.entries)
    sequences = [sequence for _, sequence in world.log.stored()]
    assert sequences == list(range(1, len(sequences) + 1))


@given(st.binary(max_size=60))
@in_loop
async def test_random_bytes_are_taken_or_end_the_stream_with_a_word(raw: bytes) -> None:
    world = World(eager=True)
    session = await world.greeted()
    try:
        await session.receive(raw)
    except ProtocolError as error:
        assert str(error)
    await turn()
    world.at_rest()


@given(st.integers(0, 120), st.binary(min_size=1, max_size=4))
@in_loop
async def test_a_damaged_batch_is_stored_rejected_or_ends_the_stream(at: int, damage: bytes) -> None:
    raw = send(1, rows=3)
    world = World(eager=True)
    session = await world.greeted()
    try:
        await session.receive(raw[:at] + damage + raw[at + len(damage) :])
    except ProtocolError as error:
        assert str(error)
    await turn()
    world.at_rest()
    assert len(world.log.entries) <= 1


def test_the_module_offers_the_gate_beside_the_session() -> None:
    """Whoever builds a daemon finds both in one place."""
    assert session_module.Gate.__name__ == "Gate"
    assert Session.__init__.__annotations__["gate"] == "Gate"
