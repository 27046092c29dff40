"""Clients that want to harm: a neighbour in order is served as if they were not there, and the memory stays bounded.

`ABUSE=10` (`make test-abuse`) sends ten times as much of most things as `make test` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from collectord._pb import collector_pb2 as pb
from tests.e2e import framedpeer, http2, landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.framed import SUFFIX
from tests.e2e.http2 import Peer
from tests.e2e.neighbour import Neighbour
from tests.e2e.process import Daemon
from tests.e2e.producers import Producers
from tests.e2e.waiting import eventually

TIMES = int(os.environ.get("ABUSE", "1"))
BUDGET_MIB = 256
MESSAGE = 4 << 20
EXHAUSTED, BROKEN, TAKEN_OVER = 8, 3, 10


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Daemon:
    """With its usual limits, and files enough in this process to harm it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return make_daemon().start()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


both_doors = pytest.mark.parametrize("kind", [Peer, framedpeer.Peer], ids=["grpc", "framed"])
"""With HTTP/2 and without."""


@contextlib.asynccontextmanager
async def peers(
    daemon: Daemon, number: int, kind: type[Peer] | None = None, *, reads: bool = True
) -> AsyncIterator[list[Peer]]:
    """So many connections, each with a stream on which nothing was said yet; of one kind, or of both by turns."""
    made: list[Peer] = []
    try:
        for at in range(number):
            door = kind or (Peer, framedpeer.Peer)[at % 2]
            made.append(await door.connect(str(daemon.socket), reads=reads))
        yield made
    finally:
        await asyncio.gather(*(one.close() for one in made))


def count(daemon: Daemon, name: str) -> float:
    return daemon.metrics().get(f"collectord_{name}", 0.0)


def refused(daemon: Daemon, reason: str) -> float:
    return count(daemon, f'streams_refused_total{{reason="{reason}"}}')


def files(daemon: Daemon) -> int:
    assert daemon.process is not None
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


def bad(sequence: int, schema: bytes) -> pb.Batch:
    """A batch that is rejected, for its time."""
    return wire.batch(sequence, schema, [1], 0)


# ---------------------------------------------------------------- slow, and deaf


def test_whoever_does_not_say_hello_in_time_is_cut_off(daemon: Daemon) -> None:
    """Sockets that say nothing, streams that say nothing, streams that say Hello byte by byte: after 10 s each is ended
    with a reason, its descriptor is free again, and it is counted."""
    number = 30 * TIMES
    with Neighbour(daemon) as neighbour:
        before = files(daemon)

        async def scenario() -> None:
            mute = []
            for at in range(number):
                made = socket.socket(socket.AF_UNIX)
                made.setblocking(False)
                await asyncio.get_running_loop().sock_connect(made, str(daemon.socket) + at % 2 * SUFFIX)
                mute.append(made)
            async with peers(daemon, 2 * number) as streams:
                dripping = [asyncio.create_task(_drip(one, http2.hello())) for one in streams[:number]]
                await asyncio.wait_for(asyncio.gather(*(one.over.wait() for one in streams)), 20)
                assert {one.status for one in streams} == {BROKEN}
                await asyncio.gather(*dripping)
                for one in mute:
                    # Whatever it says first, HTTP/2's own greeting or nothing, the end comes.
                    while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 4096), 20):
                        pass
            for one in mute:
                one.close()

        run(scenario)
        eventually(lambda: files(daemon) <= before + 5, "the descriptors are free")
        assert refused(daemon, "protocol") == 2 * number + number // 2
        assert count(daemon, "sessions") == 1
    neighbour.check(most_mib=BUDGET_MIB)


async def _drip(peer: Peer, data: bytes) -> None:
    for at in range(len(data)):
        if not await peer.send(data[at : at + 1]):
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(peer.over.wait(), 0.5)


