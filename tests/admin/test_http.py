"""Health, metrics and the status page over HTTP. tests/page has the page in a browser."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collectord.admin import http
from collectord.metrics import Metrics

Ask = Callable[..., Awaitable[tuple[int, str, str]]]
PAGE = Path(http.__file__).parent
heads: list[dict[str, str]] = []
"""Of all answers, the newest last."""


def served(
    scenario: Callable[[Ask, Metrics], Awaitable[None]],
    ready: Callable[[], str | None] = lambda: None,
    note: Callable[[], str] = str,
    page: Callable[[], dict[str, Any]] = dict,
) -> None:
    async def run() -> None:
        metrics = Metrics()
        runner = await http.serve("127.0.0.1", 0, metrics, ready, note, page)
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession() as session:

            async def ask(method: str, path: str, **headers: str) -> tuple[int, str, str]:
                async with session.request(method, f"http://{host}:{port}{path}", headers=headers) as answer:
                    heads.append(dict(answer.headers))
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
    ("method", "path", "status"),
    [
        ("GET", "/page", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/page.html", 404),
        ("GET", "/http.py", 404),
        ("POST", "/metrics", 405),
        ("POST", "/", 405),
        ("PUT", "/status.json", 405),
        ("DELETE", "/status.json", 405),
    ],
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


# ---------------------------------------------------------------- the status page


@pytest.mark.parametrize("path", [*http.FILES, "/status.json"])
def test_the_page_may_load_nothing_else_and_be_framed_by_nobody(path: str) -> None:
    async def scenario(ask: Ask, metrics: Metrics) -> None:
        status, kind, text = await ask("GET", path)
        assert status == 200
        assert text
        assert kind.partition(";")[0] == (http.FILES[path][1] if path in http.FILES else "application/json")
        policy = heads[-1]["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"unsafe|https?:|data:|\*", policy)
        assert heads[-1]["X-Content-Type-Options"] == "nosniff"
        assert heads[-1]["Referrer-Policy"] == "no-referrer"
        assert heads[-1]["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in heads[-1]

    served(scenario)


def test_what_the_page_loads_is_what_is_served() -> None:
    """By relative names, so that it also works behind a prefix; nothing inline, nothing from elsewhere."""
    html = (PAGE / "page.html").read_text(encoding="utf-8")
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    assert {"page.css", "page.js", "page.svg"} <= named
    assert {f"/{name}" for name in named} <= {*http.FILES, "/metrics", "/status.json"}
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|javascript:", html)
    assert not re.search(r"@import|url\(", (PAGE / "page.css").read_text(encoding="utf-8"))


def test_the_script_writes_text_and_never_markup() -> None:
    """A stream may be called <script>; and the only address it knows is the daemon's own, besides the name of SVG."""
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    assert "textContent" in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|DOMParser", script)
    assert re.findall(r"https?://[^\"\s]+", script) == ["http://www.w3.org/2000/svg"]


def test_hostile_names_travel_as_json() -> None:
    name = "</script><script>alert(1)</script>\u2028\ud800"

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        _, kind, text = await ask("GET", "/status.json")
        assert kind == "application/json; charset=utf-8"
        assert text.isascii()
        assert json.loads(text) == {"streams": [{"stream": name}]}

    served(scenario, page=lambda: {"streams": [{"stream": name}]})


def test_a_status_is_computed_once_for_all_who_look_at_once() -> None:
    made: list[int] = []

    def page() -> dict[str, Any]:
        made.append(1)
        return {"number": len(made)}

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        answers = await asyncio.gather(*(ask("GET", "/status.json") for _ in range(20)))
        assert {status for status, _, _ in answers} == {200}
        assert len(made) < 20

    served(scenario, page=page)
    assert made


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9090", "10.1.2.3", "[::1]:9090", "[fe80::1%eth0]", "::1", "localhost:9090", "LOCALHOST", "collectord",
     "collectord.monitoring.svc", "collectord.monitoring.svc.cluster.local:80", "node-1.internal", "Node7.example.com:9090"],
)  # fmt: skip
def test_an_address_and_a_name_from_inside_are_ours(host: str) -> None:
    assert http.is_ours(host, "node7.example.com")


@pytest.mark.parametrize(
    "host",
    ["", "evil.com", "127.0.0.1.evil.com:9090", "localhost.evil.com", "evil.com.", "evil.com:80:80", "10.1.2.3.nip.io"],
)
def test_a_name_that_somebody_may_own_is_not(host: str) -> None:
    assert not http.is_ours(host, "node7.example.com")


def test_a_page_of_a_stranger_cannot_read_ours_through_dns() -> None:
    """Probes and scrapers go by whatever name they like."""

    async def scenario(ask: Ask, metrics: Metrics) -> None:
        for path in (*http.FILES, "/status.json"):
            status, _, text = await ask("GET", path, Host="rebound.example.com")
            assert (status, "localhost" in text) == (403, True)
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await ask("GET", path, Host="rebound.example.com"))[0] == 200

    served(scenario)
