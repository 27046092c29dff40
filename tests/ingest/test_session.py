"""One client's stream: stored in order, once, and nobody pays for a neighbour's mistake."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.batch import MAX_ROWS
from collectord.errors import LogUnavailable, ProtocolError, SpoolFull
from collectord.ingest import session as session_module
from collectord.ingest.admission import FIRST_CREDIT
from collectord.ingest.session import MAX_UNREAD_REJECTS, STALL_SECONDS, Session
from collectord.model import ColumnType, EntryKind
from collectord.schema import schema_id
from tests.ingest.fakes import CLIENT, SCHEMA, SPOOL, World, bad, declare, hello, said, send, turn, words
from tests.reference_batch import make_schema, schema_message, simple

BATCH, REJECT, DROPPED = EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED
OTHER = make_schema(ColumnType.INT8)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


# ---------------------------------------------------------------- Hello


def test_hello_is_answered_with_what_the_client_needs_to_know() -> None:
    async def scenario() -> None:
        world = World()
        session = world.session()
        await session.receive(hello())
        (message,) = said(session)
        welcome = message.welcome
        assert (welcome.spool_id, welcome.next_sequence, welcome.credit_bytes) == (SPOOL, 1, FIRST_CREDIT)
        assert (welcome.max_message_bytes, welcome.settings.collect) == (4 << 20, True)
        assert (session.client, session.pid, session.sdk) == (CLIENT, 1, "test 1")
        assert words(session) == []

    run(scenario)


def test_a_batch_right_behind_hello_is_taken() -> None:
    """Before anything was answered."""

    async def scenario() -> None:
        world = World(eager=True)
        session = world.session()
        for raw in (hello(), declare(SCHEMA), send(1)):
            await session.receive(raw)
        await turn()
        assert words(session) == ["welcome 2"]

    run(scenario)


@pytest.mark.parametrize(
    "raw", [send(1), declare(SCHEMA), pb.ClientMessage(dropped=pb.Dropped()).SerializeToString(), b"\x78\x01"]
)
def test_anything_before_hello_ends_the_stream(raw: bytes) -> None:
    async def scenario() -> None:
        with pytest.raises(ProtocolError, match="first message must be Hello"):
            await World().session().receive(raw)

    run(scenario)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (hello(), "second Hello"),
        (b"", "empty"),
        (b"\x1a\x05ab", "cut"),
        (b"\x0a\x02\x0a\x05", "not a"),
        (b"\xff" * 20, "torn"),
        (hello() + send(1), "exactly one"),
        (send(1) + send(2), "exactly one"),
        (pb.ClientMessage(batch=pb.Batch(rows=1)).SerializeToString(), "sequence number"),
        (pb.ClientMessage(batch=simple(SCHEMA, sequence=1 << 63)).SerializeToString(), "sequence number"),
        (b"\x22" + b"\x82\x80\x40" + b"\x0a\x00" * ((1 << 19) + 1), "1048576 are allowed"),
    ],
)
def test_what_cannot_be_understood_ends_the_stream(raw: bytes, what: str) -> None:
    """But only that stream; the session has a clear word for it."""

    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        with pytest.raises(ProtocolError, match=what):
            await session.receive(raw)
        world.at_rest()

    run(scenario)


@pytest.mark.parametrize(
    "fields", [{"client_id": b"short"}, {"client_id": b""}, {"sdk": "x" * 101}, {"version": "x" * 101}]
)
def test_a_hello_with_wrong_fields_ends_the_stream(fields: dict[str, Any]) -> None:
    async def scenario() -> None:
        message = pb.Hello(**({"client_id": CLIENT} | fields))
        with pytest.raises(ProtocolError, match="hello"):
            await World().session().receive(pb.ClientMessage(hello=message).SerializeToString())

    run(scenario)


def test_fields_of_a_later_protocol_are_ignored() -> None:
    """Alone, before and behind what is known."""

    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        for raw in (b"\x7a\x03abc", b"\x78\x01" + send(1) + b"\x7a\x00", send(2)):
            await session.receive(raw)
        assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]

    run(scenario)


# ---------------------------------------------------------------- batches


def test_a_batch_is_acknowledged_when_it_is_durable_and_not_before() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        raw = send(1, rows=3)
        await session.receive(raw)
        await turn()
        assert words(session) == []
        world.log.commit()
        await turn()
        assert words(session) == ["ack 1"]
        (entry,) = world.log.entries
        assert bytes(entry.payload) == simple(SCHEMA, 3, 1).SerializeToString()
        assert (entry.rows, entry.schema, entry.client) == (3, SCHEMA, CLIENT)
        assert entry.partition is not None
        assert entry.partition.schema_id == SCHEMA.id
        assert world.counted("collectord_records_received_total") == 3
        assert world.counted("collectord_batches_received_total") == 1
        assert world.counted("collectord_bytes_received_total") == len(entry.payload)
        assert session.rows == 3
        world.at_rest()

    run(scenario)


def test_one_ack_speaks_for_a_whole_group() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        for sequence in range(1, 6):
            await session.receive(send(sequence))
        world.log.commit()
        await turn()
        assert words(session) == ["ack 5"]

    run(scenario)


def test_a_gap_is_asked_for_once_and_everything_behind_it_is_refused_until_it_comes() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        for sequence in (1, 3, 4, 5):
            await session.receive(send(sequence))
        await turn()
        assert words(session) == ["ack 1", "resume 2"]
        for sequence in (2, 3):
            await session.receive(send(sequence))
        await session.receive(send(9))
        await turn()
        assert words(session) == ["ack 3", "resume 4"]
        assert world.log.stored() == [(BATCH, 1), (BATCH, 2), (BATCH, 3)]
        world.at_rest()

    run(scenario)


def test_a_repeat_is_answered_and_not_stored() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        await session.receive(send(1, rows=5))
        await turn()
        assert words(session) == ["ack 1"]
        await session.receive(send(1, rows=5))
        assert words(session) == ["ack 1"]
        assert world.log.stored() == [(BATCH, 1)]
        assert world.counted("collectord_records_repeated_total") == 5

    run(scenario)


def test_a_returning_client_is_told_where_it_stopped() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        await session.receive(send(1))
        await turn()
        world.gate.leave(session)
        again = world.session()
        await again.receive(hello())
        assert words(again) == ["welcome 2"]
        await again.receive(send(2))
        await turn()
        assert words(again) == ["reject 2 unknown_schema 1", "ack 2"], "schemas are declared on each stream"

    run(scenario)


REFUSED = {
    "time_out_of_window": bad(2, rows=3),
    "unknown_schema": send(2, OTHER, rows=3),
    "length_mismatch": pb.ClientMessage(
        batch=pb.Batch.FromString(simple(SCHEMA, 3, 2).SerializeToString() + b"\x32\x00")
    ).SerializeToString(),
    "malformed": pb.ClientMessage(batch=pb.Batch(sequence=2, rows=3)).SerializeToString(),
    "no_rows": pb.ClientMessage(batch=pb.Batch(sequence=2, schema_id=SCHEMA.id)).SerializeToString(),
    "too_many_rows": pb.ClientMessage(
        batch=pb.Batch(sequence=2, schema_id=SCHEMA.id, rows=1 << 31)
    ).SerializeToString(),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refused_batch_loses_none_of_its_neighbours(reason: str) -> None:
    """It is written down as rejected, the client is told why, the mark passes it, and what follows is taken."""

    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        for raw in (send(1), REFUSED[reason], send(3)):
            await session.receive(raw)
        await turn()
        rows = {"no_rows": 0, "too_many_rows": MAX_ROWS}.get(reason, 3)
        assert words(session) == [f"reject 2 {reason} {rows}", "ack 3"]
        assert world.log.stored() == [(BATCH, 1), (REJECT, 2), (BATCH, 3)]
        entry = world.log.entries[1]
        assert (bytes(entry.payload), entry.rows) == (reason.encode(), rows)
        known = reason not in ("unknown_schema", "malformed")
        assert entry.schema == (SCHEMA if known else None), "it counts for the stream that it names"
        assert world.counted("collectord_records_rejected_total", reason=reason) == rows
        assert world.counted("collectord_records_received_total") == 2
        world.at_rest()

    run(scenario)


def test_a_rejection_is_told_only_when_it_is_durable() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(bad(1))
        await turn()
        assert words(session) == []
        world.log.commit()
        await turn()
        assert words(session) == ["reject 1 time_out_of_window 1", "ack 1"]

    run(scenario)


def test_batches_of_a_refused_schema_are_refused_for_its_reason() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        message = schema_message(ColumnType.INT8, ColumnType.INT8, names=["a", "a"])
        raw = message.SerializeToString()
        session = await world.greeted()
        await session.receive(pb.ClientMessage(declare=pb.Declare(schema=raw)).SerializeToString())
        batch = simple(OTHER, 2, 1)
        batch.schema_id = schema_id(raw)
        await session.receive(pb.ClientMessage(batch=batch).SerializeToString())
        await session.receive(send(2))
        await turn()
        assert words(session) == ["reject 1 duplicate_column 2", "ack 2"]

    run(scenario)


def test_rows_of_one_more_partition_than_allowed_are_rejected() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        world.room.full = True
        await session.receive(send(1))
        world.room.full = False
        await session.receive(send(2))
        await turn()
        assert words(session) == ["reject 1 too_many_streams 1", "ack 2"]

    run(scenario)


def test_a_client_that_does_not_read_its_rejections_is_not_read_further() -> None:
    """What it has not been told is bounded; when it reads, everything goes on."""

    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        for sequence in range(1, MAX_UNREAD_REJECTS + 1):
            await session.receive(bad(sequence))
        await turn()
        more = asyncio.create_task(session.receive(bad(MAX_UNREAD_REJECTS + 1)))
        await turn()
        assert not more.done()
        assert len(words(session)) == MAX_UNREAD_REJECTS + 1
        await more
        await turn()
        assert words(session)[-1] == f"ack {MAX_UNREAD_REJECTS + 1}"
        world.at_rest()

    run(scenario)


def test_rejections_that_the_log_has_not_written_count_as_unread() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        for sequence in range(1, MAX_UNREAD_REJECTS + 1):
            await session.receive(bad(sequence))
        more = asyncio.create_task(session.receive(bad(MAX_UNREAD_REJECTS + 1)))
        await turn()
        assert not more.done()
        assert len(world.log.queue) == MAX_UNREAD_REJECTS
        world.log.fail()
        await turn()
        assert more.done(), "a failing log must not leave it waiting"

    run(scenario)


def test_refused_payloads_are_not_kept() -> None:
    """Neither by the list of what is still to be told, nor by an exception that is raised again and again."""

    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        bad_schema = schema_message(ColumnType.INT8, ColumnType.INT8, names=["a", "a"]).SerializeToString()
        await session.receive(pb.ClientMessage(declare=pb.Declare(schema=bad_schema)).SerializeToString())
        named = simple(OTHER, sequence=3)
        named.schema_id = schema_id(bad_schema)
        gc.disable()
        try:
            for raw in (bad(1), send(2, OTHER), pb.ClientMessage(batch=named).SerializeToString()):
                references = sys.getrefcount(raw)
                await session.receive(raw)
                await turn()
                assert sys.getrefcount(raw) == references
        finally:
            gc.enable()
        assert [text.split()[0] for text in words(session)] == ["reject"] * 3 + ["ack"]

    run(scenario)


# ---------------------------------------------------------------- the log fails


@pytest.mark.parametrize(
    ("error", "why"), [(SpoolFull("full"), "the spool is full"), (LogUnavailable("EIO"), "the log cannot write")]
)
def test_while_the_log_fails_credit_is_withheld_and_afterwards_everything_is_taken_in_order_once(
    error: Exception, why: str
) -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        for sequence in (1, 2, 3):
            await session.receive(send(sequence))
        world.log.commit(1)
        world.log.fail(error)
        await turn()
        assert words(session) == ["ack 1", f"credit 0 {why}"]
        await session.receive(send(4))
        await turn()
        assert words(session) == [], "what lies behind is not asked for while the log cannot take it"
        assert [seconds for seconds, _ in world.gate.timers] == [STALL_SECONDS]
        world.gate.expire()
        assert words(session) == ["resume 2", f"credit {FIRST_CREDIT}"]
        for sequence in (2, 3, 4):
            await session.receive(send(sequence))
        world.log.commit()
        await turn()
        assert words(session) == ["ack 4"]
        assert world.log.stored() == [(BATCH, sequence) for sequence in (1, 2, 3, 4)]
        world.at_rest()

    run(scenario)


def test_a_client_may_try_one_batch_without_credit_and_a_success_ends_the_stall() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(send(1))
        world.log.fail()
        await turn()
        assert words(session) == ["credit 0 the log cannot write"]
        await session.receive(send(1))
        world.log.commit()
        await turn()
        assert words(session) == ["ack 1", f"credit {FIRST_CREDIT}"]

    run(scenario)


def test_a_log_that_goes_on_failing_is_tried_at_the_pace_of_one_timer() -> None:
    async def scenario() -> None:
        world = World()
        world.log.error = SpoolFull("full")
        session = await world.greeted()
        for _ in range(5):
            await session.receive(send(1))
            await session.receive(send(2))
            await turn()
            words(session)
            assert len(world.gate.timers) == 1
            world.gate.expire()
            assert "resume 1" in words(session)
        world.log.error = None
        await session.receive(send(1))
        world.log.commit()
        await turn()
        assert "ack 1" in words(session)
        world.at_rest()

    run(scenario)


def test_a_late_failure_does_not_take_back_what_is_already_on_its_way_again() -> None:
    """2 and 3 are queued; 2 fails. The client sends 2 again before the log has refused 3. Were the mark set back by the
    second failure, 2 could be asked for and stored a third time."""

    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        for sequence in (1, 2, 3):
            await session.receive(send(sequence))
        world.log.commit(1)
        world.log.fail(count=1)
        await turn()
        await session.receive(send(2))
        world.log.fail(count=1)
        await turn()
        world.gate.expire()
        await session.receive(send(2))
        await session.receive(send(3))
        world.log.commit()
        await turn()
        assert world.log.stored() == [(BATCH, 1), (BATCH, 2), (BATCH, 3)]
        assert words(session)[0] == "ack 3"

    run(scenario)


def test_a_failed_report_of_drops_does_not_move_the_mark() -> None:
    """It has no number, so what follows it in the log need not fail."""

    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(dropped(("m", "outbox_full", 5)))
        await session.receive(send(1))
        world.log.fail(count=1)
        await turn()
        await session.receive(send(1))
        world.log.commit()
        await turn()
        assert world.log.stored() == [(BATCH, 1)]
        world.gate.expire()
        assert "resume 2" in words(session)

    run(scenario)


def test_a_batch_that_waits_for_the_budget_while_the_log_fails_is_asked_for_in_order() -> None:
    async def scenario() -> None:
        world = World(budget=1500)
        session = await world.greeted()
        await session.receive(send(1))
        waiting = asyncio.create_task(session.receive(send(2)))
        await turn()
        assert not waiting.done()
        world.log.fail()
        await turn()
        assert waiting.done()
        assert not world.log.queue, "2 must not overtake 1"
        world.gate.expire()
        assert "resume 1" in words(session)
        world.at_rest()

    run(scenario)


def test_a_log_that_refuses_to_be_called_costs_nothing() -> None:
    """An error of ours ends the stream; budget and mark are as before."""

    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        append = world.log.append
        world.log.append = None  # type: ignore[method-assign, assignment]
        with pytest.raises(TypeError):
            await session.receive(send(1))
        world.log.append = append  # type: ignore[method-assign]
        world.at_rest()
        await session.receive(send(1))
        world.log.commit()
        await turn()
        assert words(session) == ["ack 1"]

    run(scenario)


# ---------------------------------------------------------------- the end of a stream, and two of them


def test_a_client_that_hangs_up_still_gets_its_acks() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(send(1))
        session.hang_up()
        assert words(session) == []
        assert not session.finished
        world.log.commit()
        await turn()
        assert not session.finished
        assert words(session) == ["ack 1"]
        assert session.finished

    run(scenario)


def test_what_the_log_says_after_the_stream_has_ended_is_still_counted() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(send(1))
        await session.receive(bad(2))
        world.gate.leave(session)
        world.log.commit()
        await turn()
        world.at_rest()
        assert world.counted("collectord_records_received_total") == 1
        assert world.counted("collectord_records_rejected_total", reason="time_out_of_window") == 1
        assert world.gate.marks.durable(CLIENT) == 2

    run(scenario)


def test_a_failure_after_the_stream_has_ended_sets_no_timer_off_on_it() -> None:
    async def scenario() -> None:
        world = World()
        session = await world.greeted()
        await session.receive(send(1))
        world.gate.leave(session)
        world.log.fail()
        await turn()
        world.gate.expire()
        assert words(session) == ["credit 0 the log cannot write"]
        world.at_rest()

    run(scenario)


def test_a_cancelled_stream_gives_its_place_in_the_budget_back() -> None:
    async def scenario() -> None:
        world = World(budget=1500)
        first, second = await world.greeted(), await world.greeted(b"another client..")
        await first.receive(send(1))
        cancelled = asyncio.create_task(first.receive(send(2)))
        waiting = asyncio.create_task(second.receive(send(1)))
        await turn()
        cancelled.cancel()
        await turn()
        world.log.commit()
        await turn()
        assert waiting.done()
        world.log.commit()
        await turn()
        world.at_rest()
        assert world.log.stored() == [(BATCH, 1)]

    run(scenario)


def test_a_second_stream_of_a_client_takes_over_and_is_told_what_the_first_one_sent() -> None:
    """A client reconnects while the log still writes what came before: it must not wait for acks for ever."""

    async def scenario() -> None:
        world = World()
        first = await world.greeted()
        await first.receive(send(1))
        second = await world.greeted()
        assert first.over.done()
        assert not second.over.done()
        await second.receive(send(1))
        assert words(second) == ["ack 0"]
        world.log.commit()
        await turn()
        assert words(second) == ["ack 1"]
        assert world.log.stored() == [(BATCH, 1)]
        world.gate.leave(first)
        await second.receive(send(2))
        world.log.commit()
        await turn()
        assert words(second) == ["ack 2"]

    run(scenario)


def test_a_failure_of_what_the_first_stream_sent_reaches_the_second() -> None:
    """The client believes that its repeat was enough; only Resume tells it otherwise."""

    async def scenario() -> None:
        world = World()
        first = await world.greeted()
        await first.receive(send(1))
        second = await world.greeted()
        await second.receive(send(1))
        words(second)
        world.log.fail()
        await turn()
        assert words(second) == ["credit 0 the log cannot write"]
        world.gate.expire()
        assert words(second) == ["resume 1", f"credit {FIRST_CREDIT}"]
        await second.receive(send(1))
        world.log.commit()
        await turn()
        assert words(second) == ["ack 1"]
        world.at_rest()

    run(scenario)


def test_a_batch_of_the_first_stream_that_waited_is_not_stored_after_the_second_began() -> None:
    async def scenario() -> None:
        world = World(budget=1500)
        first = await world.greeted()
        await first.receive(send(1))
        late = asyncio.create_task(first.receive(send(2)))
        await turn()
        second = await world.greeted()
        world.log.commit()
        await turn()
        assert late.done()
        world.at_rest()
        await second.receive(send(2))
        world.log.commit()
        await turn()
        assert world.log.stored() == [(BATCH, 1), (BATCH, 2)]

    run(scenario)


# ---------------------------------------------------------------- reports of drops


def dropped(*counts: tuple[str, str, int], more: int = 0) -> bytes:
    message = pb.Dropped()
    for model, reason, rows in counts:
        message.counts.append(pb.DropCount(stream=pb.Stream(model=model), reason=reason, rows=rows))
    for _ in range(more):
        message.counts.add(rows=1)
    return pb.ClientMessage(dropped=message).SerializeToString()


def test_a_report_of_drops_is_written_to_the_log_and_takes_no_number() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        await session.receive(dropped(("m", "outbox_full", 5)))
        await session.receive(send(1))
        await turn()
        assert world.log.stored() == [(DROPPED, 0), (BATCH, 1)]
        assert pb.Dropped.FromString(bytes(world.log.entries[0].payload)).counts[0].rows == 5
        assert world.counted("collectord_records_received_total") == 1
        assert words(session) == ["ack 1"]

    run(scenario)


def test_counts_of_impossible_streams_are_left_out_and_the_others_kept() -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        await session.receive(dropped(("good", "r", 1), ("a\nb", "r", 2), ("x" * 256, "r", 3), ("good too", "r", 4)))
        await session.receive(dropped(("m", "r", 1), more=2000))
        kept = [pb.Dropped.FromString(bytes(entry.payload)).counts for entry in world.log.entries]
        assert [count.rows for count in kept[0]] == [1, 4]
        assert len(kept[1]) == 1000

    run(scenario)


# ---------------------------------------------------------------- anything at all


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
def test_whatever_happens_the_log_holds_each_number_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    """Against a log that, like ours, refuses what follows a failed entry until that entry is handed in again."""

    async def scenario() -> None:
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
                    world.log.commit(1)
            await turn()
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
                    world.log.commit(1)
            await turn()
            world.gate.expire()
            heard()
        assert len(world.log.entries) > before + 10, "everything goes on afterwards"
        assert told == len(world.log.entries)
        sequences = [sequence for _, sequence in world.log.stored()]
        assert sequences == list(range(1, len(sequences) + 1))

    run(scenario)


@given(st.binary(max_size=60))
def test_random_bytes_are_taken_or_end_the_stream_with_a_word(raw: bytes) -> None:
    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        try:
            await session.receive(raw)
        except ProtocolError as error:
            assert str(error)
        await turn()
        world.at_rest()

    run(scenario)


@given(st.integers(0, 120), st.binary(min_size=1, max_size=4))
def test_a_damaged_batch_is_stored_rejected_or_ends_the_stream(at: int, damage: bytes) -> None:
    raw = send(1, rows=3)

    async def scenario() -> None:
        world = World(eager=True)
        session = await world.greeted()
        try:
            await session.receive(raw[:at] + damage + raw[at + len(damage) :])
        except ProtocolError as error:
            assert str(error)
        await turn()
        world.at_rest()
        assert len(world.log.entries) <= 1

    run(scenario)


def test_the_module_offers_the_gate_beside_the_session() -> None:
    """Whoever builds a daemon finds both in one place."""
    assert session_module.Gate.__name__ == "Gate"
    assert Session.__init__.__annotations__["gate"] == "Gate"
