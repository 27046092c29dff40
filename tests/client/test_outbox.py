"""What is held is bounded by what is counted, and every row is counted once."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
import pytest
from collectord_client import CORE, Client, CollectError, Request, notices, page
from collectord_client.outbox import FULL_PAGES, WATCH_EVERY, WATCH_FOR, Outbox
from collectord_client.page import Page

from tests.client.cores import Tape
from tests.client.fakedaemon import FakeDaemon
from tests.client.test_sender import wait

MIXED = {"a": 1, "b": "text", "c": 1.5, "d": True, "e": None, "f": "x", "g": 2, "h": 3.5, "i": "y", "j": "z"}
FRAME = pd.DataFrame({"a": [1], "b": [0.5], "c": ["text"], "d": [True]})


@pytest.mark.parametrize(
    "make_row",
    [
        lambda k: np.ones((1, 10)),
        lambda k: np.ones((1, 2000)),
        lambda k: "hello",
        lambda k: [[k, "a"]],
        lambda k: MIXED | {"a": k},
        lambda k: FRAME,
        lambda k: [[None, k, "x"]] if k % 2 else [["a", k, None]],
    ],
    ids=["array", "large array", "text", "list", "dictionary", "frame", "nulls"],
)
def test_what_is_held_is_what_is_counted(make_row: Callable[[int], Any]) -> None:
    """One-row calls once held 17 times the bound."""
    limit = 1 << 20
    client = Client("m", endpoint="unix:/nowhere/c.sock", outbox_bytes=limit, page_bytes=64 << 10)
    collector = client.collector("inputs")
    row = make_row(0)
    collector.collect(row)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        k = 0
        while not client.stats()["dropped"]:
            k += 1
            collector.collect(make_row(k))
        del row
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    stats = client.stats()
    assert 0.8 * limit < stats["outbox_bytes"] <= limit
    assert held < 1.5 * limit
    assert k > 50
    client.close(0)


def test_many_small_pages_are_counted_too() -> None:
    """A page per call, as where every call is flushed, or has a schema of its own, while no daemon is there."""
    limit = 1 << 20
    client = Client("m", endpoint="unix:/nowhere/c.sock", outbox_bytes=limit)
    collectors = [client.collector(f"d{n}") for n in range(50)]
    large = np.ones((10, 128))
    for collector in collectors:
        collector.collect(np.ones((1, 1)))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(3000):
            collectors[n % 50].collect(large if n % 40 == 7 else [["x", 1]])
            if n % 50 == 49:
                client.flush(0)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert client.stats()["dropped"]["outbox_full"] > 0
    # Beside it, schemas with their names, 50 slots, and at most 16 buffers in the pool.
    assert held < 2 * limit + (16 * 256 << 10)
    client.close(0)


def test_what_close_gives_up_is_counted_here_and_there_and_told(
    make: Any, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_last", {})
    daemon.hold_acks = True
    daemon.credit = 1
    client = make(page_bytes=1024)
    collector = client.collector("inputs")
    for _ in range(100):
        collector.collect(np.ones((1, 8)))
    assert wait(lambda: len(daemon.rows) > 0)
    sent = len(daemon.rows)
    assert not client.close(0.1)
    assert "a client was closed with 100 rows unsent or unanswered" in caplog.text
    stats = client.stats()
    assert stats["dropped"] == {"closed": 100 - sent, "unconfirmed": sent}
    assert stats["waiting"] == stats["outbox_bytes"] == 0
    assert stats["lost"] == stats["collected"] == 100
    totals = {("inputs", "closed"): 100 - sent}
    assert daemon.wait(lambda: any(known.dropped == totals for known in daemon.clients.values()), 5)


def test_what_close_gives_up_without_a_daemon_is_counted(make: Any, daemon: FakeDaemon) -> None:
    daemon.stop()
    client = make()
    client.collect([[1.0], [2.0]])
    client.collect([["x"]])
    assert not client.close(0)
    stats = client.stats()
    assert (stats["waiting"], stats["dropped"], stats["lost"]) == (0, {"closed": 3}, 3)


def test_closing_one_of_two_clients_gives_up_only_its_own(make: Any, daemon: FakeDaemon) -> None:
    daemon.hold_acks, daemon.credit = True, 1
    one, other = make(page_bytes=1024), make(model="other", page_bytes=1024)
    for k in range(60):
        one.collect(np.full((1, 8), float(k)))
        other.collect(np.full((1, 8), 1000.0 + k))
    assert wait(lambda: len(daemon.rows) > 0)
    assert not one.close(0.1)
    daemon.release()
    assert other.flush(20)
    assert wait(lambda: one.stats()["waiting"] == 0)
    arrived = [row.values[0] for row in daemon.rows]
    assert sorted(value for value in arrived if value >= 1000) == [1000.0 + k for k in range(60)]
    mine = [value for value in arrived if value < 1000]
    stats = one.stats()
    assert stats["acknowledged"] == len(mine) == len(set(mine)) > 0
    assert stats["dropped"] == {"closed": 60 - len(mine)}
    assert daemon.wait(
        lambda: any(known.dropped.get(("inputs", "closed")) == 60 - len(mine) for known in daemon.clients.values()), 5
    )


@pytest.mark.parametrize("rows", [600, 20_000], ids=["fits", "larger than the outbox"])
def test_a_blocked_call_is_counted_once_whatever_close_does(make: Any, daemon: FakeDaemon, rows: int) -> None:
    """Half a call was taken, and all of it counted as closed as well."""
    daemon.hold_acks = True
    client = make(outbox="block", outbox_bytes=64 << 10, page_bytes=4096)
    client.collect(np.zeros((200, 8)))
    thread = threading.Thread(target=client.collect, args=(np.ones((rows, 8)),))
    thread.start()
    assert wait(lambda: client.stats()["outbox_bytes"] > 12_000)
    thread.join(0.2)
    assert thread.is_alive()
    client.close(0.1)
    thread.join(5)
    assert not thread.is_alive()
    stats = client.stats()
    refused = sum(stats["dropped"].values()) - stats["lost"]
    assert stats["collected"] + refused == 200 + rows
    assert stats["waiting"] == 0
    if rows == 600:
        assert refused == rows


def test_a_call_that_has_begun_is_finished_before_the_client_closes(make: Any, daemon: FakeDaemon) -> None:
    daemon.hold_acks = True
    client = make(outbox="block", outbox_bytes=64 << 10, page_bytes=4096)
    thread = threading.Thread(target=client.collect, args=(np.ones((5000, 8)),))
    thread.start()
    assert wait(lambda: client.stats()["outbox_bytes"] > 50_000)
    closing = threading.Thread(target=client.close, args=(20,))
    closing.start()
    assert wait(lambda: client.stats()["closed"])
    daemon.release()
    thread.join(20)
    closing.join(20)
    assert len(daemon.rows) == client.stats()["acknowledged"] == 5000
    assert client.stats()["dropped"] == {}


def test_only_the_rows_that_are_too_large_are_dropped(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    table = [[k, "x" * (4 << 20) if k in (0, 500, 999) else f"row {k}"] for k in range(1000)]
    context = client.collect(table, correlation_id=[f"id {k}" for k in range(1000)])
    assert client.flush(20)
    good = [k for k in range(1000) if k not in (0, 500, 999)]
    assert [row.values for row in daemon.rows] == [(k, f"row {k}") for k in good]
    assert [row.row for row in daemon.rows] == good
    assert [row.correlation for row in daemon.rows] == [f"id {k}" for k in good]
    assert client.stats()["dropped"] == {"row_too_large": 3}
    assert context.rows == 1000
    with pytest.raises(CollectError):
        make(strict=True).collect(table)


def test_flush_and_close_without_a_limit(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    client.collect([1.0])
    assert client.flush(None)
    assert client.close(None)


def test_a_second_client_knows_from_the_start_that_collecting_is_off(make: Any, daemon: FakeDaemon) -> None:
    daemon.settings(collect=False)
    first = make()
    first.collect([1.0])
    assert wait(lambda: not first.stats()["collecting"])
    second = make(model="second")
    second.collect([1.0])
    assert second.stats()["collected"] == 0


def woken(page_bytes: int, outbox_bytes: int) -> tuple[Client, Tape]:
    """A client whose sender looked once after the first page was begun."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, page_bytes=page_bytes, outbox_bytes=outbox_bytes)
    tape = client._outbox.carrier = Tape()
    client.collector("labels").collect(np.ones((1, 8)))
    assert tape.wakes == 1
    assert client._outbox.seal(0.0) is not None
    return client, tape


