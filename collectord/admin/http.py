"""Serves health and metrics with aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from aiohttp import web

from collectord.metrics import Metrics


async def serve(
    host: str, port: int, metrics: Metrics, ready: Callable[[], str | None], note: Callable[[], str] = str,
    tls: ssl.SSLContext | None = None,
) -> web.AppRunner:  # fmt: skip
    """Starts the HTTP side; `ready` returns why the daemon is not ready, or None, `note` what is to be said although it is,
    such as why nothing is uploaded. The caller cleans the runner up.

    Raises:
        OSError: the address cannot be bound.
    """

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

    app = web.Application(client_max_size=1024)
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
