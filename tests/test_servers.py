"""The servers of a daemon are opened together, or none of them is."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from collectord.config import load
from collectord.control.client import listens
from collectord.errors import ConfigError, SpoolInUse
from collectord.listeners import Listeners
from collectord.servers import Servers
from tests.control.test_service import FakeDaemon
from tests.e2e.conftest import folder
from tests.e2e.process import free_port
from tests.ingest.fakes import World

__all__ = ["folder"]


def test_where_one_cannot_be_opened_the_others_are_closed_again(folder: Path) -> None:
    """The last of them fails: its port is taken. Afterwards, nobody listens; and once it is free, all do."""
    path, mdc = folder / "c.sock", free_port()
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    settings = load(
        overrides={
            "spool": folder, "listen": f"unix:{path}", "mdc": f"127.0.0.1:{mdc}", "admin": f"127.0.0.1:{port}",
        }
    )  # fmt: skip

    async def open_and_close() -> None:
        world = World()
        listeners = Listeners(0o600, None)
        servers = Servers(settings, listeners, world.gate.metrics)
        try:
            await servers.open(world.gate, FakeDaemon(), lambda: None, str)
            assert listens(path)
            assert listens(settings.admin_socket)
            with pytest.raises(SpoolInUse, match="another daemon listens"):
                await Servers(settings, Listeners(0o600, None), world.gate.metrics).open(
                    world.gate, FakeDaemon(), lambda: None, str
                )
            assert listens(path), "it was left alone"
            await servers.close_doors(0.0, 0.0)
            assert (listens(path), listens(settings.admin_socket)) == (False, True)
            await servers.close_admin(0.0)
            await servers.close_probes()
        finally:
            listeners.release_locks()

    with taken, pytest.raises(ConfigError, match=f"admin: 127.0.0.1:{port} cannot be bound"):
        asyncio.run(open_and_close())
    assert not listens(path)
    assert not listens(settings.admin_socket)
    socket.create_server(("127.0.0.1", mdc)).close()
    asyncio.run(open_and_close())
    for one in (mdc, port):
        socket.create_server(("127.0.0.1", one)).close()


@pytest.mark.parametrize("door", ["admin", "mdc"])
def test_a_host_without_an_address_is_said_to_be_that(door: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        overrides={
            "spool": folder, "listen": f"unix:{folder / 'c.sock'}", door: "absent.example:9808",
            "tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem", "tls_client_ca": folder / "ca.pem",
        }
    )  # fmt: skip

    def unknown(*given: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def opened() -> None:
        world, listeners = World(), Listeners(0o600, None)
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        try:
            await Servers(settings, listeners, world.gate.metrics).open(world.gate, FakeDaemon(), lambda: None, str)
        finally:
            listeners.release_locks()

    with pytest.raises(ConfigError, match=f"{door}: absent.example:9808 cannot be bound: Name or service not known"):
        asyncio.run(opened())
