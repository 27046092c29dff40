"""The door on a real socket: what a hostile or unlucky client gets, and that everybody else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Sized
from pathlib import Path

import grpc
import grpc.aio
import pytest

from collectord._pb import collector_pb2 as pb
from collectord.address import FRAMED
from collectord.errors import SpoolFull
from collectord.ingest import reception
from collectord.ingest.admission import FIRST_CREDIT
from collectord.ingest.framed import FRAME, MESSAGE, FramedServer
from collectord.ingest.gate import MAX_MESSAGE_BYTES
from collectord.ingest.pressure import CALM_SECONDS, HARMLESS, LOOK_SECONDS, Pressure
from collectord.ingest.reception import SPARE_DESCRIPTORS, Reception, connections_of, most_connections
from collectord.ingest.service import CollectorService, server_options
from collectord.ingest.session import MAX_UNREAD_REJECTS, Session
from collectord.ingest.stall import STALL_SECONDS
from collectord.model import EntryKind
from tests.ingest.fakes import CLIENT, SCHEMA, World, bad, brief, declare, hello, send, turn
from tests.ingest.framedcall import FramedCall
from tests.ingest.streams import OTHER_CLIENT, WITHIN, Call, Clients, hear, until

BATCH, REJECT = EntryKind.BATCH, EntryKind.REJECT


class Door(Clients):
    """A server on a unix socket, and streams to it."""

    framed = False
    """Whether they come over the socket without HTTP/2."""

    def __init__(self, world: World, address: str) -> None:
        super().__init__(world)
        self._address = address
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[FramedCall] = []

    def call(self) -> Call:
        """A stream on a connection of its own, as every process has."""
        if self.framed:
            self._calls.append(FramedCall(self._address.removeprefix("unix:") + FRAMED))
            return self._calls[-1]
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.http2.bdp_probe", 0),
        ]
        channel = grpc.aio.insecure_channel(self._address, options=options)
        self._channels.append(channel)
        return channel.stream_stream("/collectord.v1.Collector/Collect")()

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        for channel in self._channels:
            await channel.close()

    async def greeted(self, client: bytes = CLIENT) -> Call:
        call = self.call()
        for raw in (hello(client), declare(SCHEMA)):
            await call.write(raw)
        assert (await hear(call)).startswith("welcome")
        return call


@pytest.fixture(params=["grpc", "framed"], autouse=True)
def carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the streams of a test come over: whatever holds for one holds for the other."""
    monkeypatch.setattr(Door, "framed", request.param == "framed")
    return str(request.param)


async def rest(call: Call) -> list[str]:
    """What the server still says."""
    heard = []
    while (raw := await asyncio.wait_for(call.read(), WITHIN)) is not grpc.aio.EOF:
        heard.append(brief(pb.ServerMessage.FromString(raw)))
    return heard


