"""How far each client has come."""

from __future__ import annotations

import threading

import pytest

from collectord.errors import TooManyClients
from collectord.ingest import marks as marks_module
from collectord.ingest.marks import Marks

A, B = b"a" * 16, b"b" * 16


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


def test_the_number_of_marks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are known are still welcome."""
    monkeypatch.setattr(marks_module, "MAX_MARKS", 1)
    marks = greeted(A)
    with pytest.raises(TooManyClients):
        marks.greet(B, 1)
    assert marks.greet(A, 2) == 1


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