def test_streams_that_never_read_are_not_read_from(daemon: Daemon) -> None:
    """Each would be told of thousands of rejects. What it does not read costs at most a hundred of them; then nothing more
    is taken from it, and when it has gone nothing is left of it."""
    number = 30 * TIMES
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            async with peers(daemon, number, reads=False) as deaf:

                async def shout(peer: Peer, model: str) -> None:
                    schema = wire.schema(model)
                    await peer.send(http2.hello() + http2.declare(schema))
                    for sequence in range(1, 20_000):
                        await peer.send(http2.batch(bad(sequence, schema)))

                shouting = [asyncio.create_task(shout(one, f"deaf{at}")) for at, one in enumerate(deaf)]
                await _until_still(deaf)
                assert not any(one.over.is_set() for one in deaf), Counter(one.status for one in deaf)
                assert count(daemon, "sessions") == number + 1
                for one in shouting:
                    one.cancel()
                await asyncio.gather(*shouting, return_exceptions=True)

        run(scenario)
        eventually(lambda: count(daemon, "sessions") == 1, "they have gone")
    neighbour.check(most_mib=BUDGET_MIB + 20 * TIMES)


async def _until_still(peers: list[Peer]) -> None:
    """Until the daemon takes nothing more from any of them."""
    still = 0
    sent = -1
    while still < 10:
        now = sum(one.sent for one in peers)
        still = still + 1 if now == sent else 0
        sent = now
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.1)


# ---------------------------------------------------------------- many


@both_doors
def test_a_thousand_connections_at_once_are_served(daemon: Daemon, kind: type[Peer]) -> None:
    """Each has its batch acknowledged; when they have gone, their descriptors are free again."""
    # One service alone may have 80 % of the 2,048 clients that the memory budget has for.
    number = 1000 if TIMES == 1 else 1600
    with Neighbour(daemon) as neighbour:
        before = files(daemon)

        async def scenario() -> None:
            schema = wire.schema("crowd")
            async with peers(daemon, number, kind) as crowd:

                async def once(at: int, peer: Peer) -> None:
                    made = wire.batch(1, schema, [at], time.time_ns())
                    await peer.send(http2.hello() + http2.declare(schema) + http2.batch(made))
                    await peer.acknowledged(1)

                await asyncio.gather(*(once(at, one) for at, one in enumerate(crowd)))
                assert count(daemon, "sessions") == number + 1

        run(scenario)
        eventually(lambda: files(daemon) <= before + 5, "the descriptors are free")
    neighbour.check(most_mib=BUDGET_MIB if TIMES == 1 else 2 * BUDGET_MIB)
    found = landed.rows(landed.directory(daemon.folder / "store"), "/crowd/")
    assert Counter(int(row["n"]) for row in found) == Counter(range(number))


@both_doors
def test_more_clients_than_allowed_are_told_so_and_more_connections_find_the_door_closed(
    make_daemon: MakeDaemon, kind: type[Peer]
) -> None:
    """With `max_clients` there, 64 more get RESOURCE_EXHAUSTED and a sentence; connections beyond those are hung up on, so
    that the daemon's own files always find a descriptor. A place is free as soon as somebody leaves."""
    daemon = make_daemon(max_clients=20, tenant_share=1).start()
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            async with peers(daemon, 19, kind) as inside:
                await asyncio.gather(*(one.send(http2.hello()) for one in inside))
                await asyncio.gather(*(_welcomed(one) for one in inside))
                async with peers(daemon, 40, kind) as outside:
                    await asyncio.gather(*(asyncio.wait_for(one.over.wait(), 10) for one in outside))
                    assert {one.status for one in outside} == {EXHAUSTED}
                    assert refused(daemon, "limit") == 40
                    async with peers(daemon, 200, kind) as beyond:
                        await asyncio.gather(*(asyncio.wait_for(one.over.wait(), 10) for one in beyond))
                        assert sum(one.status == -1 for one in beyond) >= 150, "without a word"
                        assert files(daemon) < 20 + 64 + 60

            async def place() -> bool:
                async with peers(daemon, 1, kind) as one:
                    await one[0].send(http2.hello())
                    return await _welcomed(one[0])

            for _ in range(100):
                if await place():
                    return
            raise AssertionError("no place became free")

        run(scenario)
    neighbour.check(most_mib=BUDGET_MIB)


