"""A stream of somebody: who he is, what he may do, and what becomes of him when that changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectord.errors import CollectordError, TenantChanged, TooManyClients, Unauthenticated
from collectord.ingest import purses
from collectord.ingest.session import Session
from collectord.model import ColumnType
from collectord.tenants import Tenants
from tests.ingest.fakes import World, declare, hello, in_loop, said, send, turn, words
from tests.reference_batch import make_schema

RED = "red-0123456789abcdef"
FILE = f'[tenants.red]\ntoken = "{RED}"\nstreams = ["red/*/*"]\nclients = 2\n'
MINE, ANOTHERS = (make_schema(ColumnType.FLOAT32, webservice=name) for name in ("red", "blue"))
PORT = "0.0.0.0:1"


class Place:
    """A world with a file of tenants."""

    def __init__(self, folder: Path, text: str = FILE) -> None:
        self.world = World(eager=True)
        self._path = folder / "tenants.toml"
        self._fresh = folder / "fresh"
        self.write(text)
        self.world.gate.tenants = Tenants(self._path, [PORT])

    def write(self, text: str) -> None:
        self._fresh.write_text(text)
        self._fresh.replace(self._path)

    async def come(self, client: bytes, token: str = RED, listener: str = PORT) -> Session:
        made = Session(self.world.gate, "test", listener)
        self.world.gate.sessions.add(made)
        try:
            await made.receive(hello(client, token=token))
        except CollectordError:
            self.world.gate.leave(made)
            raise
        said(made)
        return made


@in_loop
async def test_a_tenant_writes_his_own_streams_and_no_others(tmp_path: Path) -> None:
    place = Place(tmp_path)
    red = await place.come(b"r" * 16)
    for schema in (MINE, ANOTHERS):
        await red.receive(declare(schema))
    await red.receive(send(1, MINE))
    await red.receive(send(2, ANOTHERS))
    await turn()
    assert words(red) == ["reject 2 not_allowed 1", "ack 2"]
    assert (red.tenant.name, red.purse.name) == ("red", "tenant red")


@in_loop
async def test_who_is_not_known_is_not_let_in_and_takes_no_place(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for token in ("", "wrong-0123456789abcdef", "x", RED + "\n"):
        with pytest.raises(Unauthenticated):
            await place.come(b"a" * 16, token)
    assert len(place.world.gate.marks) == 0


@in_loop
async def test_a_tenant_has_so_many_clients_and_one_that_comes_again_is_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path)
    first = await place.come(b"1" * 16)
    await place.come(b"2" * 16)
    with pytest.raises(TooManyClients, match="2 clients of red are connected"):
        await place.come(b"3" * 16)
    await place.come(b"1" * 16)
    assert first.over.done(), "as ever, the later stream of a client is he"
    await place.come(b"4" * 16, "", "unix:/s")


@in_loop
async def test_a_tenant_that_makes_up_clients_does_not_fill_the_memory_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are remembered come as often as they like; and with time, others too."""
    monkeypatch.setattr(purses, "NEWCOMERS", 2)
    place = Place(tmp_path, FILE.replace("clients = 2", ""))
    first = await place.come(b"1" * 16)
    await first.receive(declare(MINE))
    await first.receive(send(1, MINE))
    await place.come(b"2" * 16)
    place.world.clock.advance(1.0)
    await place.come(b"3" * 16)
    with pytest.raises(TooManyClients, match="that were not here before have come within the hour"):
        await place.come(b"4" * 16)
    await place.come(b"1" * 16)
    await place.come(b"5" * 16, "", "unix:/s")
    place.world.clock.advance(3600.0)
    await place.come(b"4" * 16)


@in_loop
async def test_when_the_tenants_change_those_it_concerns_come_again_or_go(tmp_path: Path) -> None:
    """And nobody else."""

    place = Place(tmp_path)
    red, anybody = await place.come(b"r" * 16), await place.come(b"a" * 16, "", "unix:/s")
    place.write(FILE + "# nothing else\n")
    place.world.gate.look_for_tenants()
    assert not red.over.done()
    place.write(FILE.replace("red/*/*", "red/m/*"))
    place.world.gate.look_for_tenants()
    assert isinstance(red.over.result(), TenantChanged)
    red = await place.come(b"r" * 16)
    place.write(FILE.replace(RED, "another-0123456789"))
    place.world.gate.look_for_tenants()
    assert isinstance(red.over.result(), Unauthenticated)
    assert not anybody.over.done()
