"""The gRPC side of the door: bytes from the wire to a session and back, on a `grpc.aio` server.

Handlers take raw bytes: a batch is not parsed by protobuf, because what the client sent is what the log keeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from collectord.errors import CollectordError, ProtocolError, TakenOver, TooManyClients
from collectord.ingest.gate import Gate
from collectord.ingest.session import Session
from collectord.ingest.status import status_of
from collectord.logs import event

HELLO_SECONDS = 10.0

_log = logging.getLogger("collectord.ingest")


class CollectorService:
    """`collectord.v1.Collector`."""

    def __init__(self, gate: Gate, max_clients: int, hello_seconds: float = HELLO_SECONDS) -> None:
        self._gate = gate
        self._max_clients = max_clients
        self._hello_seconds = hello_seconds

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server registers."""
        collect = grpc.stream_stream_rpc_method_handler(self.collect)
        return grpc.method_handlers_generic_handler("collectord.v1.Collector", {"Collect": collect})

    async def collect(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """One client's stream."""
        gate = self._gate
        session = Session(gate, context.peer() or "")
        try:
            if len(gate.sessions) >= self._max_clients:
                raise TooManyClients(f"{self._max_clients} clients are connected (max_clients)")
            gate.sessions.add(session)
            await self._converse(session, requests, context)
        except CollectordError as error:
            gate.leave(session)  # at once: a client that does not read holds up the abort
            if not isinstance(error, TakenOver):
                reason = "protocol" if isinstance(error, ProtocolError) else "limit"
                gate.metrics.count("collectord_streams_refused_total", reason=reason)
            event(_log, logging.WARNING, "stream ended", reason=str(error), peer=session.peer, sdk=session.sdk)
            if session.writing is not None:
                # gRPC sends no status while a write is under way: a client that reads would wait for the end for ever.
                await asyncio.wait({session.writing}, timeout=self._hello_seconds)
            await context.abort(status_of(error), str(error))
        finally:
            gate.leave(session)

    async def _converse(
        self, session: Session, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        messages = requests.__aiter__()
        try:
            first = await asyncio.wait_for(messages.__anext__(), self._hello_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            raise ProtocolError(f"no Hello within {self._hello_seconds:g} s") from None
        except StopAsyncIteration:
            return
        await session.receive(first)
        sender = asyncio.create_task(self._send(session, context))
        reader = asyncio.create_task(self._read(session, messages))
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
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)

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