async def ended(call: Call) -> grpc.StatusCode:
    """The status with which the server ends the stream."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await rest(call)  # gRPC tells the status behind the last message
    status: grpc.StatusCode = await asyncio.wait_for(call.code(), WITHIN)
    return status


@contextlib.asynccontextmanager
async def door(
    path: Path,
    *,
    max_clients: int = 10,
    hello_seconds: float = 30.0,
    eager: bool = True,
    pressure: Pressure | None = None,
    reachable: bool = False,
) -> AsyncIterator[Door]:
    world = World(eager=eager)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    reception = Reception(world.gate, max_clients, hello_seconds, pressure, reachable=reachable)
    server.add_generic_rpc_handlers((CollectorService(reception).handler(),))
    framed = FramedServer(reception, most_connections=100)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path / f"s{FRAMED}"))
    await framed.start(bound)
    server.add_insecure_port(f"unix:{path / 's'}")
    await server.start()
    there = Door(world, f"unix:{path / 's'}")
    try:
        yield there
    finally:
        await there.close()
        await framed.stop(None)
        await server.stop(None)
    await turn()
    assert not world.gate.sessions
    world.at_rest()


def unread(world: World) -> list[Sized]:
    """Per session the rejections that its client has not been told of."""
    return [session._rejects for session in world.gate.sessions if isinstance(session, Session)]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_batches_are_acknowledged_over_the_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = await there.greeted()
            for sequence in range(1, 51):
                await call.write(send(sequence, rows=10))
            await call.done_writing()
            heard = await rest(call)
            assert heard[-1] == "ack 50"
            assert await ended(call) is grpc.StatusCode.OK
            assert there.world.log.stored() == [(BATCH, sequence) for sequence in range(1, 51)]

    run(scenario)


def test_a_half_closed_stream_still_gets_the_acks_of_a_slow_log(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path, eager=False) as there:
            call = await there.greeted()
            await call.write(send(1))
            await call.done_writing()
            await until(lambda: bool(there.world.log.queue))
            there.world.log.commit()
            assert await hear(call) == "ack 1"
            assert await ended(call) is grpc.StatusCode.OK

    run(scenario)


@pytest.mark.parametrize(
    ("messages", "what"),
    [
        ([send(1)], "first message must be Hello"),
        ([hello(b"short")], "must have 16"),
        ([hello(), hello()], "second Hello"),
        ([hello(), b""], "empty"),
        ([hello(), b"\xff" * 50], "torn"),
        ([hello(), b"GET / HTTP/1.1\r\n\r\n"], "ClientMessage"),
        ([hello(), send(1)[:-3]], "cut"),
    ],
)
def test_a_malformed_message_ends_that_stream_with_a_clear_word_and_no_other(
    tmp_path: Path, messages: Sequence[bytes], what: str
) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            neighbour = await there.greeted(b"a neighbour.....")
            call = there.call()
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                for raw in messages:
                    await call.write(raw)
            assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT
            assert what in await call.details()
            assert there.world.counted("collectord_streams_refused_total", reason="protocol") == 1
            await neighbour.write(send(1))
            assert await hear(neighbour) == "ack 1"
            neighbour.cancel()
            await there.works()

    run(scenario)


def test_random_bytes_on_the_socket_itself_stop_nobody(tmp_path: Path) -> None:
    """Something that does not even speak HTTP/2."""

    async def scenario() -> None:
        async with door(tmp_path) as there:
            reader, writer = await asyncio.open_unix_connection(tmp_path / ("s" + FRAMED if there.framed else "s"))
            writer.write(bytes(range(256)) * 200)
            with contextlib.suppress(OSError):
                await writer.drain()
                await asyncio.wait_for(reader.read(), WITHIN)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await there.works()

    run(scenario)


def test_a_message_over_4_mib_ends_that_stream(tmp_path: Path, carrier: str) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = await there.greeted()
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await call.write(send(1, rows=(MAX_MESSAGE_BYTES // 28) + 1))
            status = {"grpc": grpc.StatusCode.RESOURCE_EXHAUSTED, "framed": grpc.StatusCode.INVALID_ARGUMENT}
            assert await ended(call) is status[carrier]
            assert not there.world.log.entries
            await there.works()

    run(scenario)


def test_a_message_of_just_4_mib_is_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = await there.greeted()
            raw = send(1, rows=(MAX_MESSAGE_BYTES - 100) // 28)
            assert MAX_MESSAGE_BYTES - 128 < len(raw) <= MAX_MESSAGE_BYTES
            await call.write(raw)
            assert await hear(call) == "ack 1"
            await call.done_writing()
            assert await ended(call) is grpc.StatusCode.OK

    run(scenario)


def test_one_more_client_than_allowed_is_told_to_come_back_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path, max_clients=1) as there:
            call = await there.greeted()
            refused = there.call()
            assert await ended(refused) is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "max_clients" in await refused.details()
            assert there.world.counted("collectord_streams_refused_total", reason="limit") == 1
            await call.done_writing()
            assert await ended(call) is grpc.StatusCode.OK
            await there.works()

    run(scenario)


def test_a_client_that_says_nothing_is_cut_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path, hello_seconds=0.01) as there:
            call = there.call()
            assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT
            assert "no Hello within 0.01 s" in await call.details()

    run(scenario)


def test_a_client_that_hangs_up_without_a_word_is_no_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = there.call()
            await call.done_writing()
            assert await ended(call) is grpc.StatusCode.OK
            await there.works()

    run(scenario)


def test_a_client_that_does_not_read_is_not_read_from_and_hears_everything_once_it_reads(tmp_path: Path) -> None:
    """An endless flood of batches to be rejected: never more than `MAX_UNREAD_REJECTS` wait for the client, whatever time
    passes. Others are served meanwhile. When it reads at last, it is told of each, in order, so none was given up."""

    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = there.call()
            await call.write(hello())
            await call.write(declare(SCHEMA))

            async def flood() -> None:
                for sequence in itertools.count(1):
                    await call.write(bad(sequence))

            flooding = asyncio.create_task(flood())
            await until(lambda: max(map(len, unread(there.world)), default=0) == MAX_UNREAD_REJECTS)
            for _ in range(3):
                await there.works()
                assert max(map(len, unread(there.world))) <= MAX_UNREAD_REJECTS
            assert (await hear(call)).startswith("welcome")
            heard = 0
            while heard < 20 * MAX_UNREAD_REJECTS:
                word = await hear(call)
                if word.startswith("reject"):
                    heard += 1
                    assert word == f"reject {heard} time_out_of_window 1"
                assert max(map(len, unread(there.world))) <= MAX_UNREAD_REJECTS
            flooding.cancel()
            call.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            await until(lambda: not there.world.gate.sessions)
            await there.works()

    run(scenario)


def test_when_messages_that_do_not_become_whole_fill_the_memory_the_most_silent_streams_end(tmp_path: Path) -> None:
    """As many as it takes, longest silence first, those that have not said Hello among them; they are told why."""
    begun = len(send(1)) - 1

    async def begin(call: Call) -> None:
        """gRPC does not tell who has; without HTTP/2 it is known."""
        if Door.framed:
            await call.write_bytes(FRAME.pack(MESSAGE, len(send(1))) + send(1)[:begun])

    async def finish(call: Call) -> None:
        await (call.write_bytes(send(1)[begun:]) if Door.framed else call.write(send(1)))

    async def scenario() -> None:
        memory = [0]
        async with door(tmp_path, max_clients=20, pressure=Pressure(100, lambda: memory[0], 0)) as there:
            gate = there.world.gate
            mute = [there.call() for _ in range(2)]
            await until(lambda: len(gate.sessions) == 2)
            there.world.clock.advance(1)
            silent = [await there.greeted(bytes([n]) * 16) for n in range(4)]
            there.world.clock.advance(1)
            busy = [await there.greeted(bytes([n]) * 16) for n in range(100, 106)]
            for call in mute + silent + busy:
                await begin(call)
            await turn()
            for _ in range(3):
                memory[0] = 100
                gate.expire()
                await turn()
                assert len(gate.sessions) == 12, "what is allowed is allowed"
            memory[0] = 200
            gate.expire()
            for call in mute + silent:
                assert await ended(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "memory" in await call.details()
            assert there.world.counted("collectord_streams_refused_total", reason="memory") == 12 - HARMLESS
            memory[0] = 0
            gate.expire()
            left = [call for call in busy if not call.done()]
            assert len(left) == HARMLESS
            for call in left:
                await finish(call)
                assert await hear(call) == "ack 1"
                call.cancel()
            await until(lambda: not gate.sessions)

    run(scenario)


def test_a_client_that_ignores_its_credit_is_read_no_further_and_others_are(tmp_path: Path) -> None:
    """The log takes nothing for a while: what waits for it from one client is its credit at most, and others get in."""

    async def scenario() -> None:
        async with door(tmp_path, eager=False) as there:
            world = there.world
            greedy = await there.greeted()

            async def flood() -> None:
                for sequence in range(1, 100_000):
                    await greedy.write(send(sequence, rows=2000))

            flooding = asyncio.create_task(flood())
            await until(lambda: world.counted("collectord_credit_waits_total", cause="client") == 1)
            assert 0 < world.gate.admission.used <= FIRST_CREDIT
            quiet = await there.greeted(OTHER_CLIENT)
            await quiet.write(send(1))
            await until(lambda: any(entry.client == OTHER_CLIENT for entry, _ in world.log.queue))
            assert world.counted("collectord_credit_waits_total", cause="daemon") == 0
            flooding.cancel()
            greedy.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            # Who is not read from is looked after now and then.
            await until(lambda: bool(world.gate.expire()) or len(world.gate.sessions) == 1)
            world.log.commit()
            assert await hear(quiet) == "ack 1"
            quiet.cancel()
            await until(lambda: len(world.gate.sessions) == 0)

    run(scenario)


@pytest.mark.parametrize(
    ("max_clients", "descriptors", "alone", "two"),
    [
        (4096, 1 << 20, 4160, (4160, 4160)), (4096, 1024, 768, (192, 576)), (10, 1024, 74, (74, 74)),
        (500, 1024, 564, (204, 564)), (4096, 100, 2, (1, 1)),
    ],
)  # fmt: skip
def test_connections_leave_descriptors_for_the_daemons_own_files(
    max_clients: int, descriptors: int, alone: int, two: tuple[int, int]
) -> None:
    """Of a port, and of a socket with one beside it. Two listeners have half each."""
    assert most_connections(max_clients, descriptors) == (alone, 0)
    assert most_connections(max_clients, descriptors, beside=True) == two
    assert sum(two) <= max(2, descriptors - SPARE_DESCRIPTORS)
    each = 2 * (descriptors - SPARE_DESCRIPTORS) + SPARE_DESCRIPTORS
    assert most_connections(max_clients, each, 2, beside=True) == two


def test_too_few_descriptors_for_all_clients_are_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The soft limit is raised as far as it goes; if that is too little, the log says so."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections, _ = connections_of(most * 2)
    assert connections == most - SPARE_DESCRIPTORS
    assert ("grpc.max_allowed_incoming_connections", connections) in server_options(connections)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    assert [record.getMessage() for record in caplog.records] == ["the limit of open files allows fewer clients"]


def test_a_stream_that_is_cancelled_while_it_waits_for_the_budget_gives_it_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path, eager=False) as there:
            there.world.gate.admission.budget = 1500
            call = await there.greeted()
            await call.write(send(1))
            await call.write(send(2))
            await until(lambda: bool(there.world.log.queue))
            call.cancel()
            await until(lambda: not there.world.gate.sessions)
            there.world.log.commit()
            await turn()
            there.world.at_rest()
            await there.works()

    run(scenario)


def test_a_failing_log_is_waited_for_and_then_takes_everything_in_order_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            world = there.world
            world.log.error = SpoolFull("full")
            call = await there.greeted()
            await call.write(send(1))
            assert await hear(call) == "credit 0 the spool is full"
            for sequence in (2, 3):
                await call.write(send(sequence))
            await until(lambda: STALL_SECONDS in [seconds for seconds, _ in world.gate.timers])
            world.log.error = None
            world.gate.expire()
            assert await hear(call) == "resume 1"
            assert (await hear(call)).startswith("credit 5")
            for sequence in (1, 2, 3):
                await call.write(send(sequence))
            await call.done_writing()
            heard = await rest(call)
            assert heard[-1] == "ack 3"
            assert world.log.stored() == [(BATCH, sequence) for sequence in (1, 2, 3)]

    run(scenario)


def test_a_second_stream_of_one_client_ends_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            first = await there.greeted()
            await first.write(send(1))
            assert await hear(first) == "ack 1"
            second = await there.greeted()
            assert await ended(first) is grpc.StatusCode.ABORTED
            await second.write(send(2))
            assert await hear(second) == "ack 2"
            assert there.world.gate.sessions
            await second.done_writing()
            assert await ended(second) is grpc.StatusCode.OK

    run(scenario)


def test_a_refusal_in_the_middle_of_a_stream_loses_no_neighbour(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with door(tmp_path) as there:
            call = await there.greeted()
            for sequence in range(1, 21):
                await call.write(bad(sequence) if sequence % 3 == 0 else send(sequence))
            await call.done_writing()
            heard = await rest(call)
            rejects = [word for word in heard if word.startswith("reject")]
            assert rejects == [f"reject {at} time_out_of_window 1" for at in range(3, 21, 3)]
            assert heard[-1] == "ack 20"
            assert there.world.log.stored() == [(REJECT if at % 3 == 0 else BATCH, at) for at in range(1, 21)]

    run(scenario)


def test_streams_that_do_not_say_who_they_are_take_no_places_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other machines reach the port: beyond some, one more is refused until one has greeted or gone; those that have
    greeted do not count."""
    monkeypatch.setattr(reception, "MAX_STRANGERS", 2)

    async def scenario() -> None:
        async with door(tmp_path, reachable=True) as there:
            known = await there.greeted()
            strangers = [there.call() for _ in range(2)]
            for one in strangers:
                await one.wait_for_connection()
            await until(lambda: len(there.world.gate.sessions) == 3)
            late = there.call()
            assert await ended(late) is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "2 connections have not said yet who they are" in await late.details()
            await strangers[0].write(hello(OTHER_CLIENT))
            assert (await hear(strangers[0])).startswith("welcome")
            again = await there.greeted(b"one client more.")
            for one in (known, again, *strangers):
                one.cancel()

    asyncio.run(scenario())


