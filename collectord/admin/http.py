"""Serves health, metrics and the status page with aiohttp. Nothing here changes anything, and nothing shows rows of users."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from aiohttp import web

from collectord.metrics import Metrics

FILES: Final = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.svg": ("page.svg", "image/svg+xml"),
}
"""Of the status page, by path: all that it ever loads."""
TEXTS: Final = {path: files("collectord.admin").joinpath(file).read_bytes() for path, (file, _) in FILES.items()}
"""Read before the process gives rights up."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
INSIDE: Final = (".localhost", ".local", ".internal", ".svc", ".arpa")
"""Ends of names that nobody can register, so that no stranger's page can be served under one and then become ours."""
FRESH_SECONDS = 1.0
"""A status is computed once for all who ask within so long."""


def is_ours(host: str, name: str) -> bool:
    """Whether a request's Host may be this daemon, called `name`: an address, or a name that only exists inside. Any other name
    can be pointed here by whoever owns it, and his page then read ours (DNS rebinding)."""
    bare = host.rsplit(":", 1)[0] if (not host.endswith("]") and host.count(":") <= 1) or "]:" in host else host
    bare = bare.strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return bool(bare) and ("." not in bare or bare == name.lower() or bare.endswith(INSIDE))
    return True


class _Shared:
    """The newest page's data; asked for by many, computed for one at a time."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._made = b""
        self._at = float("-inf")

    async def get(self) -> bytes:
        async with self._lock:
            if time.monotonic() - self._at > FRESH_SECONDS:
                # It waits for locks of the pipeline; the loop must not.
                self._made = await asyncio.to_thread(lambda: json.dumps(self._make()).encode())
                self._at = time.monotonic()
            return self._made


async def serve(
    host: str,
    port: int,
    metrics: Metrics,
    ready: Callable[[], str | None],
    note: Callable[[], str] = str,
    page: Callable[[], dict[str, Any]] = dict,
    tls: ssl.SSLContext | None = None,
) -> web.AppRunner:
    """Starts the HTTP side; `ready` returns why the daemon is not ready, or None, `note` what is to be said although it is,
    such as why nothing is uploaded, `page` what the status page shows. The caller cleans the runner up.

    Raises:
        OSError: the address cannot be bound.
    """
    shared, name = _Shared(page), socket.gethostname()

    def check(request: web.Request) -> None:
        if not is_ours(request.headers.get("Host", ""), name):
            raise web.HTTPForbidden(
                text="this page answers to addresses, and to names inside a cluster or machine only: use the address, or forward "
                "the port to localhost\n",
                headers=HEADERS,
            )

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        why = ready()
        said = "\n".join(filter(None, ("ok", note()))) if why is None else why
        return web.Response(text=said + "\n", status=200 if why is None else 503)

    async def show_metrics(request: web.Request) -> web.Response:
        # Some gauges wait for a lock of the pipeline; the loop must not.
        body = await asyncio.to_thread(metrics.render)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def show_file(request: web.Request) -> web.Response:
        check(request)
        return web.Response(
            body=TEXTS[request.path], content_type=FILES[request.path][1], charset="utf-8", headers=HEADERS
        )

    async def show_status(request: web.Request) -> web.Response:
        check(request)
        return web.Response(body=await shared.get(), content_type="application/json", charset="utf-8", headers=HEADERS)

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    app.add_routes([web.get(path, show_file) for path in FILES])
    app.add_routes([web.get("/status.json", show_status)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
