"""The doctor's link of the v2 door: open and ours, another's, or nobody's."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from collectord.config import load
from collectord.doctor import Surroundings, examine, places
from collectord.ingest.mdc import MdcDoor
from collectord.ingest.mdc_http import MdcServer
from tests.e2e.process import free_port
from tests.ingest.fakes import World, in_loop


@contextmanager
def stranger() -> Iterator[int]:
    """Another program's web server."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@in_loop
async def test_an_open_door_is_ok_and_the_link_says_what_to_set() -> None:
    world = World()
    server = MdcServer(MdcDoor(world.gate, 256 << 20))
    await server.start("127.0.0.1", 0)
    link = await asyncio.to_thread(places.mdc, f"127.0.0.1:{server.port}")
    await server.close(1)
    assert link.ok
    assert f"AZUREML_MDC_PORT={server_port(link.what)}" in link.what
    assert not world.log.entries


def server_port(text: str) -> str:
    return text.split()[0].rpartition(":")[2]


def test_a_port_where_nobody_listens_is_broken() -> None:
    link = places.mdc(f"127.0.0.1:{free_port()}")
    assert link.ok is False
    assert "Connection refused" in link.what
    assert "mdc" in link.todo


def test_another_program_at_the_port_is_told_from_ours(capsys: object) -> None:
    with stranger() as port:
        link = places.mdc(f"127.0.0.1:{port}")
    assert link.ok is False
    assert "answers 501" in link.what
    assert "another program" in link.todo


def test_the_link_is_there_only_if_there_is_to_be_a_door() -> None:
    around = Surroundings(free=lambda path: 1 << 50, environment={}, client_sockets=("./none.sock",))
    for mdc, wanted in ((None, 0), (f"127.0.0.1:{free_port()}", 1)):
        names = [link.name for link in examine(None, load(overrides={"mdc": mdc}).model_dump(include={"mdc"}), around)]
        assert names.count("mdc") == wanted
