"""What a running daemon serves: the doors of the clients and of the v2 SDK, the admin socket, the HTTP side.

Threads: the event loop's alone.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc.aio

from collectord import config
from collectord._pb import collector_pb2 as pb
from collectord.address import split_address
from collectord.certificates import Certificates
from collectord.control.service import ControlService, Questions
from collectord.errors import ConfigError
from collectord.ingest.columns import covers
from collectord.ingest.framed import FramedServer
from collectord.ingest.gate import Gate
from collectord.ingest.mdc import MdcDoor
from collectord.ingest.reception import Reception, connections_of
from collectord.ingest.service import CollectorService, server_options
from collectord.listeners import Health, Listeners, new_server
from collectord.metrics import Metrics
from collectord.settings import Settings

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

    from collectord.ingest.mdc_http import MdcServer


LOOK_SECONDS = 1.0
"""How often it is looked whether certificates and tenants have changed."""


class Servers:
    """Opened together, closed one after the other: which end comes when is the daemon's to say."""

    health: Health
    """Of the clients' door; there, as the others are, once they are open."""
    admin_health: Health
    _admin: grpc.aio.Server

    def __init__(
        self, settings: Settings, listeners: Listeners, metrics: Metrics, certificates: Certificates | None = None
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._metrics = metrics
        self._certificates = certificates
        self._clients: list[grpc.aio.Server] = []
        """One per address, so that each knows where its clients have come in."""
        self._framed: list[FramedServer] = []
        """Beside unix sockets, for the same clients."""
        self._watcher: asyncio.Task[None] | None = None
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
            undo.push_async_callback(self._stop_clients, None)
            for address in settings.listen:
                await self._listen(address, gate)
            self._admin, self.admin_health = await new_server(pb.DESCRIPTOR.services_by_name["Control"].full_name)
            undo.push_async_callback(self._admin.stop, None)
            self._admin.add_generic_rpc_handlers((ControlService(answers, gate.arrivals).handler(),))
            self._listeners.bind_admin(self._admin, settings.admin_socket)
            for server in self._clients:
                await server.start()
            await self._admin.start()
            self._listeners.open()
            if settings.mdc is not None:
                self._mdc = await self._open_mdc(settings.mdc, gate)
                undo.push_async_callback(self._mdc.close, 0.0)
            if settings.admin is not None:
                self._probes = await self._open_probes(settings.admin, why_closed, note, answers.page)
            if settings.tenants is not None or self._certificates is not None:
                self._watcher = asyncio.create_task(self._watch(gate))
            undo.pop_all()

    @property
    def anonymous(self) -> bool:
        """Whether there may be senders who are not seen to be there: the v2 SDK connects for each payload."""
        return self._mdc is not None

    async def close_doors(self, grace: float | None, patience: float) -> None:
        """Nothing comes in any more. `grace`: seconds for the clients' streams; `patience`: for what the v2 door has taken."""
        if self._mdc is not None:
            await self._mdc.close(patience)
        if self._watcher is not None:
            self._watcher.cancel()
        await self._stop_clients(grace)

    async def close_admin(self, grace: float | None) -> None:
        await self._admin.stop(grace)

    async def close_probes(self) -> None:
        if self._probes is not None:
            await self._probes.cleanup()

    async def _listen(self, address: str, gate: Gate) -> None:
        settings = self._settings
        local = address.startswith("unix:")
        reception = Reception(gate, settings.most_clients, listener=address, reachable=address in settings.reachable)
        places = settings.mdc_connections if settings.mdc is not None else 0
        over_grpc, framed_too = connections_of(settings.most_clients, places, len(settings.listen), beside=local)
        name = pb.DESCRIPTOR.services_by_name["Collector"].full_name
        server, self.health = await new_server(name, server_options(over_grpc), self.health if self._clients else None)
        self._clients.append(server)
        service = CollectorService(reception, certificates=settings.tls_client_ca is not None and not local)
        server.add_generic_rpc_handlers((service.handler(),))
        self._listeners.bind(server, address)
        bound = self._listeners.bind_framed(address) if local else None
        if bound is not None:
            framed = FramedServer(reception, framed_too)
            self._framed.append(framed)
            await framed.start(bound)

    async def _stop_clients(self, grace: float | None) -> None:
        await asyncio.gather(
            *(server.stop(grace) for server in self._clients), *(server.stop(grace) for server in self._framed)
        )
        self._clients, self._framed = [], []

    async def _watch(self, gate: Gate) -> None:
        """Whoever is here for long hears of a token that was withdrawn; who comes is looked at anyway."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            gate.look_for_tenants()
            if self._certificates is not None:
                self._certificates.look()

    async def _open_mdc(self, address: str, gate: Gate) -> MdcServer:
        from collectord.ingest.mdc_http import MdcServer

        settings = self._settings
        found = self._certificates
        rules = covers(settings.column_rules, config.read_columns_key(settings))
        mdc = MdcServer(MdcDoor(gate, settings.memory_budget, settings.stream_names, rules), settings.mdc_connections)
        try:
            await mdc.start(*split_address(address), None if found is None else lambda: found.pair.context)
        except OSError as error:
            raise ConfigError(f"mdc: {address} cannot be bound: {_why(error)}") from None
        self._metrics.gauge("collectord_mdc_open_connections", lambda: mdc.connections)
        return mdc

    async def _open_probes(
        self,
        address: str,
        why_closed: Callable[[], str | None],
        note: Callable[[], str],
        page: Callable[[], dict[str, Any]],
    ) -> AppRunner:
        from collectord.admin import http

        settings = self._settings
        tls = self._certificates.context() if settings.admin_tls and self._certificates else None
        try:
            return await http.serve(*split_address(address), self._metrics, why_closed, note, page, tls)
        except OSError as error:
            raise ConfigError(f"admin: {address} cannot be bound: {_why(error)}") from None


def _why(error: OSError) -> str:
    """asyncio's own words are longer than what they say."""
    if error.errno == errno.EADDRINUSE:
        return "another program, or a second daemon on this node, has the port"
    if isinstance(error, socket.gaierror) or not error.errno:
        # Of a name that has no address; its numbers are not the system's.
        return str(error.strerror or error)
    return os.strerror(error.errno)
