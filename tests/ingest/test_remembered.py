"""Payloads are remembered by their trace ids, for a while, and through the ledger."""

from __future__ import annotations

import pytest

from collectord.errors import ProtocolError
from collectord.ingest.marks import MAX_MARKS, Marks
from collectord.ingest.remembered import MAX_PAYLOADS, WINDOW_NS, Payloads, client_of, is_ours, untraced_client
from tests.ingest.fakes import World, hello, in_loop

A, B, C = (client_of("inputs", trace) for trace in "abc")


def test_a_client_id_is_of_its_payload_alone() -> None:
    """One trace id may stand over the inputs and the outputs of a request."""
    assert len({A, B, C, client_of("outputs", "a")}) == 4
    assert client_of("inputs", "a") == A
    assert all(len(client) == 16 and is_ours(client) for client in (A, untraced_client()))
    assert not is_ours(bytes(16))


def test_what_stands_in_the_log_is_remembered_once_and_the_ledger_told_once() -> None:
    payloads = Payloads()
    assert A not in payloads
    payloads.observe(A, 10)
    payloads.observe(A, 20)
    assert A in payloads
    assert list(payloads.changed()) == [(A, 1, 10)]
    payloads.observe(B, 30)
    assert list(payloads.changed()) == [(A, 1, 10), (B, 1, 30)], "the ledger may have failed"
    payloads.told()
    assert not list(payloads.changed())


def test_a_payload_without_a_trace_is_not_remembered() -> None:
    payloads = Payloads()
    payloads.observe(untraced_client(), 1)
    payloads.restore(untraced_client(), 1)
    assert not len(payloads)
    assert not list(payloads.changed())


def test_after_the_window_it_is_forgotten() -> None:
    payloads = Payloads(window_ns=100)
    payloads.restore(A, 10)
    payloads.observe(B, 50)
    assert payloads.gone(109) == []
    assert payloads.gone(110) == [A]
    assert B in payloads
    payloads.observe(C, 60)
    assert len(list(payloads.changed())) == 2
    assert payloads.gone(160) == [B, C]
    assert not list(payloads.changed()), "what is gone need not be written down"


def test_the_oldest_makes_room() -> None:
    payloads = Payloads(limit=2)
    for client in (A, B, C):
        payloads.observe(client, 1)
    assert (A in payloads, B in payloads, C in payloads) == (False, True, True)
    assert payloads.gone(1) == [A]
    assert len(payloads) == 2
    assert (MAX_PAYLOADS, WINDOW_NS) == (100_000, 3_600 * 10**9)


def test_marks_keep_payloads_apart_from_clients() -> None:
    """A flood of payloads takes no place of a client, and none of a client's calls sees them."""
    marks = Marks(limit=1)
    client = bytes(16)
    marks.greet(client, 1)
    for payload in (A, B):
        marks.observe(payload, 1, 5)
    assert marks.has_stored(A)
    assert not marks.has_stored(C)
    assert (len(marks), marks.payloads()) == (1, 2)
    assert sorted(marks.changed()) == sorted([(client, 0, 1), (A, 1, 5), (B, 1, 5)])
    assert marks.expire(1 << 62, frozenset()) == [client]
    assert marks.has_stored(B)
    assert marks.forgotten_payloads(5 + WINDOW_NS) == [A, B]
    assert MAX_MARKS == 100_000


def test_marks_restore_both_from_the_ledger() -> None:
    marks = Marks(limit=1)
    marks.restore([(A, 1, 30), (bytes(16), 7, 10), (b"x" * 16, 9, 20), (B, 1, 5)])
    assert (len(marks), marks.payloads()) == (1, 2)
    assert marks.durable(b"x" * 16) == 9
    assert marks.forgotten_payloads(6 + WINDOW_NS) == [B]


@in_loop
async def test_no_other_client_may_have_such_an_id() -> None:
    world = World()
    with pytest.raises(ProtocolError, match="must be random"):
        await world.session().receive(hello(A))
    await world.session().receive(hello(b"x" * 16))