def test_whoever_stays_behind_the_end_of_his_stream_takes_no_descriptors(make_daemon: MakeDaemon) -> None:
    """Without HTTP/2 the daemon lets a client hear why its stream has ended. Those that send rubbish and stay are as many as
    connections are allowed, not more, and a place is free as soon as they have gone."""
    daemon = make_daemon(max_clients=20, tenant_share=1).start()
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            before = files(daemon)
            async with peers(daemon, 300 * TIMES, framedpeer.Peer) as rude:
                await asyncio.gather(*(one.send(b"rubbish") for one in rude))
                await asyncio.gather(*(asyncio.wait_for(one.over.wait(), 10) for one in rude))
                assert BROKEN in {one.status for one in rude} <= {BROKEN, EXHAUSTED, -1}
                assert files(daemon) <= before + 20 + 64
            await asyncio.to_thread(eventually, lambda: files(daemon) <= before + 5, "their descriptors are free")
            async with peers(daemon, 1, framedpeer.Peer) as (one,):
                await one.send(http2.hello())
                assert await _welcomed(one)

        run(scenario)
    neighbour.check(most_mib=BUDGET_MIB)


async def _welcomed(peer: Peer) -> bool:
    async def wait() -> bool:
        while not peer.heard and not peer.over.is_set():
            await asyncio.sleep(0)
        return bool(peer.heard)

    return await asyncio.wait_for(wait(), 10)


@pytest.mark.parametrize("suffix", ["", SUFFIX], ids=["grpc", "framed"])
def test_without_a_descriptor_left_the_daemon_goes_on_and_recovers(make_daemon: MakeDaemon, suffix: str) -> None:
    """The limit of open files is lowered below what is in use, and connections come: those that are there go on, nobody else
    gets in, and once there are descriptors again everything is as before."""
    daemon = make_daemon().start()
    with Neighbour(daemon) as neighbour:
        assert daemon.process is not None
        pid = daemon.process.pid
        old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files(daemon) + 10, old[1]))
        made = []
        try:
            for _ in range(60):
                door = socket.socket(socket.AF_UNIX)
                made.append(door)
                door.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    door.connect(str(daemon.socket) + suffix)
            neighbour.goes_on(100)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
            for door in made:
                door.close()
        for framed in (False, True):
            with wire.WireClient(daemon.endpoint, framed=framed) as client:
                client.declare(neighbour.schema)
                client.send(wire.schema("later"), [1], time.time_ns())
                client.wait_acknowledged()
    neighbour.check(most_mib=BUDGET_MIB)


def test_thousands_of_short_lived_clients_leave_next_to_nothing(daemon: Daemon) -> None:
    """Half of them store a row and are remembered, the others only say Hello and are not. (100,000 of them, in the process:
    `tests/ingest/test_marks.py`.)"""
    number = 2000 * TIMES
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            schema = wire.schema("fleeting")
            limit = asyncio.Semaphore(20)

            async def live(at: int) -> None:
                async with limit, peers(daemon, 1) as (peer,):
                    await peer.send(http2.hello())
                    if at % 2:
                        made = wire.batch(1, schema, [at], time.time_ns())
                        await peer.send(http2.declare(schema) + http2.batch(made))
                        await peer.acknowledged(1)
                    else:
                        assert await _welcomed(peer)

            await asyncio.gather(*(live(at) for at in range(number)))

        run(scenario)
        eventually(lambda: count(daemon, "sessions") == 1, "they have gone")
        eventually(
            lambda: count(daemon, "remembered_sessions") == number // 2 + 1,
            "those that stored something are remembered",
        )
    neighbour.check(most_mib=BUDGET_MIB)
    found = landed.rows(landed.directory(daemon.folder / "store"), "/fleeting/")
    assert Counter(int(row["n"]) for row in found) == Counter(range(1, number, 2))


# ---------------------------------------------------------------- large


@pytest.mark.parametrize(
    ("kind", "sent"),
    [(Peer, MESSAGE - 100), (framedpeer.Peer, MESSAGE - 1), (framedpeer.Peer, 0)],
    ids=["grpc", "framed", "announced"],
)
def test_messages_that_never_become_whole_do_not_fill_the_memory(daemon: Daemon, kind: type[Peer], sent: int) -> None:
    """Each stream declares 4 MiB and stops short of them. gRPC would gather all of it, and without HTTP/2 there is some room
    for what is only announced: the streams that have been silent for longest are ended with RESOURCE_EXHAUSTED before it is
    too much."""
    number, left = (150 * TIMES, 64) if sent else (600 * min(TIMES, 2), 250)
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            async with peers(daemon, number, kind) as torn:

                async def stop_short(peer: Peer) -> None:
                    await peer.send(http2.message(b"\x1a" + b"x" * MESSAGE, declared=MESSAGE)[: 5 + sent])

                await asyncio.gather(*(one.send(http2.hello()) for one in torn))
                await asyncio.gather(*(asyncio.wait_for(stop_short(one), 60) for one in torn))
                enough = lambda: refused(daemon, "memory") >= number - left  # noqa: E731
                await asyncio.to_thread(eventually, enough, "what is left holds less than what is allowed")
                await asyncio.gather(*(asyncio.wait_for(one.over.wait(), 10) for one in torn if one.status >= 0))
                assert {one.status for one in torn if one.over.is_set()} == {EXHAUSTED}

        run(scenario)
        eventually(lambda: count(daemon, "sessions") == 1, "they have gone")
    neighbour.check(most_mib=BUDGET_MIB + 128)


