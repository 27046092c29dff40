"""The v2 door over HTTP: one path, slow and silent senders, and an end in order."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectord.certificates import Certificates
from collectord.ingest import mdc, mdc_http
from collectord.ingest.mdc import PATH, MdcDoor
from collectord.ingest.mdc_http import MdcServer
from collectord.switches import Rules
from tests.authority import DAY, NOW, Authority
from tests.ingest.fakes import World, in_loop
from tests.ingest.payloads import headers
from tests.ingest.test_mdc import BODY, BUDGET, counted


@asynccontextmanager
async def serving(world: World, budget: int = BUDGET, connections: int = 512) -> AsyncIterator[MdcServer]:
    server = MdcServer(MdcDoor(world.gate, budget), connections)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close(1)


class Wire:
    """A connection, byte by byte."""

    @staticmethod
    async def to(server: MdcServer) -> Wire:
        made = Wire()
        made.reader, made.writer = await asyncio.open_connection("127.0.0.1", server.port)
        return made

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()
        first, *lines = head.strip().split("\r\n")
        said = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), said, await self.reader.readexactly(int(said.get("Content-Length", "0")))

    async def ended(self) -> bool:
        """Waits until the other side has hung up."""
        return await asyncio.wait_for(self.reader.read(), 20) == b""

    def close(self) -> None:
        self.writer.close()


def request(body: bytes = BODY, *, method: str = "POST", path: str = PATH, **more: str | None) -> bytes:
    said = headers(**{"Host": "localhost", "Content_Length": str(len(body)), **more})
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def told(server: MdcServer, data: bytes) -> tuple[int, dict[str, str], bytes]:
    wire = await Wire.to(server)
    wire.send(data)
    answer = await wire.answer()
    wire.close()
    return answer


@in_loop
async def test_a_payload_is_answered_202_and_the_connection_kept() -> None:
    world = World(eager=True)
    async with serving(world) as server:
        wire = await Wire.to(server)
        for trace in ("1", "2"):
            wire.send(request(trace_id=trace))
            status, said, body = await wire.answer()
            assert (status, body) == (202, b"accepted\n")
            assert said["Content-Type"].startswith("text/plain")
        assert counted(world, "collectord_mdc_answers_total") == {'{code="202"}': 2}
        assert server.connections == 1
        wire.close()
    assert len(world.log.entries) == 2


@in_loop
async def test_a_body_may_come_in_pieces_and_without_a_length() -> None:
    world = World(eager=True)
    async with serving(world) as server:
        wire = await Wire.to(server)
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:5], BODY[5:]))
        wire.send(request(b"", Content_Length=None, Transfer_Encoding="chunked") + pieces + b"0\r\n\r\n")
        assert (await wire.answer())[0] == 202
        wire.send(request(trace_id="two")[: -len(BODY)])
        for byte in BODY:
            wire.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await wire.answer())[0] == 202
        wire.close()


@in_loop
async def test_only_one_path_and_one_method() -> None:
    world = World(eager=True)
    async with serving(world) as server:
        status, _, body = await told(server, request(path="/"))
        assert (status, PATH.encode() in body) == (404, True)
        status, said, _ = await told(server, request(method="PUT"))
        assert (status, said["Allow"]) == (405, "POST")
        assert counted(world, "collectord_mdc_answers_total") == {'{code="404"}': 1, '{code="405"}': 1}
    assert not world.log.entries


@in_loop
async def test_later_is_said_with_a_time() -> None:
    world = World(eager=True)
    world.gate.close("the daemon is draining")
    async with serving(world) as server:
        status, said, body = await told(server, request())
        assert (status, said["Retry-After"], body) == (503, "1", b"the daemon is draining\n")


@in_loop
async def test_not_wanted_has_no_body() -> None:
    world = World(eager=True)
    world.gate.switch(Rules(collect=False))
    async with serving(world) as server:
        status, _, body = await told(server, request())
        assert (status, body) == (204, b"")


@in_loop
async def test_a_large_body_is_refused_before_it_is_sent() -> None:
    """Its sender reads the answer although it has not sent all."""
    world = World(eager=True)
    async with serving(world, 64 << 20) as server:
        wire = await Wire.to(server)
        wire.send(request(b"", Content_Length=str(2 << 20)) + b" " * 1000)
        status, said, body = await wire.answer()
        assert (status, said["Connection"]) == (413, "close")
        assert b"1048576 bytes are allowed" in body
        wire.close()


@in_loop
async def test_whoever_asks_first_is_told_to_go_on() -> None:
    """curl does, with a body of some size."""
    world = World(eager=True)
    async with serving(world) as server:
        wire = await Wire.to(server)
        wire.send(request(Expect="100-continue")[: -len(BODY)])
        assert (await wire.answer())[0] == 100
        wire.send(BODY)
        assert (await wire.answer())[0] == 202
        wire.close()


@in_loop
async def test_a_sender_that_goes_in_the_middle_leaves_nothing() -> None:
    world = World(eager=True)
    async with serving(world) as server:
        wire = await Wire.to(server)
        wire.send(request()[:-5])
        await wire.writer.drain()
        wire.close()
        for _ in range(200):
            if not server.connections and counted(world, "collectord_mdc_held_bytes") == {"": 0}:
                break
            await asyncio.sleep(0.01)
        assert not server.connections
        assert (await told(server, request()))[0] == 202
    assert len(world.log.entries) == 1


@in_loop
async def test_a_slow_body_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdc, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(mdc_http, "LINGER_SECONDS", 0.05)
    async with serving(World(eager=True)) as server:
        wire = await Wire.to(server)
        wire.send(request()[:-5])
        assert (await wire.answer())[0] == 408
        assert await wire.ended()
        wire.close()


@in_loop
async def test_whoever_says_nothing_or_half_of_it_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mdc_http, "HEADER_SECONDS", 0.05)
    monkeypatch.setattr(mdc_http, "SWEEP_SECONDS", 0.01)
    async with serving(World(eager=True)) as server:
        silent, half, good = [await Wire.to(server) for _ in range(3)]
        half.send(b"POST /modeldata/log HTTP/1.1\r\nHost: x\r\n")
        good.send(request())
        assert (await good.answer())[0] == 202
        assert await silent.ended()
        assert await half.ended()
        good.send(request())
        assert (await good.answer())[0] == 202, "who has asked once may take its time"
        for wire in (silent, half, good):
            wire.close()


@in_loop
async def test_who_came_and_went_in_silence_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a connection has in memory goes with it, not with the time that it had to speak."""
    monkeypatch.setattr(mdc_http, "SWEEP_SECONDS", 0.01)
    async with serving(World(eager=True)) as server:
        for _ in range(20):
            (await Wire.to(server)).close()
        for _ in range(500):
            if not server.connections and not server.silent:
                break
            await asyncio.sleep(0.01)
        assert server.silent == 0


