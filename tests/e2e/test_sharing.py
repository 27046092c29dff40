"""Several daemons, and several schemas, on one blob of a day."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from collectord.testing.azurite import Azurite
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon

SUFFIX = {"zstd": ".zst", "gzip": ".gz", "none": ""}
Blobs = Callable[[], Mapping[str, bytes]]
Place = tuple[dict[str, Any], Blobs]


@pytest.fixture(params=["directory", "azure"])
def place(request: pytest.FixtureRequest, folder: Any) -> Iterator[Place]:
    """Settings of a store for several daemons, and how to read it."""
    if request.param == "directory":
        yield {"store": folder / "shared"}, lambda: landed.directory(folder / "shared")
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    container = request.getfixturevalue("new_container")()
    text = azurite.connection_string()
    settings = {"store": f"az://{container}", "env": {"COLLECTORD_AZURE_CONNECTION_STRING": text}}
    yield settings, lambda: landed.container(text, container)


def _started(daemons: list[Daemon]) -> list[Daemon]:
    for daemon in daemons:
        daemon.spawn()
    for daemon in daemons:
        daemon.wait_ready()
    return daemons


@pytest.mark.parametrize("codec", SUFFIX)
def test_daemons_that_share_a_day_write_each_row_once_and_one_part_per_header(
    make_daemon: MakeDaemon, place: Place, codec: str
) -> None:
    """Two daemons with spools of their own append to one blob at the same time, then one's client alternates between two
    schemas while the other's daemon is killed: there are exactly two parts, one per header and not one per change, each
    with one header, and every row of both daemons once."""
    settings, blobs = place
    small = 65536 if codec == "none" else 4096
    daemons = _started([make_daemon(codec=codec, flush_interval=0.05, flush_bytes=small, **settings) for _ in range(2)])
    schemas = [wire.schema(columns=("n",)), wire.schema(columns=("n", "m"))]
    sent: list[Counter[int]] = [Counter(), Counter()]
    clients = [wire.WireClient(daemon.endpoint).connect() for daemon in daemons]
    for client in clients:
        for schema in schemas:
            client.declare(schema)
    number = 0

    def send(client: wire.WireClient, which: int, rows: int) -> None:
        nonlocal number
        client.send(schemas[which], range(number, number + rows), time.time_ns(), which + 1)
        sent[which].update(range(number, number + rows))
        number += rows

    for _ in range(12):
        for _ in range(10):
            for client in clients:
                send(client, 0, 100)
        for client in clients:
            client.wait_acknowledged()
    for daemon in daemons:
        daemon.flush()
    assert [name.rsplit("/", 1)[1] for name in blobs()] == [f"data.csv{SUFFIX[codec]}"], (
        "the same header, the same part"
    )
    frames = [daemon.metrics()["collectord_frames_landed_total"] for daemon in daemons]
    assert min(frames) > 2, f"both daemons must have appended more than once: {frames}"

    for turn in range(6):
        for client, which in zip(clients, (turn % 2, 1), strict=True):
            send(client, which, 10)
            client.wait_acknowledged()
        if turn == 3:
            send(clients[0], 0, 10)
            clients[0].wait_acknowledged()
            daemons[1].kill9()
            daemons[1].start()
            clients[1].connect()
        for daemon in daemons:
            daemon.flush()
    for client in clients:
        client.close()
    found = blobs()
    names = [f"data.csv{SUFFIX[codec]}", f"data.1.csv{SUFFIX[codec]}"]
    assert sorted(name.rsplit("/", 1)[1] for name in found) == sorted(names)
    narrow, wide = sorted((landed.table(name, data) for name, data in found.items()), key=lambda rows: "m" in rows[0])
    assert Counter(int(row["n"]) for row in narrow) == sent[0]
    assert Counter(int(row["n"]) for row in wide) == sent[1]
    assert all(row["n"] == row["m"] for row in wide)