def test_where_the_memory_is_used_up_those_end_first_who_have_not_said_who_they_are() -> None:
    """However lately they came: nobody needs a token to hold half a message."""

    async def scenario() -> None:
        world = World(eager=True)
        greeted = [await world.greeted(bytes([number]) * 16) for number in range(HARMLESS)]
        world.clock.advance(5.0)
        strangers = [world.session() for _ in range(2)]
        grown = iter([0, 300, 300])
        made = Reception(world.gate, 10, pressure=Pressure(100, lambda: next(grown), next(grown)))
        made._relieve()
        assert [session.over.done() for session in strangers] == [True, True]
        assert not any(session.over.done() for session in greeted)

    asyncio.run(scenario())


class Mute:
    """A carrier over which nobody says anything."""

    peer = "unix:"
    names: Sequence[str] = ()

    def __init__(self, holds: Callable[[], bool] | None) -> None:
        self.holds = holds

    async def messages(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def write(self, message: bytes) -> None: ...

    def dismiss(self) -> None: ...


def test_the_memory_is_looked_at_often_only_while_somebody_does_not_tell_what_he_takes() -> None:
    """Over gRPC nobody tells; without HTTP/2 it is known. However they come and go, one look follows the other."""

    async def scenario() -> None:
        world = World(eager=True)
        reception = Reception(world.gate, 10, pressure=Pressure(100, lambda: 0, 0))

        async def begins(holds: Callable[[], bool] | None) -> asyncio.Task[None]:
            stream = asyncio.create_task(reception.converse(Mute(holds)))
            await turn()
            return stream

        async def ends(stream: asyncio.Task[None]) -> None:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
            world.gate.expire()

        def due() -> list[float]:
            return [seconds for seconds, _ in world.gate.timers]

        tells = await begins(lambda: False)
        assert due() == [CALM_SECONDS]
        opaque = [await begins(None) for _ in range(2)]
        assert due() == [CALM_SECONDS, LOOK_SECONDS]
        for _ in range(2):
            world.gate.expire()
            assert due() == [LOOK_SECONDS]
        await ends(opaque[0])
        assert due() == [LOOK_SECONDS]
        await ends(opaque[1])
        assert due() == [CALM_SECONDS]
        await ends(tells)
        assert due() == []

    asyncio.run(scenario())