@in_loop
async def test_one_connection_too_many_is_told_so() -> None:
    world = World(eager=True)
    async with serving(world, connections=2) as server:
        held = []
        for trace in ("1", "2"):
            held.append(await Wire.to(server))
            held[-1].send(request(trace_id=trace))
            assert (await held[-1].answer())[0] == 202
        third = await Wire.to(server)
        status, said, _ = await third.answer()
        assert (status, said["Retry-After"], said["Connection"]) == (503, "1", "close")
        assert await third.ended()
        assert counted(world, "collectord_mdc_answers_total") == {'{code="202"}': 2, '{code="503"}': 1}
        for wire in (*held, third):
            wire.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /modeldata/log HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /modeldata/log HTTP/1.1\r\nHost: x\r\nce-type: " + b"x" * 10_000 + b"\r\n\r\n",
        b"POST /modeldata/log HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: 1\r\n" % at for at in range(200)) + b"\r\n",
    ],
    ids=["tls", "http2", "negative length", "long header", "many headers"],
)  # fmt: skip
def test_what_is_no_request_is_answered_400(data: bytes) -> None:
    """And counted, like any other answer."""

    @in_loop
    async def run() -> None:
        world = World(eager=True)
        async with serving(world) as server:
            assert (await told(server, data))[0] == 400
            assert (await told(server, request()))[0] == 202
        assert counted(world, "collectord_mdc_answers_total") == {'{code="400"}': 1, '{code="202"}': 1}

    run()