@pytest.mark.parametrize("declared", [MESSAGE + 1, 1 << 31, (1 << 32) - 1])
def test_a_message_that_declares_too_much_is_refused_before_it_comes(daemon: Daemon, declared: int) -> None:
    """RESOURCE_EXHAUSTED with its first byte, without HTTP/2 INVALID_ARGUMENT, on as many streams as one likes."""
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            async with peers(daemon, 100) as liars:

                async def lie(peer: Peer) -> None:
                    await peer.send(http2.hello() + http2.message(b"\x1a", declared=declared))
                    await asyncio.wait_for(peer.over.wait(), 10)
                    assert peer.status == (BROKEN if isinstance(peer, framedpeer.Peer) else EXHAUSTED)

                await asyncio.gather(*(lie(one) for one in liars))

        run(scenario)
    neighbour.check(most_mib=BUDGET_MIB)


def test_a_flood_of_schemas_is_bounded_per_client_and_for_all(daemon: Daemon) -> None:
    """One stream gets a thousand schemas, then `too_many_schemas`. Many that together declare more than 32 MiB of them lose
    those with the most, and a client that comes with a little is never among them."""
    with Neighbour(daemon) as neighbour:
        with wire.WireClient(daemon.endpoint) as greedy:
            for at in range(1100):
                greedy.declare(wire.schema(f"flood{at % 50}", columns=[f"c{at}"]))
                greedy.send(wire.schema(f"flood{at % 50}", columns=[f"c{at}"]), [at], time.time_ns())
            greedy.wait_acknowledged()
            assert Counter(greedy.rejected.values()) == {"too_many_schemas": 100}
            assert not greedy.ended

        async def scenario() -> None:
            async with peers(daemon, 12) as wide:

                async def declare(at: int, peer: Peer) -> None:
                    await peer.send(http2.hello())
                    for one in range(4):
                        columns = [f"{at}-{one}-{column}" for column in range(9000)]
                        await peer.send(http2.declare(wire.schema("wide", columns=columns)))

                await asyncio.gather(*(declare(at, one) for at, one in enumerate(wide)))
                await asyncio.to_thread(eventually, lambda: refused(daemon, "limit") >= 4, "the largest are ended")
                assert count(daemon, "schema_bytes") <= 32 << 20
                assert 4 <= sum(one.status == EXHAUSTED for one in wide) < 12

        run(scenario)
        eventually(lambda: count(daemon, "schema_bytes") < 10_000, "only the neighbour's schema is left")
    neighbour.check(most_mib=BUDGET_MIB)


def test_a_flood_of_streams_opens_no_more_than_allowed(make_daemon: MakeDaemon) -> None:
    """Thousands of streams at once, from several clients: no more than `max_streams` are open at any time, the others are
    rejected as `too_many_streams`; what is acknowledged lands."""
    most, number = 200 * TIMES, 500 * TIMES
    daemon = make_daemon(max_streams=most, tenant_share=1, flush_interval=3600).start()
    with Neighbour(daemon) as neighbour:
        clients = [wire.WireClient(daemon.endpoint).connect() for _ in range(2)]
        for at in range(number):
            for who, client in enumerate(clients):
                schema = wire.schema(f"s{who}-{at}")
                client.declare(schema)
                client.send(schema, [at], time.time_ns())
        for client in clients:
            client.wait_acknowledged(timeout=60)
            assert not client.ended
        rejected = Counter(reason for client in clients for reason in client.rejected.values())
        if TIMES == 1:
            assert rejected == {"too_many_streams": 2 * number - (most - 1)}, "not one more, not one less"
        assert count(daemon, "open_partitions") == most
        for client in clients:
            client.close()
    neighbour.check(most_mib=BUDGET_MIB)
    received = sum(book.received for stream, book in daemon.books().items() if "/neighbour/" not in stream)
    assert received == most - 1
    assert count(daemon, "open_partitions") == 0


