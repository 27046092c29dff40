"""The daemon's side of the socket without HTTP/2: frames cut anywhere, clients that break the frames, that go, stay or talk on.

What holds for streams over gRPC too is in `test_service.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from collectord.address import FRAMED
from collectord.errors import TakenOver
from collectord.ingest.framed import (
    FIRST_ROOM,
    FRAME,
    LINGER_BYTES,
    LOOK_SECONDS,
    MAX_FIRST_BYTES,
    MESSAGE,
    SCRATCH,
    TRAILERS,
    FramedServer,
    trailers,
)
from collectord.ingest.gate import MAX_MESSAGE_BYTES
from collectord.ingest.pressure import HARMLESS, Pressure, allocated
from collectord.ingest.reception import Reception
from collectord.ingest.session import Session
from collectord.model import Buffer, EntryKind
from tests.ingest.fakes import CLIENT, SCHEMA, World, declare, hello, in_loop, send, turn
from tests.ingest.framedcall import FramedCall
from tests.ingest.streams import OTHER_CLIENT, WITHIN, Clients, hear, until
from tests.reference_batch import NOW, simple

BATCH = EntryKind.BATCH
HELLO_SECONDS = 30.0
MIB = 1 << 20


def frame(content: bytes, flags: int = MESSAGE, size: int | None = None) -> bytes:
    """A message in its frame, whose length may be a lie."""
    return FRAME.pack(flags, len(content) if size is None else size) + content


def greeting(client: bytes = CLIENT) -> bytes:
    return frame(hello(client)) + frame(declare(SCHEMA))


class Place(Clients):
    """A server at a socket in a folder, and what comes to it."""

    def __init__(self, world: World, server: FramedServer, path: Path) -> None:
        super().__init__(world)
        self.server = server
        self.path = path
        self._calls: list[FramedCall] = []
        self._sockets: list[socket.socket] = []

    def call(self) -> FramedCall:
        """A client that reads."""
        self._calls.append(FramedCall(str(self.path)))
        return self._calls[-1]

    def deaf(self) -> socket.socket:
        """One that does not, unless the test does."""
        made = socket.socket(socket.AF_UNIX)
        self._sockets.append(made)
        made.setblocking(False)
        made.connect(str(self.path))
        return made

    async def greeted(self, client: bytes = CLIENT) -> FramedCall:
        call = self.call()
        await call.write_bytes(greeting(client))
        assert (await hear(call)).startswith("welcome")
        return call

    async def expire_until(self, condition: Callable[[], bool]) -> None:
        """Lets timers expire, again and again, until something has become true."""
        await until(lambda: bool(self.world.gate.expire()) or condition())

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        for made in self._sockets:
            made.close()
        await self.server.stop(None)
        await self.expire_until(lambda: not self.server._connections)


@contextlib.asynccontextmanager
async def listening(
    folder: Path,
    *,
    max_clients: int = 10,
    connections: int = 100,
    hello_seconds: float = HELLO_SECONDS,
    eager: bool = True,
    pressure: Pressure | None = None,
) -> AsyncIterator[Place]:
    """At the end nothing is left of anybody."""
    world = World(eager=eager)
    server = FramedServer(Reception(world.gate, max_clients, hello_seconds, pressure), connections)
    path = folder / f"s{FRAMED}"
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    await server.start(bound)
    place = Place(world, server, path)
    try:
        yield place
    finally:
        await place.close()
    await turn()
    assert not world.gate.sessions
    world.at_rest()


async def ended(call: FramedCall) -> tuple[grpc.StatusCode, str]:
    """The status with which the server ends the stream, and what it says to it."""
    return await asyncio.wait_for(call.code(), WITHIN), await call.details()


async def say(deaf: socket.socket, data: bytes) -> None:
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(deaf, data), WITHIN)


async def heard(deaf: socket.socket) -> bytes:
    """Everything up to the end."""
    loop = asyncio.get_running_loop()
    found = b""
    while True:
        try:
            more = await asyncio.wait_for(loop.sock_recv(deaf, 1 << 16), WITHIN)
        except ConnectionError:
            return found
        if not more:
            return found
        found += more


async def hung_up_on(deaf: socket.socket) -> None:
    """Without a word."""
    assert await heard(deaf) == b""


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The messages of all streams, which nobody judges."""
    found: list[bytes] = []

    async def receive(session: Session, raw: Buffer) -> None:
        found.append(bytes(raw))

    monkeypatch.setattr(Session, "receive", receive)
    return found


