"""Health and metrics over HTTP."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from collectord.admin import http
from collectord.metrics import Metrics

Ask = Callable[[str, str], Awaitable[tuple[int, str, str]]]


def served(
    scenario: Callable[[Ask, Metrics], Awaitable[None]],
    ready: Callable[[], str | None] = lambda: None,
    note: Callable[[], str] = str,
) -> None:
    async def run() -> None:
        metrics = Metrics()
        runner = await http.serve("127.0.0.1", 0, metrics, ready, note)
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession() as session:

            async def ask(method: str, path: str) -> tuple[int, str, str]:
                async with session.request(method, f"http://{host}:{port}{path}") as answer:
                    return answer.status, answer.headers.get("Content-Type", ""), await answer.text()

            try:
                await scenario(ask, metrics)
            finally:
                await runner.cleanup()

    asyncio.run(run())


def test_a_living_daemon_says_ok_whether_it_is_ready_or_not() -> None:
    async def scenario(ask: Ask, metrics: Metrics) -> None:
        assert (await ask("GET", "/livez"))[::2] == (200, "ok\n")

    served(scenario, ready=lambda: "starting")


def test_readiness_follows_the_daemon_and_says_what_is_missing() -> None:
    state: list[str | None] = ["starting"]

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        assert (await ask("GET", "/readyz"))[::2] == (503, "starting\n")
        state[0] = None
        assert (await ask("GET", "/readyz"))[::2] == (200, "ok\n")

    served(scenario, ready=lambda: state[0])


def test_what_keeps_uploads_is_said_without_ending_readiness() -> None:
    state: list[str | None] = [None]

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        assert (await ask("GET", "/readyz"))[::2] == (200, "ok\nthe ledger was lost\n")
        state[0] = "stopping"
        assert (await ask("GET", "/readyz"))[::2] == (503, "stopping\n")

    served(scenario, ready=lambda: state[0], note=lambda: "the ledger was lost")


def test_metrics_are_in_the_text_format_of_prometheus() -> None:
    async def scenario(ask: Ask, metrics: Metrics) -> None:
        metrics.count("collectord_records_received_total", 5)
        status, kind, text = await ask("GET", "/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "collectord_records_received_total 5.0\n" in text

    served(scenario)


def test_a_gauge_that_waits_does_not_hold_up_the_probes() -> None:
    """Kubernetes would restart a pod that is only busy."""

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        loop = asyncio.get_running_loop()

        def slow() -> float:
            status, _, _ = asyncio.run_coroutine_threadsafe(ask("GET", "/livez"), loop).result(10)
            return float(status)

        metrics.gauge("collectord_sessions", slow)
        assert "collectord_sessions 200.0" in (await ask("GET", "/metrics"))[2]

    served(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/../etc/passwd", 404), ("POST", "/metrics", 405)]
)
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    async def scenario(ask: Ask, metrics: Metrics) -> None:
        assert (await ask(method, path))[0] == status

    served(scenario)


def test_an_address_in_use_is_an_oserror_and_leaves_nothing_open() -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(OSError) as error:
                await http.serve("127.0.0.1", taken.getsockname()[1], Metrics(), lambda: None)
            assert error.value.errno == errno.EADDRINUSE

    asyncio.run(scenario())
