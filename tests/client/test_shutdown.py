"""A server that shuts down leaves nothing behind, also where it ends by a signal."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from collectord_client.middleware import ASGIMiddleware
from collectord_client.outbox import Outbox

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


@pytest.mark.parametrize("error", [ValueError("only ASGI/HTTP connections, not lifespan"), None])
def test_an_application_without_a_life_has_that_of_the_middleware(
    make: Any, daemon: FakeDaemon, error: Exception | None
) -> None:
    """Django's has none: the server would not tell of its end."""
    client = make(linger=3000)
    client.collect([[1.0]])
    heard, seen = iter(["lifespan.startup", "lifespan.shutdown"]), []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        if error is not None:
            raise error

    async def receive() -> dict[str, Any]:
        return {"type": next(heard)}

    async def send(message: dict[str, Any]) -> None:
        seen.append((message["type"], len(daemon.rows)))

    asyncio.run(ASGIMiddleware(app)({"type": "lifespan"}, receive, send))
    assert seen == [("lifespan.startup.complete", 0), ("lifespan.shutdown.complete", 1)]


def test_an_application_that_fails_to_start_fails() -> None:
    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise ValueError("no model")

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    with pytest.raises(ValueError, match="no model"):
        asyncio.run(ASGIMiddleware(app)({"type": "lifespan"}, receive, receive))


def test_nothing_is_sent_at_startup(make: Any, daemon: FakeDaemon) -> None:
    client = make(linger=3000)
    client.collect([[1.0]])
    live(["lifespan.startup.complete"])
    assert client.stats()["waiting"] == 1


@pytest.mark.parametrize("somebody", [True, False])
def test_the_shutdown_waits_only_where_a_daemon_listens(
    make: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, somebody: bool
) -> None:
    waits: list[Outbox] = []
    wait_settled = Outbox.wait_settled

    def wait(self: Outbox, deadline: float | None) -> bool:
        waits.append(self)
        return wait_settled(self, deadline)

    client = make(linger=3000) if somebody else make(endpoint=f"unix:{tmp_path}/nobody.sock", linger=3000)
    client.collect([[1.0]])
    monkeypatch.setattr(Outbox, "wait_settled", wait)
    live(["lifespan.shutdown.complete"])
    assert (client._outbox in waits) == somebody
    assert client.stats()["waiting"] == (0 if somebody else 1)