# ---------------------------------------------------------------- whole messages


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 64, 1000, 1 << 20])
@in_loop
async def test_frames_may_be_cut_anywhere(tmp_path: Path, size: int) -> None:
    """Byte by byte, or all in one segment: the log gets what was sent, and the client its acknowledgements."""
    async with listening(tmp_path) as place:
        client = place.deaf()
        numbers = range(1, 21)
        for piece in in_pieces(greeting() + b"".join(frame(send(at, rows=at)) for at in numbers), size):
            await say(client, piece)
            await turn()
        client.shutdown(socket.SHUT_WR)
        assert (await heard(client)).endswith(trailers(grpc.StatusCode.OK, ""))
        assert place.world.log.stored() == [(BATCH, at) for at in numbers]
        payloads = [bytes(entry.payload) for entry in place.world.log.entries]
        assert payloads == [simple(SCHEMA, at, at, NOW).SerializeToString() for at in numbers]


@in_loop
async def test_messages_of_any_length_arrive_bit_for_bit(tmp_path: Path, taken: list[bytes]) -> None:
    """Those that fit into what is read at a time, that need a room of their own, and that outgrow the first one."""
    edges = [0, 1, SCRATCH - FRAME.size, SCRATCH, FIRST_ROOM, FIRST_ROOM + SCRATCH, MAX_MESSAGE_BYTES - 1]
    sizes = [size + more for size in edges for more in (-1, 0, 1) if size + more >= 0]
    chance = random.Random(3)
    chance.shuffle(sizes)
    messages = [b"first", *map(chance.randbytes, sizes)]
    async with listening(tmp_path) as place:
        client = place.deaf()
        for message in messages:
            await say(client, frame(message))
        client.shutdown(socket.SHUT_WR)
        assert await heard(client) == trailers(grpc.StatusCode.OK, "")
    assert list(map(len, taken)) == list(map(len, messages))
    assert taken == messages


