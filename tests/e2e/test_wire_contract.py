"""The daemon of the client's tests keeps the contract as the real one does: one suite for both, over real gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectord._pb import collector_pb2 as pb
from tests.client.fakedaemon import FakeDaemon
from tests.e2e.conftest import MakeDaemon
from tests.e2e.waiting import eventually
from tests.e2e.wire import WireClient, batch, schema

SCHEMA = schema()


@dataclass
class Wire:
    """A daemon that takes in and answers, real or not."""

    endpoint: str
    stored: Callable[[], int]
    """Rows that it has taken in, repeats not counted."""
    dropped: Callable[[], int]
    """Rows that clients say they have dropped themselves, for `outbox_full`."""
    again: Callable[[], object]
    """It is killed and comes back."""


@pytest.fixture(params=["real", "fake"])
def wire(request: pytest.FixtureRequest, folder: Path) -> Iterator[Wire]:
    if request.param == "real":
        make: MakeDaemon = request.getfixturevalue("make_daemon")
        daemon = make().start()

        def killed() -> None:
            daemon.kill9()
            daemon.start()

        yield Wire(
            daemon.endpoint,
            lambda: sum(book.received for book in daemon.books().values()),
            lambda: sum(book.dropped_by_clients["outbox_full"] for book in daemon.books().values()),
            killed,
        )
        return
    fake = FakeDaemon(f"unix:{folder / 'fake.sock'}")

    def stopped() -> None:
        fake.stop()
        fake.start()

    yield Wire(
        fake.endpoint,
        lambda: len(fake.rows),
        lambda: sum(client.dropped.get(("inputs", "outbox_full"), 0) for client in fake.clients.values()),
        stopped,
    )
    fake.stop()
    assert not fake.protocol_errors


def welcome(client: WireClient) -> pb.Welcome:
    assert client.welcome is not None
    return client.welcome


def store(client: WireClient, batches: int, rows: int = 2) -> None:
    """Sends so many batches, and waits until they are acknowledged."""
    client.declare(SCHEMA)
    for _ in range(batches):
        client.send(SCHEMA, range(rows), time.time_ns())
    client.wait_acknowledged()


def repeat(client: WireClient, sequence: int, numbers: range) -> None:
    """Sends a batch under a number of one's own choice."""
    client.raw(pb.ClientMessage(batch=batch(sequence, SCHEMA, numbers, time.time_ns())).SerializeToString())


def test_a_new_client_is_welcomed_at_one_with_credit_and_a_limit(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        said = welcome(client)
        assert said.next_sequence == 1
        assert said.spool_id
        assert said.credit_bytes >= 1 << 16
        assert said.max_message_bytes >= 1 << 16
        assert said.settings.collect


def test_what_is_sent_in_order_is_acknowledged_in_order_and_stored_once(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        client.declare(SCHEMA)
        for number in range(20):
            client.send(SCHEMA, range(number * 5, number * 5 + 5), time.time_ns())
        client.wait_acknowledged()
        assert (client.acknowledged, client.resumes, client.rejected) == (20, [], {})
    assert wire.stored() == 100


def test_a_client_that_comes_back_is_told_how_far_it_has_come(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        store(client, 3)
        before = welcome(client).spool_id
        client.connect()
        assert (welcome(client).next_sequence, welcome(client).spool_id) == (4, before)


def test_marks_and_spool_outlive_the_daemon(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        store(client, 3)
        before = welcome(client).spool_id
        wire.again()
        client.connect()
        assert (welcome(client).next_sequence, welcome(client).spool_id) == (4, before)
        client.send(SCHEMA, range(2), time.time_ns())
        client.wait_acknowledged()
    assert wire.stored() == 8


def test_clients_are_counted_apart(wire: Wire) -> None:
    with WireClient(wire.endpoint) as one, WireClient(wire.endpoint) as other:
        for client, batches in ((one, 3), (other, 1)):
            store(client, batches)
        for client, following in ((one, 4), (other, 2)):
            client.connect()
            assert welcome(client).next_sequence == following


def test_a_repeat_is_acknowledged_and_not_stored_again(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        store(client, 3, 10)
        client.acknowledged = 0
        repeat(client, 2, range(10))
        eventually(lambda: client.acknowledged == 3, "the mark is told again")
        client.send(SCHEMA, range(10), time.time_ns())
        client.wait_acknowledged()
    assert wire.stored() == 40


def test_a_gap_is_answered_with_where_to_go_on_and_stores_nothing(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        store(client, 1, 10)
        repeat(client, 5, range(10))
        eventually(lambda: client.resumes, "the daemon says where to go on")
        assert client.resumes == [2]
        client.send(SCHEMA, range(10), time.time_ns())
        client.wait_acknowledged()
        assert (client.sent, client.acknowledged) == (2, 2)
    assert wire.stored() == 20


def test_dropped_rows_are_totals_and_replace_what_was_told_before(wire: Wire) -> None:
    stream = pb.Stream(model="wire", designation="inputs")
    with WireClient(wire.endpoint) as client:
        client.declare(SCHEMA)
        client.send(SCHEMA, range(10), time.time_ns())
        for rows in (5, 12, 12):
            counts = [pb.DropCount(stream=stream, reason="outbox_full", rows=rows)]
            client.raw(pb.ClientMessage(dropped=pb.Dropped(counts=counts)).SerializeToString())
        client.send(SCHEMA, range(10), time.time_ns())
        client.wait_acknowledged()
    eventually(lambda: wire.dropped() == 12, "the total of the last report stands in the books")
    assert wire.stored() == 20


def test_two_streams_share_a_connection_and_its_numbers(wire: Wire) -> None:
    with WireClient(wire.endpoint) as client:
        both = [schema(), schema(designation="predictions", columns=("a", "b"))]
        for known in both:
            client.declare(known)
        for turn in range(6):
            client.send(both[turn % 2], range(4), time.time_ns(), 1 + turn % 2)
        client.wait_acknowledged()
        assert not client.rejected
    assert wire.stored() == 24
