"""What a running daemon serves: the doors of the clients and of the v2 SDK, the admin socket, the HTTP side.

Threads: the event loop's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc.aio

from collectord._pb import collector_pb2 as pb
from collectord.address import split_address
from collectord.config import Settings
from collectord.control.service import ControlService, Questions
from collectord.errors import ConfigError
from collectord.ingest.columns import covers
from collectord.ingest.mdc import MAX_CONNECTIONS, MdcDoor
from collectord.ingest.service import CollectorService, server_options
from collectord.ingest.session import Gate
from collectord.listeners import Health, Listeners, new_server
from collectord.metrics import Metrics

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

    from collectord.ingest.mdc_http import MdcServer


class Servers:
    """Opened together, closed one after the other: which end comes when is the daemon's to say."""

    health: Health
    """Of the clients' door; there, as the others are, once they are open."""
    admin_health: Health
    _clients: grpc.aio.Server
    _admin: grpc.aio.Server

    def __init__(self, settings: Settings, listeners: Listeners, metrics: Metrics) -> None:
        self._settings = settings
        self._listeners = listeners
        self._metrics = metrics
        self._mdc: MdcServer | None = None
        self._probes: AppRunner | None = None

    async def open(
        self, gate: Gate, answers: Questions, why_closed: Callable[[], str | None], note: Callable[[], str]
    ) -> None:
        """All, or none: where one of them cannot be opened, the others are closed again.

        Raises:
            ConfigError: naming the setting.
            SpoolInUse: another daemon listens there.
        """
        settings = self._settings
        async with AsyncExitStack() as undo:
            self._clients, self.health = await new_server(
                pb.DESCRIPTOR.services_by_name["Collector"].full_name,
                server_options(settings.max_clients, 0 if settings.mdc is None else MAX_CONNECTIONS),
            )
            undo.push_async_callback(self._clients.stop, None)
            self._clients.add_generic_rpc_handlers((CollectorService(gate, settings.max_clients).handler(),))
            for address in settings.listen:
                self._listeners.bind(self._clients, address)
            self._admin, self.admin_health = await new_server(pb.DESCRIPTOR.services_by_name["Control"].full_name)
            undo.push_async_callback(self._admin.stop, None)
            self._admin.add_generic_rpc_handlers((ControlService(answers, gate.arrivals).handler(),))
            self._listeners.bind_admin(self._admin, settings.admin_socket)
            await self._clients.start()
            await self._admin.start()
            self._listeners.open()
            if settings.mdc is not None:
                self._mdc = await self._open_mdc(settings.mdc, gate)
                undo.push_async_callback(self._mdc.close, 0.0)
            if settings.admin is not None:
                self._probes = await self._open_probes(settings.admin, why_closed, note)
            undo.pop_all()

    async def close_doors(self, grace: float | None, patience: float) -> None:
        """Nothing comes in any more. `grace`: seconds for the clients' streams; `patience`: for what the v2 door has taken."""
        if self._mdc is not None:
            await self._mdc.close(patience)
        await self._clients.stop(grace)

    async def close_admin(self, grace: float | None) -> None:
        await self._admin.stop(grace)

    async def close_probes(self) -> None:
        if self._probes is not None:
            await self._probes.cleanup()

    async def _open_mdc(self, address: str, gate: Gate) -> MdcServer:
        from collectord.ingest.mdc_http import MdcServer

        settings = self._settings
        rules = covers(settings.column_rules, settings.read_columns_key())
        mdc = MdcServer(MdcDoor(gate, settings.memory_budget, settings.stream_names, rules))
        try:
            await mdc.start(*split_address(address))
        except OSError as error:
            raise ConfigError(f"mdc: {address} cannot be bound: {error.strerror}") from None
        self._metrics.gauge("collectord_mdc_open_connections", lambda: mdc.connections)
        return mdc

    async def _open_probes(
        self, address: str, why_closed: Callable[[], str | None], note: Callable[[], str]
    ) -> AppRunner:
        from collectord.admin import http

        try:
            return await http.serve(*split_address(address), self._metrics, why_closed, note)
        except OSError as error:
            raise ConfigError(f"admin: {address} cannot be bound: {error.strerror}") from None