@in_loop
async def test_large_batches_are_in_the_log_as_they_were_sent(tmp_path: Path) -> None:
    rows = [SCRATCH // 28, FIRST_ROOM // 28, (MAX_MESSAGE_BYTES - 100) // 28]
    async with listening(tmp_path) as place:
        call = await place.greeted()
        for sequence, many in enumerate(rows, 1):
            await call.write(send(sequence, rows=many))
        await call.done_writing()
        assert await ended(call) == (grpc.StatusCode.OK, "")
        payloads = [bytes(entry.payload) for entry in place.world.log.entries]
        assert payloads == [simple(SCHEMA, many, at, NOW).SerializeToString() for at, many in enumerate(rows, 1)]


# ---------------------------------------------------------------- frames that are none

NO_FRAMES = [
    (frame(b"x", TRAILERS), "a frame with flags 0x80; those of a client have 0x00"),
    (frame(b"x", 0x01), "a frame with flags 0x01; those of a client have 0x00"),
    (frame(b"x", 0xFF), "a frame with flags 0xff; those of a client have 0x00"),
    (frame(b"", size=MAX_MESSAGE_BYTES + 1), f"a message of {MAX_MESSAGE_BYTES + 1} bytes; {MAX_MESSAGE_BYTES} are allowed"),
    (frame(b"", size=(1 << 32) - 1), f"a message of {(1 << 32) - 1} bytes; {MAX_MESSAGE_BYTES} are allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "why"), NO_FRAMES)
@in_loop
async def test_a_wrong_frame_ends_the_stream_behind_the_messages_before_it(
    tmp_path: Path, wrong: bytes, why: str
) -> None:
    """Those are taken; nothing is that comes behind it. Nobody else notices."""
    async with listening(tmp_path) as place:
        neighbour = await place.greeted(OTHER_CLIENT)
        call = place.call()
        await call.write_bytes(greeting() + frame(send(1)) + frame(send(2)) + wrong + frame(send(3)))
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, why)
        assert place.world.log.stored() == [(BATCH, 1), (BATCH, 2)]
        assert place.world.counted("collectord_streams_refused_total", reason="protocol") == 1
        await neighbour.write(send(1))
        assert await hear(neighbour) == "ack 1"


@in_loop
async def test_what_comes_behind_a_wrong_frame_is_not_read_while_messages_before_it_wait(tmp_path: Path) -> None:
    async with listening(tmp_path, eager=False) as place:
        place.world.gate.admission.budget = 1500
        client = place.deaf()
        await say(client, greeting() + frame(send(1)) + frame(send(2)) + frame(send(3)) + frame(b"x", TRAILERS))
        await until(lambda: bool(place.world.log.queue))
        await say(client, frame(send(4)))
        await turn()
        place.world.log.eager = True
        await place.world.commit()
        assert b"0x80" in await heard(client)
        assert place.world.log.stored() == [(BATCH, 1), (BATCH, 2), (BATCH, 3)]


@in_loop
async def test_whoever_has_not_said_who_he_is_gets_little_room(tmp_path: Path, taken: list[bytes]) -> None:
    """The first message's limit is that of Hello; a later one may be of 4 MiB."""
    async with listening(tmp_path) as place:
        call = place.call()
        await call.write_bytes(frame(b"", size=MAX_FIRST_BYTES + 1))
        why = f"a message of {MAX_FIRST_BYTES + 1} bytes; {MAX_FIRST_BYTES} are allowed"
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, why)
        call = place.call()
        await call.write(b"x" * MAX_FIRST_BYTES)
        await call.write(b"y" * MAX_MESSAGE_BYTES)
        await call.done_writing()
        assert (await ended(call))[0] is grpc.StatusCode.OK
    assert taken == [b"x" * MAX_FIRST_BYTES, b"y" * MAX_MESSAGE_BYTES]


@pytest.mark.parametrize("cut", [1, FRAME.size - 1, FRAME.size, FRAME.size + 1, -1])
@in_loop
async def test_a_stream_that_ends_in_the_middle_of_a_frame_is_not_in_order(tmp_path: Path, cut: int) -> None:
    """What was whole is taken."""
    async with listening(tmp_path) as place:
        call = await place.greeted()
        await call.write_bytes(frame(send(1)) + frame(send(2))[:cut])
        await call.done_writing()
        why = "the stream ends in the middle of a message"
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, why)
        assert place.world.log.stored() == [(BATCH, 1)]


@in_loop
async def test_a_client_that_vanishes_in_the_middle_of_a_frame_is_no_error(tmp_path: Path) -> None:
    async with listening(tmp_path, max_clients=1) as place:
        client = place.deaf()
        await say(client, greeting() + frame(send(1))[:-1])
        await until(lambda: bool(place.world.gate.sessions))
        client.close()
        await until(lambda: not place.world.gate.sessions)
        assert place.world.counted("collectord_streams_refused_total", reason="protocol") == 0
        assert not place.world.log.stored()
        await place.works()


# ---------------------------------------------------------------- messages that do not become whole


@pytest.mark.parametrize("begin", [b"", b"\0", frame(b"", size=100), frame(b"x" * 99, size=100)])
@in_loop
async def test_without_a_whole_hello_in_time_the_stream_ends(tmp_path: Path, begin: bytes) -> None:
    async with listening(tmp_path, hello_seconds=0.01) as place:
        call = place.call()
        await call.write_bytes(begin)
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "no Hello within 0.01 s")


@in_loop
async def test_announced_messages_that_do_not_come_give_their_memory_back(tmp_path: Path) -> None:
    """Of clients that announce 4 MiB and send nothing of it, one byte less than all, or a byte now and then, those that have been
    silent for longest end when the memory is short. They neither read nor go: their messages are freed all the same. Who holds
    nothing may be silent for as long as he likes."""
    memory = [0]
    whole = frame(bytes(MAX_MESSAGE_BYTES))
    async with listening(tmp_path, max_clients=20, pressure=Pressure(100, lambda: memory[0], 0)) as place:
        idle = [await place.greeted(bytes([200 + at]) * 16) for at in range(3)]
        place.world.clock.advance(1)
        begins = [whole[: FRAME.size], whole[:-1], whole[:100]] * 2
        before = allocated()
        clients = [place.deaf() for _ in begins]
        for at, (client, begin) in enumerate(zip(clients, begins, strict=True)):
            await say(client, greeting(bytes([at]) * 16) + begin)
        for _ in range(50):
            for client in clients[2::3]:
                await say(client, b"x")
            await turn()
        await until(lambda: len(place.world.gate.sessions) == len(idle) + len(clients))
        assert allocated() - before > 2 * MAX_MESSAGE_BYTES
        place.world.clock.advance(1)
        for at in range(HARMLESS):
            late = await place.greeted(bytes([100 + at]) * 16)
            await late.write_bytes(FRAME.pack(MESSAGE, 100))
            await turn()
        memory[0] = 200
        place.world.gate.expire()
        await until(lambda: len(place.world.gate.sessions) == len(idle) + HARMLESS)
        memory[0] = 0
        assert place.world.counted("collectord_streams_refused_total", reason="memory") == len(clients)
        await turn()
        assert len(place.server._connections) == len(idle) + len(clients) + HARMLESS
        assert allocated() - before < MIB
        for call in idle:
            await call.write(send(1))
            assert await hear(call) == "ack 1"


