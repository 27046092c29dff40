"""The gRPC side of the door: bytes from the wire to a session and back, on a `grpc.aio` server.

Handlers take raw bytes: a batch is not parsed by protobuf, because what the client sent is what the log keeps.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Iterable, Mapping
from heapq import nsmallest
from typing import Any

import grpc
import grpc.aio

from collectord.errors import (
    CollectordError,
    ProtocolError,
    TakenOver,
    TenantChanged,
    TooManyClients,
    Unauthenticated,
)
from collectord.ingest.gate import Gate
from collectord.ingest.pressure import LOOK_SECONDS, MemoryShort, Pressure
from collectord.ingest.session import Session
from collectord.ingest.status import status_of
from collectord.logs import event

HELLO_SECONDS = 10.0
IDLE_SECONDS = 60.0
STREAMS_PER_CONNECTION = 16
"""A client needs one, health and reflection another."""
SPARE_CONNECTIONS = 64
"""Beyond `max_clients`: so many more get an answer that says why they are refused; the next find the door closed."""
SPARE_DESCRIPTORS = 256
"""For log, ledger, store and the command line."""
MAX_STRANGERS = 256
"""Streams of a listener that other machines reach, and that have not said who they are: they take no places from others."""
PRESSURE_SHARE = 1.5
"""Messages on their way may take so many times the budget of unacknowledged bytes before streams are ended."""

_log = logging.getLogger("collectord.ingest")


def most_connections(max_clients: int, descriptors: int) -> int:
    """How many connections a listener may take with so many file descriptors, so that the daemon's own files find some. Pure."""
    return max(1, min(max_clients + SPARE_CONNECTIONS, descriptors - SPARE_DESCRIPTORS))


def server_options(max_clients: int, taken: int = 0, listeners: int = 1) -> list[tuple[str, int]]:
    """gRPC's options of a server whose sockets anybody may reach; `taken`: descriptors that another door may need; `listeners`:
    how many such servers share the rest. Raises the process's limit of file descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    connections = most_connections(
        max_clients, ((most if most != resource.RLIM_INFINITY else 1 << 30) - taken) // listeners
    )
    if connections < max_clients:
        event(_log, logging.WARNING, "the limit of open files allows fewer clients", files=most,
              clients=connections, max_clients=max_clients)  # fmt: skip
    return [
        # Without it what a stream may have sent unread grows to megabytes; on one machine it gains nothing.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", connections),
        ("grpc.server_handshake_timeout_ms", int(HELLO_SECONDS * 1000)),
        ("grpc.max_connection_idle_ms", int(IDLE_SECONDS * 1000)),
    ]


class _GoneClients(logging.Filter):
    """gRPC reports an error with a traceback where a client goes while an answer is on its way to it: that is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("ExecuteBatchError")


_gone_clients = _GoneClients()


class CollectorService:
    """`collectord.v1.Collector`."""

    def __init__(
        self, gate: Gate, max_clients: int, hello_seconds: float = HELLO_SECONDS, pressure: Pressure | None = None,
        listener: str = "", reachable: bool = False, certificates: bool = False,
    ) -> None:  # fmt: skip
        """`listener`: the address of the server that this is for; `reachable`: from other machines; `certificates`: whether its
        clients have some."""
        self._gate = gate
        self._reachable = reachable
        self._listener = listener
        self._certificates = certificates
        self._max_clients = max_clients
        self._hello_seconds = hello_seconds
        self._pressure = pressure or Pressure.from_now(int(PRESSURE_SHARE * gate.admission.budget))
        self._looking = False
        logging.getLogger("grpc._cython.cygrpc").addFilter(_gone_clients)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server registers."""
        collect = grpc.stream_stream_rpc_method_handler(self.collect)
        return grpc.method_handlers_generic_handler("collectord.v1.Collector", {"Collect": collect})

    async def collect(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """One client's stream."""
        gate = self._gate
        names = _names(context.auth_context()) if self._certificates else ()
        session = Session(gate, context.peer() or "", self._listener, names)
        try:
            if len(gate.sessions) >= self._max_clients:
                raise TooManyClients(f"{self._max_clients} clients are connected (max_clients)")
            if self._reachable and self._strangers() >= MAX_STRANGERS:
                raise TooManyClients(f"{MAX_STRANGERS} connections have not said yet who they are")
            gate.look_for_tenants()
            gate.sessions.add(session)
            self._look_out()
            await self._converse(session, requests, context)
        except CollectordError as error:
            gate.leave(session)  # at once: a client that does not read holds up the abort
            gate.metrics.count("collectord_streams_refused_total", reason=_reason(error))
            event(_log, logging.WARNING, "stream ended", reason=str(error), peer=session.peer, sdk=session.sdk)
            if session.writing is not None:
                # gRPC sends no status while a write is under way: a client that reads would wait for the end for ever.
                await asyncio.wait({session.writing}, timeout=self._hello_seconds)
            await context.abort(status_of(error), str(error))
        finally:
            gate.leave(session)

    def _strangers(self) -> int:
        """How many have come to this listener and not greeted."""
        return sum(not one.client and one.listener == self._listener for one in self._gate.sessions)

    def _look_out(self) -> None:
        """Looks after the memory as long as anybody is there."""
        if not self._looking and self._gate.sessions:
            self._looking = True
            self._gate.later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = False
        sessions = [session for session in self._gate.sessions if not session.over.done()]
        excess = self._pressure.excess(len(sessions))
        if excess:
            event(
                _log, logging.WARNING, "streams end: messages that do not become whole fill the memory", streams=excess
            )
            # Those first who have not even said who they are: they need no token for it.
            for session in nsmallest(excess, sessions, key=lambda one: (bool(one.client), one.heard)):
                session.end(MemoryShort("the daemon's memory is used up, and nothing whole came for longest from here"))
        self._look_out()

    async def _converse(
        self, session: Session, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        sender = asyncio.create_task(self._send(session, context))
        reader = asyncio.create_task(self._read(session, requests))
        patience = self._gate.loop.call_later(self._hello_seconds, self._hello_due, session)
        running: set[asyncio.Future[Any]] = {sender, reader, session.over}
        try:
            # When the client has said all, what is due to it still goes out.
            while sender in running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                if session.over in done:
                    raise session.over.result()
                for task in done:
                    task.result()
        finally:
            patience.cancel()
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)

    def _hello_due(self, session: Session) -> None:
        if not session.client:
            session.end(ProtocolError(f"no Hello within {self._hello_seconds:g} s"))

    @staticmethod
    async def _read(session: Session, messages: AsyncIterator[bytes]) -> None:
        async for raw in messages:
            await session.receive(raw)
        session.hang_up()

    @staticmethod
    async def _send(session: Session, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while not session.finished:
            await session.wake.wait()
            for message in session.outgoing():
                session.writing = asyncio.ensure_future(context.write(message))
                session.writing.add_done_callback(lambda done: done.cancelled() or done.exception())
                await asyncio.shield(session.writing)


def _reason(error: CollectordError) -> str:
    """A label of `collectord_streams_refused_total`."""
    if isinstance(error, ProtocolError):
        return "protocol"
    if isinstance(error, TakenOver):
        return "taken_over"
    if isinstance(error, Unauthenticated):
        return "token"
    if isinstance(error, TenantChanged):
        return "tenant_changed"
    return "memory" if isinstance(error, MemoryShort) else "limit"


def _names(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in the certificate of a client."""
    found = (*context.get("x509_subject_alternative_name", ()), *context.get("x509_common_name", ()))
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in found))