@in_loop
async def test_the_log_holds_nothing_of_what_is_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """A length that is too short makes the rest of a body the next request, and an id may be longer than a header."""
    caplog.set_level(logging.DEBUG)
    async with serving(World(eager=True)) as server:
        wire = await Wire.to(server)
        wire.send(request(b'[{"n": 1}]', Content_Length="10"))
        assert (await wire.answer())[0] == 202
        wire.send(b'SECRET [{"n": 2}]\r\n\r\n')
        assert (await wire.answer())[0] == 400
        wire.close()
        assert (await told(server, request(ce_x_request_id="SECRET" * 2000)))[0] == 400
    said = [(record.name, record.levelname) for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [("collectord.ingest", "WARNING")] * 2
    assert "SECRET" not in caplog.text


@in_loop
async def test_what_is_under_way_at_the_end_is_answered() -> None:
    world = World()
    server = MdcServer(MdcDoor(world.gate, BUDGET))
    await server.start("127.0.0.1", 0)
    port = server.port
    wire, idle = await Wire.to(server), await Wire.to(server)
    wire.send(request())
    while not world.log.queue:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(server.close(10))
    await asyncio.sleep(0)
    world.log.commit()
    assert (await wire.answer())[0] == 202
    await closing
    assert await idle.ended()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    for one in (wire, idle):
        one.close()


@in_loop
async def test_many_at_once_are_all_stored() -> None:
    world = World(eager=True)
    async with serving(world) as server:
        body = json.dumps([{"x": 1.5}]).encode()
        answers = await asyncio.gather(*(told(server, request(body, trace_id=str(at))) for at in range(50)))
        assert {status for status, _, _ in answers} == {202}
    assert len(world.log.entries) == 50


@in_loop
async def test_a_session_of_tls_ends_with_the_senders_certificate(tmp_path: Path) -> None:
    """In TLS 1.2 it is taken up again without a look at the certificate that began it."""
    authority, clock = Authority(tmp_path / "pki"), [time.time()]
    own, theirs = authority.files("server"), authority.files("sender", ends=NOW + DAY)
    certificates = Certificates(own.cert, own.key, authority.ca)
    world = World(eager=True)
    server = MdcServer(MdcDoor(world.gate, BUDGET), wall=lambda: clock[0])
    await server.start("127.0.0.1", 0, lambda: certificates.pair.context)
    sender = ssl.create_default_context(cafile=authority.ca)
    sender.load_cert_chain(theirs.cert, theirs.key)
    sender.maximum_version = ssl.TLSVersion.TLSv1_2

    def asked(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None, bytes]:
        with (
            socket.create_connection(("127.0.0.1", server.port), 20) as plain,
            sender.wrap_socket(plain, server_hostname="localhost", session=session) as secured,
        ):
            secured.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            try:
                said = secured.recv(4096)
            except ConnectionError:
                said = b""
            return secured.session, secured.session_reused, said

    try:
        session, _, said = await asyncio.to_thread(asked, None)
        assert said.startswith(b"HTTP/1.1 404")
        _, again, said = await asyncio.to_thread(asked, session)
        assert again and said.startswith(b"HTTP/1.1 404")
        clock[0] += 2 * DAY.total_seconds()
        _, again, said = await asyncio.to_thread(asked, session)
        assert again and not said
    finally:
        await server.close(1)