@in_loop
async def test_room_for_many_messages_at_once_is_looked_at_before_the_next_look_is_due(tmp_path: Path) -> None:
    """No timer expires here: those that announce the most in no time end all the same."""
    memory = [0]
    async with listening(tmp_path, max_clients=20, pressure=Pressure(FIRST_ROOM * 4, lambda: memory[0], 0)) as place:
        clients = [await place.greeted(bytes([at]) * 16) for at in range(HARMLESS + 2)]
        memory[0] = FIRST_ROOM * 40
        for client in clients:
            await client.write_bytes(frame(b"", size=MAX_MESSAGE_BYTES))
            await turn()
        await until(lambda: len(place.world.gate.sessions) == HARMLESS + 1)
        memory[0] = 0


@in_loop
async def test_where_the_memory_is_short_those_end_first_that_are_known_to_hold_some(tmp_path: Path) -> None:
    """However lately they were heard; of streams over gRPC nobody knows."""
    world = World(eager=True)
    unknown = [await world.greeted(bytes([at]) * 16) for at in range(HARMLESS)]
    world.clock.advance(5.0)
    known = [await world.greeted(bytes([100 + at]) * 16) for at in range(2)]
    for session in known:
        session.holds = lambda: True
    Reception(world.gate, 10, pressure=Pressure(100, lambda: 300, 0))._relieve()
    assert [session.over.done() for session in known] == [True, True]
    assert not any(session.over.done() for session in unknown)


@in_loop
async def test_a_message_that_waits_for_the_budget_counts_as_held(tmp_path: Path) -> None:
    """Else a thousand clients with one each would fill the memory, and none of them would have to go."""
    async with listening(tmp_path, eager=False) as place:
        place.world.gate.admission.budget = 1500
        call = await place.greeted()
        (connection,) = place.server._connections
        await call.write(send(1))
        await until(lambda: bool(place.world.log.queue))
        assert not connection.holds()
        await call.write(send(2))
        await until(connection.holds)
        await turn()
        assert connection.holds()
        await place.world.commit()
        await until(lambda: not connection.holds())
        await place.world.commit()


@in_loop
async def test_a_stream_that_is_about_to_end_is_not_read_from(tmp_path: Path) -> None:
    """Until it has ended it would take more memory, where it ends for want of it."""
    async with listening(tmp_path) as place:
        call = await place.greeted()
        await call.write_bytes(frame(b"x", size=MAX_MESSAGE_BYTES))
        (connection,) = place.server._connections
        await until(connection.holds)
        (session,) = place.world.gate.sessions
        session.end(TakenOver("for a reason"))
        await asyncio.sleep(0)
        assert not connection.holds()
        assert not connection._transport.is_reading()
        assert await ended(call) == (grpc.StatusCode.ABORTED, "for a reason")


