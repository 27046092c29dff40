"""How far each client has come."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc

import pytest

from collectord.errors import TooManyClients
from collectord.ingest.marks import LEAST_SILENCE_NS, MAX_MARKS, Marks
from tests.ingest.fakes import World, send, turn

A, B, C, D = b"a" * 16, b"b" * 16, b"c" * 16, b"d" * 16


def greeted(*clients: bytes) -> Marks:
    marks = Marks()
    for client in clients or (A,):
        marks.greet(client, 1)
    return marks


def test_a_fresh_client_begins_at_one_and_a_known_one_behind_its_mark() -> None:
    marks = Marks()
    assert marks.greet(A, 1) == 1
    marks.restore([(B, 41, 0)])
    assert marks.greet(B, 1) == 42
    assert len(marks) == 2


def test_what_is_taken_runs_ahead_of_what_is_durable() -> None:
    marks = greeted()
    epoch = marks.take(A, 1)
    assert marks.take(A, 2) == epoch
    assert (marks.taken(A), marks.durable(A)) == (2, 0)
    assert marks.greet(A, 2) == 1, "what is not durable is wanted"
    marks.observe(A, 1, 2)
    assert (marks.taken(A), marks.durable(A)) == (2, 1)


def test_numbers_are_taken_one_after_the_other() -> None:
    marks = greeted()
    with pytest.raises(AssertionError):
        marks.take(A, 2)


def test_a_failure_gives_back_what_is_not_durable_once() -> None:
    """Failures of the same epoch that come later were handed in before it, and say nothing about what came since."""
    marks = greeted()
    epochs = [marks.take(A, sequence) for sequence in (1, 2, 3)]
    marks.observe(A, 1, 1)
    marks.give_back(A, epochs[1])
    assert marks.taken(A) == 1
    again = marks.take(A, 2)
    assert again != epochs[1]
    marks.give_back(A, epochs[2])
    assert marks.taken(A) == 2
    marks.give_back(A, again)
    assert marks.taken(A) == 1


def test_a_failure_for_a_client_that_was_forgotten_is_no_error() -> None:
    Marks().give_back(A, 0)


def test_observing_never_goes_back() -> None:
    marks = Marks()
    marks.observe(A, 5, 1)
    marks.observe(A, 3, 2)
    assert (marks.durable(A), marks.taken(A)) == (5, 5)


def test_the_ledger_is_told_of_each_change_until_it_is_complete() -> None:
    marks = Marks()
    marks.restore([(A, 4, 1)])
    assert list(marks.changed()) == []
    marks.greet(A, 9)
    assert list(marks.changed()) == [(A, 4, 9)]
    assert list(marks.changed()) == []
    marks.take(A, 5)
    marks.observe(A, 5, 10)
    marks.take(A, 6)
    assert list(marks.changed()) == [(A, 5, 10)]
    assert list(marks.changed()) == [(A, 5, 10)], "6 is under way, so there is more to say"
    marks.observe(A, 6, 11)
    assert list(marks.changed()) == [(A, 6, 11)]
    assert list(marks.changed()) == []


def test_silent_clients_are_forgotten_and_connected_ones_are_not() -> None:
    marks = Marks()
    marks.restore([(A, 1, 10), (B, 1, 10)])
    assert marks.expire(11, frozenset((B,))) == [A]
    assert len(marks) == 1
    assert marks.greet(A, 12) == 1


def test_silence_begins_with_the_last_contact_and_not_with_hello() -> None:
    """A client that was connected for weeks and is away for a moment must find its mark."""
    for contact in ("data", "end of the stream"):
        marks = greeted()
        marks.take(A, 1)
        marks.observe(A, 1, 100 if contact == "data" else 1)
        if contact != "data":
            marks.leave(A, 100)
        assert marks.expire(50, frozenset()) == []
        assert list(marks.changed()) == [(A, 1, 100)]
        assert marks.expire(101, frozenset()) == [A]


def test_a_client_that_never_sent_anything_leaves_nothing_behind() -> None:
    marks = greeted()
    marks.leave(A, 2)
    assert len(marks) == 0
    marks.leave(A, 2)


def test_one_more_than_can_be_remembered_is_refused_while_all_were_heard_of_lately() -> None:
    """Those that are known are still welcome; connected ones are never forgotten, however long ago they came."""
    marks = Marks(limit=2)
    now = 100 * LEAST_SILENCE_NS
    marks.greet(A, 1)
    marks.greet(B, 1)
    with pytest.raises(TooManyClients):
        marks.greet(C, now)
    marks.take(B, 1)
    marks.leave(B, now - LEAST_SILENCE_NS + 1)
    with pytest.raises(TooManyClients):
        marks.greet(C, now)
    assert marks.greet(A, now) == 1


def test_the_one_that_has_been_silent_for_longest_makes_room() -> None:
    """Else whoever comes and goes a hundred thousand times would close the door for days. It is named once."""
    marks = Marks(limit=3)
    marks.restore([(B, 5, 20), (A, 7, 10)])
    marks.greet(C, 30)
    marks.greet(D, 40 + LEAST_SILENCE_NS)
    assert marks.expire(0, frozenset()) == [A]
    assert marks.expire(0, frozenset()) == []
    assert marks.greet(B, 50 + LEAST_SILENCE_NS) == 6
    assert marks.greet(C, 50 + LEAST_SILENCE_NS) == 1
    assert len(marks) == 3


def test_of_more_marks_than_can_be_remembered_the_last_heard_of_are_restored() -> None:
    marks = Marks(limit=2)
    marks.restore([(A, 1, 30), (B, 2, 10), (C, 3, 20)])
    assert len(marks) == 2
    assert (marks.greet(A, 31), marks.greet(C, 31)) == (2, 4)


def test_a_hundred_thousand_short_lived_clients_cost_a_bounded_amount_and_are_forgotten() -> None:
    """One after the other, through the gate, each with a row: what is remembered of one are some hundred bytes. Once they
    have been silent long enough, none is left; those that never sent a row were not remembered at all."""

    async def scenario() -> None:
        world = World(eager=True)
        gate = world.gate
        raw = send(1)
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(400):
                session = await world.greeted(number.to_bytes(16, "big"))
                if number % 2:
                    await session.receive(raw)
                    world.log.entries.clear()
                gate.leave(session)
            await turn()
            gc.collect()
            through_the_gate, _ = tracemalloc.get_traced_memory()
            assert len(gate.marks) == 200
            now = world.clock.wall_ns()
            for number in range(400, MAX_MARKS + 200):
                client = number.to_bytes(16, "big")
                gate.marks.greet(client, now)
                gate.marks.take(client, 1)
                gate.marks.observe(client, 1, now)
                gate.marks.leave(client, now)
            whole, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(gate.marks) == MAX_MARKS
        assert through_the_gate / 200 < 1500
        assert whole < MAX_MARKS * 500, f"{whole / MAX_MARKS:.0f} bytes for each"
        with pytest.raises(TooManyClients):
            gate.marks.greet(b"one more........", now)
        assert len(gate.marks.expire(now + 1, frozenset())) == MAX_MARKS
        assert len(gate.marks) == 0
        assert not gate.sessions
        assert len(gate.schemas) == 0

    asyncio.run(scenario())


def test_many_threads_may_observe_at_once() -> None:
    marks = Marks()

    def observe(thread: int) -> None:
        for sequence in range(1, 200):
            marks.observe(bytes([thread]) * 16, sequence, sequence)
            marks.observe(A, sequence, sequence)

    threads = [threading.Thread(target=observe, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {mark for _, mark, _ in marks.changed()} == {199}


def test_a_clock_that_is_set_back_leaves_nobody_in_the_future() -> None:
    """He would keep his place from those who come, for as long as the clock was ahead."""
    now = 100 * LEAST_SILENCE_NS
    marks = Marks(limit=1)
    marks.observe(b"a" * 16, 3, 5 * now)
    marks.shift(-4 * now, now)
    assert list(marks.changed()) == [(b"a" * 16, 3, now)]
    with pytest.raises(TooManyClients):
        marks.greet(b"b" * 16, now)
    assert marks.greet(b"b" * 16, now + LEAST_SILENCE_NS) == 1