# ---------------------------------------------------------------- out of order, and two at once


def test_numbers_replayed_and_shuffled_are_kept_once_and_in_order(daemon: Daemon) -> None:
    """Several clients send each of their batches again and again, in any order, over several connections."""
    batches = 60
    with Neighbour(daemon) as neighbour:
        chance = random.Random(5)
        schema = wire.schema("shuffled")
        for who in range(4):
            client = wire.WireClient(daemon.endpoint).connect()
            client.declare(schema)
            client.sent = batches
            made = [
                wire.batch(at, schema, range(who * 1000 + at * 10, who * 1000 + at * 10 + 5), time.time_ns())
                for at in range(1, batches + 1)
            ]
            while client.acknowledged < batches:
                for _ in range(50):
                    one = chance.choice(made[: client.acknowledged + 10])
                    client.raw(pb.ClientMessage(batch=one).SerializeToString())
                following = made[client.acknowledged : client.acknowledged + 1]
                for one in following:
                    client.raw(pb.ClientMessage(batch=one).SerializeToString())
                    client.wait_acknowledged(one.sequence)
                if chance.randrange(5) == 0:
                    client.connect()
            assert not client.rejected
            client.close()
    neighbour.check(most_mib=BUDGET_MIB)
    found = landed.rows(landed.directory(daemon.folder / "store"), "/shuffled/")
    expected = {who * 1000 + at * 10 + n for who in range(4) for at in range(1, batches + 1) for n in range(5)}
    assert Counter(int(row["n"]) for row in found) == Counter(expected)


def test_of_two_living_clients_with_one_id_the_later_has_the_stream_and_each_number_is_kept_once(
    daemon: Daemon,
) -> None:
    """They take it from each other as often as they connect. Whoever sends a number first has its rows kept; the other's
    rows of that number count as a repeat and are acknowledged."""
    turns = 20 * TIMES
    with Neighbour(daemon) as neighbour:

        async def scenario() -> None:
            client_id = os.urandom(16)
            schema = wire.schema("twins")
            async with peers(daemon, turns) as streams:
                for turn, one in enumerate(streams):
                    await one.send(http2.hello(client_id) + http2.declare(schema))
                    assert await _welcomed(one)
                    following = one.heard[0].welcome.next_sequence
                    assert following == 3 * turn + 1
                    if turn:
                        before = streams[turn - 1]
                        await asyncio.wait_for(before.over.wait(), 10)
                        assert before.status == TAKEN_OVER
                        # What the other one has sent under this number stands.
                        repeat = wire.batch(following - 1, schema, [10_000 + turn], time.time_ns())
                        await one.send(http2.batch(repeat))
                    for number in range(following, following + 3):
                        await one.send(http2.batch(wire.batch(number, schema, [number], time.time_ns())))
                    await one.acknowledged(following + 2)

        run(scenario)
        assert refused(daemon, "taken_over") == turns - 1
        assert count(daemon, "records_repeated_total") == turns - 1
    neighbour.check(most_mib=BUDGET_MIB)
    found = landed.rows(landed.directory(daemon.folder / "store"), "/twins/")
    assert [int(row["n"]) for row in found] == list(range(1, 3 * turns + 1))


# ---------------------------------------------------------------- noisy