def test_the_sender_is_woken_once_for_several_full_pages() -> None:
    """It looks anyway before the first of them has lingered, and waking it costs a call more than all else."""
    client, tape = woken(1024, 1 << 20)
    collect = client.collector("labels").collect
    while len(tape.pages) < FULL_PAGES:
        assert tape.wakes == 1
        collect(np.ones((1, 8)))
    assert tape.wakes == 2
    # It has not looked yet, and is not woken for each of the pages that follow.
    while len(tape.pages) < 2 * FULL_PAGES - 1:
        collect(np.ones((1, 8)))
        assert tape.wakes == 2
    while len(tape.pages) < 2 * FULL_PAGES:
        collect(np.ones((1, 8)))
    assert tape.wakes == 3
    client.close(0)


def test_where_the_outbox_is_small_each_full_page_wakes_the_sender() -> None:
    client, tape = woken(16 << 10, 64 << 10)
    collect = client.collector("labels").collect
    while not tape.pages:
        assert tape.wakes == 1
        collect(np.ones((1, 8)))
    assert tape.wakes == 2
    client.close(0)


def test_a_page_that_nobody_expects_wakes_the_sender() -> None:
    """Once all pages are sealed, the sender sleeps for long."""
    client, tape = woken(1024, 1 << 20)
    assert client._outbox.seal() is None
    client.collector("labels").collect(np.ones((1, 8)))
    assert tape.wakes == 2
    client.close(0)


