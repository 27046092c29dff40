"""A restart with other settings while a frame is on its way: its rows land once, under the old name or the new one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.waiting import eventually


@pytest.mark.parametrize("fault", ["drop", "reset"])
@pytest.mark.parametrize(
    "change", [{"codec": "gzip"}, {"layout": "sdk-v1"}, {"level": 9}], ids=["codec", "layout", "level"]
)
def test_a_frame_on_its_way_is_not_made_again_under_another_name(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str], change: dict[str, object], fault: str
) -> None:
    container = new_container()
    with FaultProxy(azurite.port) as proxy:
        daemon = make_daemon(
            store=f"az://{container}", flush_interval=0.1,
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
        ).start()  # fmt: skip
        client, schema = wire.WireClient(daemon.endpoint).connect(), wire.schema()
        client.declare(schema)
        client.send(schema, range(100), time.time_ns())
        client.wait_acknowledged()
        daemon.flush()
        proxy.plan("append", fault, *["reset"] * 500)
        client.send(schema, range(100, 200), time.time_ns())
        client.wait_acknowledged()
        eventually(lambda: proxy.injected() >= 2, "the append has been tried twice")
        daemon.kill9()
        proxy.unplan()
        daemon.settings.update(change)
        daemon.start()
        client.connect()
        client.wait_acknowledged()
        daemon.flush()
        client.close()
        found = landed.rows(landed.container(azurite.connection_string(), container))
    assert Counter(int(row["n"]) for row in found) == Counter(range(200))