@both_doors
def test_forty_quiet_clients_are_served_as_promptly_beside_a_noisy_one(daemon: Daemon, kind: type[Peer]) -> None:
    """The noisy one sends 4 MiB messages as fast as the socket takes them, whatever its credit. It never holds more than one
    message or its credit of the daemon's budget, and the quiet ones hardly wait longer than without it."""
    batches = 20 * min(TIMES, 5)
    with Neighbour(daemon) as neighbour:
        most = 0.0

        async def scenario() -> None:
            nonlocal most
            async with peers(daemon, 40) as quiet, peers(daemon, 1, kind) as (noisy,):
                schema = wire.schema("quiet")
                await asyncio.gather(*(one.send(http2.hello() + http2.declare(schema)) for one in quiet))
                sent = Counter[int]()

                async def round_of(waits: list[float]) -> None:
                    async def one(at: int, peer: Peer) -> None:
                        for _ in range(batches):
                            sent[at] += 1
                            began = time.monotonic()
                            number = at * 10_000 + sent[at]
                            await peer.send(http2.batch(wire.batch(sent[at], schema, [number], time.time_ns())))
                            await peer.acknowledged(sent[at])
                            waits.append(time.monotonic() - began)

                    await asyncio.gather(*(one(at, peer) for at, peer in enumerate(quiet)))

                alone: list[float] = []
                beside: list[float] = []
                await round_of(alone)
                shouting = asyncio.create_task(_shout(noisy))
                watching = asyncio.create_task(asyncio.to_thread(_watch, daemon, lambda: shouting.done()))
                await round_of(beside)
                assert not shouting.done(), "it was there all the time"
                # How often depends on how soon the disk has a message, compared with how long the next one takes to come.
                had_to_wait = lambda: count(daemon, 'credit_waits_total{cause="client"}') > 0  # noqa: E731
                await asyncio.to_thread(eventually, had_to_wait, "the noisy one has to wait for its credit")
                shouting.cancel()
                await asyncio.gather(shouting, return_exceptions=True)
                most = await watching
                a, b = sorted(alone)[len(alone) // 2], sorted(beside)[len(beside) // 2]
                print(f"quiet ones wait {a * 1e3:.1f} ms alone, {b * 1e3:.1f} ms beside {noisy.sent >> 20} MiB of noise; "
                      f"slowest {max(alone) * 1e3:.0f}, {max(beside) * 1e3:.0f} ms; at most {most / 2**20:.1f} MiB under way")  # fmt: skip
                assert b < 10 * a + 0.5
                assert max(beside) < 15

        run(scenario)
        assert most < MESSAGE + (1 << 20), "of a budget of 64 MiB"
        assert count(daemon, 'credit_waits_total{cause="daemon"}') == 0
    neighbour.check(most_mib=BUDGET_MIB + 64)


async def _shout(peer: Peer) -> None:
    schema = wire.schema("noisy", columns=[f"c{at}" for at in range(40)])
    await peer.send(http2.hello() + http2.declare(schema))
    made = wire.batch(1, schema, range(10_000), time.time_ns(), columns=40)
    for sequence in range(1, 1_000_000):
        made.sequence = sequence
        await peer.send(http2.batch(made))


def _watch(daemon: Daemon, done: Callable[[], bool]) -> float:
    """The most that was under way at any look."""
    most = 0.0
    while not done():
        most = max(most, count(daemon, "unacknowledged_bytes"))
    return most


# ---------------------------------------------------------------- no abuse: people who deploy


def test_rolling_restarts_under_load_show_the_clients_no_error_and_lose_nothing(make_daemon: MakeDaemon) -> None:
    """Several scoring processes collect all the time with the client of ours, while the daemon is stopped in order and
    started again, on the same spool: not one call fails, nothing is dropped or rejected, and each row lands once."""
    daemon = make_daemon(flush_interval=0.2).start()
    with Producers(daemon.endpoint, 3) as producers:
        for number in range(3 * TIMES):
            _received_more(daemon, 500)
            _everybody_sends(daemon, 3)
            assert daemon.terminate() == 0
            assert daemon.events("stopped")[-1]["complete"] is True, number
            daemon.start()
        _received_more(daemon, 500)
        _everybody_sends(daemon, 3)
        stats = producers.finish()
    assert all(one["reconnects"] for one in stats), stats
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    producers.check(landed.rows(blobs, "/inputs/"), landed.rows(blobs, "/predictions/"))
    producers.check_books(daemon)
    assert "Traceback" not in daemon.said()


def _everybody_sends(daemon: Daemon, clients: int) -> None:
    """Else one that starts slowly may meet its first daemon after the last restart: what the others held comes in at once."""
    eventually(lambda: sum(one["rows"] > 0 for one in daemon.status()["clients"]) == clients, "every client sends")


def _received_more(daemon: Daemon, rows: int) -> None:
    target = count(daemon, "records_received_total") + rows
    eventually(lambda: count(daemon, "records_received_total") >= target, "rows come in")