def test_the_sender_goes_on_looking_for_whoever_collected_lately() -> None:
    """Then a request that comes a little later does not pay for waking it."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=1.0)
    outbox, collect = client._outbox, client.collector("labels").collect
    tape = outbox.carrier = Tape()
    collect(np.ones((1, 8)))
    began = time.monotonic()
    # It has sent the page, and will be here again before a page that is begun now has lingered.
    assert outbox.seal(began) == pytest.approx(began + 1)
    assert len(tape.pages) == 1
    collect(np.ones((1, 8)))
    assert tape.wakes == 1
    opened = outbox.seal(began)
    assert opened is not None
    assert opened < began + 1
    assert outbox.seal(opened) == pytest.approx(opened + 1)
    assert len(tape.pages) == 2
    # For a while, not for ever.
    assert outbox.seal(opened + WATCH_FOR - 0.1) == pytest.approx(opened + WATCH_FOR + 0.9)
    assert outbox.seal(opened + WATCH_FOR + 0.1) is None
    collect(np.ones((1, 8)))
    assert tape.wakes == 2
    client.close(0)


def test_the_sender_is_woken_where_it_would_have_to_look_often() -> None:
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=WATCH_EVERY / 2)
    outbox, collect = client._outbox, client.collector("labels").collect
    tape = outbox.carrier = Tape()
    for wakes in (1, 2, 3):
        collect(np.ones((1, 8)))
        assert tape.wakes == wakes
        assert outbox.seal(time.monotonic()) is None
    client.close(0)


def test_a_buffer_that_is_too_small_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's values and its notes share one, and may fill it."""
    pool = [bytearray(1024), bytearray(64 << 10)]
    monkeypatch.setattr(page, "POOL", pool)
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, page_bytes=64 << 10)
    client._outbox.pool = pool
    tape = client._outbox.carrier = Tape()
    collect = client.collector("labels").collect
    for value in range(300):
        collect(np.full((1, 100), float(value)))
    client._outbox.seal()
    assert [len(bytes(one._values())) // 800 for one in tape.pages] == [one.rows for one in tape.pages]
    values = np.frombuffer(b"".join(bytes(one._values()) for one in tape.pages)).reshape(-1, 100)
    assert (values == np.arange(300.0)[:, None]).all()
    client.close(0)


@pytest.mark.parametrize("request_id", [None, "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1"])
def test_a_page_follows_a_full_one_without_losing_a_row(
    monkeypatch: pytest.MonkeyPatch, request_id: str | None
) -> None:
    """Nor its place; and where the core is compiled, no Python is asked for it."""
    begun: list[Page] = []
    begin = Outbox._begin

    def counted(outbox: Outbox, *arguments: Any) -> Page:
        begun.append(begin(outbox, *arguments))
        return begun[-1]

    monkeypatch.setattr(Outbox, "_begin", counted)
    # None of other clients' buffers, whose size is another.
    monkeypatch.setattr(page, "POOL", [])
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, page_bytes=64 << 10)
    client._outbox.pool = page.POOL
    tape = client._outbox.carrier = Tape()
    with ExitStack() as inside:
        if request_id:
            inside.enter_context(Request(request_id))
        collect = client.collector("labels").collect
        made = [collect(np.full((1, 8), float(value))) for value in range(10_000)]
    outbox = client._outbox
    assert outbox.bytes == sum(one.size + one.overhead for one in [*tape.pages, *outbox._open])
    client._outbox.seal()
    pages = tape.pages
    assert outbox.sealed == len(pages) > 10
    assert (len(begun) <= 2) is (CORE == "compiled")
    for one in pages:
        one.fold()
        assert one.size <= 64 << 10
        assert one.rows == len(one.times) == len(one.counts) == len(one.ids) // 16
        assert len(one.requests) == (16 * one.rows if request_id else 0)
        assert len(bytes(one._values())) == one.rows * 64
        assert one.opened <= time.monotonic()
    assert [one.opened for one in pages] == sorted(one.opened for one in pages)
    values = np.frombuffer(b"".join(bytes(one._values()) for one in pages)).reshape(-1, 8)[:, 0]
    assert values.tolist() == [float(value) for value in range(10_000)]
    assert b"".join(bytes(one.ids) for one in pages) == b"".join(one._id for one in made)
    assert [at for one in pages for at in one.times] == [one.time_ns for one in made]
    for one in pages:
        outbox.settle(one.rows, None, one)
    assert (outbox.bytes, outbox.settled, outbox.acknowledged) == (0, outbox.sealed, 10_000)
    client.close(0)


def test_both_ways_into_one_page_keep_the_order() -> None:
    """What goes the short way is noted behind the values, what goes the long way comes after it."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600)
    tape = client._outbox.carrier = Tape()
    collector = client.collector("labels")
    made = []
    for turn in range(400):
        one = np.full((1 + turn % 2, 8), float(turn))
        # A time of its own leads the long way.
        made.append(collector.collect(one, timestamp=client_time(made) if turn % 50 == 49 else None))
    client._outbox.seal()
    [whole] = tape.pages
    whole.fold()
    assert [bytes(whole.ids[at : at + 16]) for at in range(0, len(whole.ids), 16)] == [one._id for one in made]
    assert list(whole.times) == [one.time_ns for one in made]
    assert list(whole.counts) == [one.rows for one in made]
    values = np.frombuffer(bytes(whole._values())).reshape(-1, 8)[:, 0]
    assert values.tolist() == [float(turn) for turn in range(400) for _ in range(1 + turn % 2)]
    client.close(0)


def client_time(made: list[Any]) -> int:
    """That of the call before."""
    found: int = made[-1].time_ns
    return found
