"""A server that shuts down leaves nothing behind, also where it ends by a signal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from collectord_client.middleware import ASGIMiddleware

from tests.client.fakedaemon import FakeDaemon


def live(messages: list[str], at_shutdown: Any = lambda: None) -> None:
    """What a server does with an application's life: what it sends, in order."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send({"type": message})

    async def send(message: dict[str, Any]) -> None:
        if message["type"].startswith("lifespan.shutdown"):
            at_shutdown()

    asyncio.run(ASGIMiddleware(app)({"type": "lifespan"}, None, send))  # type: ignore[arg-type]


@pytest.mark.parametrize("end", ["lifespan.shutdown.complete", "lifespan.shutdown.failed"])
def test_asgi_middleware_sends_what_is_held_before_the_server_goes_on(make: Any, daemon: FakeDaemon, end: str) -> None:
    """The server kills its process next. One that lives on, as in a test of the application, collects as before."""
    client = make(linger=3000)
    client.collect([[1.0]])
    seen: list[int] = []
    live(["lifespan.startup.complete", end], lambda: seen.append(len(daemon.rows)))
    assert seen == [1]
    client.collect([[2.0]])
    assert client.flush(10)
    assert [row.values for row in daemon.rows] == [(1.0,), (2.0,)]


def test_nothing_is_sent_at_startup(make: Any, daemon: FakeDaemon) -> None:
    client = make(linger=3000)
    client.collect([[1.0]])
    live(["lifespan.startup.complete"])
    assert client.stats()["waiting"] == 1


def test_without_a_daemon_the_shutdown_is_not_delayed(make: Any, tmp_path: Any) -> None:
    client = make(endpoint=f"unix:{tmp_path}/nobody.sock")
    client.collect([[1.0]])
    began = time.monotonic()
    live(["lifespan.shutdown.complete"])
    assert time.monotonic() - began < 1
    assert client.stats()["waiting"] == 1