@pytest.mark.parametrize("goes", [False, True])
@in_loop
async def test_a_stream_that_has_ended_keeps_none_of_its_messages(tmp_path: Path, goes: bool) -> None:
    """Neither those that waited for their turn nor the one that was being dealt with, whether or not the client goes, and with no
    help of the garbage collector."""
    large = frame(send(2, rows=(MAX_MESSAGE_BYTES - 100) // 28)) * 3
    async with listening(tmp_path, eager=False) as place:
        place.world.gate.admission.budget = 1500
        client = place.deaf()
        await say(client, greeting() + frame(send(1)) + large)
        await until(lambda: [len(one._ready) for one in place.server._connections] == [2])
        del large
        before = allocated()
        if goes:
            client.close()
            await place.expire_until(lambda: not place.world.gate.sessions)
        else:
            await place.greeted()
        await turn()
        assert before - allocated() > 2.9 * MAX_MESSAGE_BYTES
        await place.world.commit()


# ---------------------------------------------------------------- clients that go


@pytest.mark.parametrize("half", [False, True])
@in_loop
async def test_a_client_that_goes_while_it_is_not_read_from_is_noticed(tmp_path: Path, half: bool) -> None:
    """Its place is free again at the next look, also if it had said before that nothing more would come."""
    async with listening(tmp_path, max_clients=1, eager=False) as place:
        place.world.gate.admission.budget = 1500
        client = place.deaf()
        await say(client, greeting() + b"".join(frame(send(at)) for at in range(1, 4 if half else 20)))
        await until(lambda: place.world.counted("collectord_credit_waits_total", cause="daemon") == 1)
        place.world.gate.expire()
        if half:
            client.shutdown(socket.SHUT_WR)
        await turn()
        place.world.gate.expire()
        await turn()
        assert place.world.gate.sessions, "it is there"
        client.close()
        await turn()
        assert place.world.gate.sessions, "nobody has looked"
        place.world.gate.expire()
        await until(lambda: not place.world.gate.sessions)
        await place.world.commit()
        await place.works()


@in_loop
async def test_however_often_a_client_has_to_wait_it_is_looked_after_once(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        client = place.deaf()
        await say(client, greeting())
        for sequence in range(1, 1001, 10):
            await say(client, b"".join(frame(send(at)) for at in range(sequence, sequence + 10)))
        await until(lambda: len(place.world.log.entries) == 1000)
        assert [action.__name__ for _, action in place.world.gate.timers].count("_look") == 1


# ---------------------------------------------------------------- behind the end


@in_loop
async def test_a_client_that_talks_on_behind_its_end_hears_why(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        client = place.deaf()
        await say(client, frame(b"x", TRAILERS))
        for _ in range(16):
            await say(client, bytes(LINGER_BYTES // 32))
        client.shutdown(socket.SHUT_WR)
        assert await heard(client) == trailers(grpc.StatusCode.INVALID_ARGUMENT, NO_FRAMES[0][1])
        await until(lambda: not place.server._connections)


@in_loop
async def test_a_client_that_never_stops_talking_is_cut_off(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        client = place.deaf()
        await say(client, frame(b"x", TRAILERS))
        with pytest.raises(ConnectionError):
            await say(client, bytes(LINGER_BYTES + 4 * MIB))
        await until(lambda: not place.server._connections)


@in_loop
async def test_a_client_that_neither_reads_nor_goes_is_cut_off_after_a_while(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        client = place.deaf()
        await say(client, frame(b"x", TRAILERS))
        await until(lambda: HELLO_SECONDS in [seconds for seconds, _ in place.world.gate.timers])
        assert place.server._connections
        place.world.gate.expire()
        await until(lambda: not place.server._connections)


def test_trailers_are_two_lines_whatever_the_reason_says() -> None:
    said = trailers(grpc.StatusCode.ABORTED, "one\r\ntwo: 100 % é")
    assert said == FRAME.pack(TRAILERS, len(said) - FRAME.size) + (
        b"grpc-status: 10\r\ngrpc-message: one%0D%0Atwo%3A 100 %25 %C3%A9\r\n"
    )


# ---------------------------------------------------------------- too many


@in_loop
async def test_connections_beyond_those_allowed_are_hung_up_on(tmp_path: Path) -> None:
    """A place is free as soon as somebody goes."""
    async with listening(tmp_path, connections=3) as place:
        inside = [await place.greeted(bytes([at]) * 16) for at in range(3)]
        for _ in range(5):
            await hung_up_on(place.deaf())
        await inside[0].done_writing()
        assert await ended(inside[0]) == (grpc.StatusCode.OK, "")
        await until(lambda: len(place.server._connections) == 2)
        await place.works()


@in_loop
async def test_those_whose_stream_has_ended_count_until_they_have_gone(tmp_path: Path) -> None:
    """Else whoever sends rubbish and stays would get as many descriptors as he likes."""
    async with listening(tmp_path, connections=3) as place:
        for _ in range(3):
            await say(place.deaf(), frame(b"x", TRAILERS))
        await until(lambda: place.world.counted("collectord_streams_refused_total", reason="protocol") == 3)
        await hung_up_on(place.deaf())
        place.world.gate.expire()
        await until(lambda: not place.server._connections)
        await place.works()


@in_loop
async def test_without_a_descriptor_left_nobody_is_let_in_until_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once; those that came meanwhile are served then."""
    async with listening(tmp_path) as place:
        inside = await place.greeted(OTHER_CLIENT)
        late = socket.socket(socket.AF_UNIX)
        late.setblocking(False)
        with late, no_descriptors() as let_go:
            late.connect(str(place.path))
            for _ in range(3):
                await until(lambda: LOOK_SECONDS in [seconds for seconds, _ in place.world.gate.timers])
                place.world.gate.expire()
                await turn()
            await inside.write(send(1))
            assert await hear(inside) == "ack 1"
            let_go()
            await say(late, greeting() + frame(send(1)))
            late.shutdown(socket.SHUT_WR)
            place.world.gate.expire()
            assert (await heard(late)).endswith(trailers(grpc.StatusCode.OK, ""))
    assert [one.getMessage() for one in caplog.records] == ["no connection can be taken"]


@contextlib.contextmanager
def no_descriptors() -> Iterator[Callable[[], None]]:
    """This process can open nothing until what comes out is called."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []

    def let_go() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
        while held:
            os.close(held.pop())

    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 1, old[1])
    )
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield let_go
    finally:
        let_go()


# ---------------------------------------------------------------- the end of the server


@in_loop
async def test_streams_may_finish_while_the_server_stops(tmp_path: Path) -> None:
    """Nobody comes in any more, the socket is gone, and what was sent is answered."""
    async with listening(tmp_path, eager=False) as place:
        call = await place.greeted()
        await call.write(send(1))
        await until(lambda: bool(place.world.log.queue))
        stopping = asyncio.create_task(place.server.stop(WITHIN))
        await until(lambda: not place.path.exists())
        with pytest.raises(FileNotFoundError):
            place.deaf()
        await place.world.commit()
        assert await hear(call) == "ack 1"
        await call.done_writing()
        assert await ended(call) == (grpc.StatusCode.OK, "")
        await asyncio.wait_for(stopping, WITHIN)
        await place.server.stop(WITHIN)


@pytest.mark.parametrize("grace", [None, 0.01])
@in_loop
async def test_streams_that_do_not_finish_are_ended_when_the_server_stops(tmp_path: Path, grace: float | None) -> None:
    async with listening(tmp_path) as place:
        calls = [await place.greeted(bytes([at]) * 16) for at in range(3)]
        await asyncio.wait_for(place.server.stop(grace), WITHIN)
        assert not place.path.exists()
        for call in calls:
            assert await ended(call) == (grpc.StatusCode.UNAVAILABLE, "the daemon has ended the stream")


@in_loop
async def test_a_server_that_is_stopped_at_once_leaves_no_socket(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        await place.server.stop(None)
        assert not place.path.exists()


# ---------------------------------------------------------------- one stream


@in_loop
async def test_a_client_is_known_by_what_the_kernel_says_of_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as place:
        await place.greeted()
        assert [one.peer for one in place.world.gate.sessions if isinstance(one, Session)] == [
            f"unix:uid={os.geteuid()},pid={os.getpid()}"
        ]


@in_loop
async def test_an_error_that_nobody_foresaw_ends_its_stream_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is in the log."""
    receive = Session.receive

    async def fail(session: Session, raw: Buffer) -> None:
        await receive(session, raw)
        if session.client == CLIENT:
            raise RuntimeError("unforeseen")

    monkeypatch.setattr(Session, "receive", fail)
    async with listening(tmp_path) as place:
        neighbour = await place.greeted(OTHER_CLIENT)
        call = place.call()
        await call.write(hello())
        assert await ended(call) == (grpc.StatusCode.UNKNOWN, "an error in the daemon, which is in its log")
        await neighbour.write(send(1))
        assert await hear(neighbour) == "ack 1"
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "unforeseen"
