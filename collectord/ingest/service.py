"""The gRPC side of the door: bytes from the wire to a session and back, on a `grpc.aio` server.

Handlers take raw bytes: a batch is not parsed by protobuf, because what the client sent is what the log keeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from collectord.errors import CollectordError
from collectord.ingest.reception import HELLO_SECONDS, Reception
from collectord.ingest.status import status_of

IDLE_SECONDS = 60.0
STREAMS_PER_CONNECTION = 16
"""A client needs one, health and reflection another."""


def server_options(connections: int) -> list[tuple[str, int]]:
    """gRPC's options of a server whose sockets anybody may reach, by so many connections."""
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

    def __init__(self, reception: Reception, certificates: bool = False) -> None:
        """`certificates`: whether its clients have some."""
        self._reception = reception
        self._certificates = certificates
        logging.getLogger("grpc._cython.cygrpc").addFilter(_gone_clients)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server registers."""
        collect = grpc.stream_stream_rpc_method_handler(self.collect)
        return grpc.method_handlers_generic_handler("collectord.v1.Collector", {"Collect": collect})

    async def collect(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """One client's stream."""
        call = _Call(requests, context, _names(context.auth_context()) if self._certificates else ())
        try:
            await self._reception.converse(call)
        except CollectordError as error:
            if call.writing is not None:
                # gRPC sends no status while a write is under way: a client that reads would wait for the end for ever.
                await asyncio.wait({call.writing}, timeout=self._reception.hello_seconds)
            await context.abort(status_of(error), str(error))


class _Call:
    """A stream of gRPC's: a `Carrier`. A write that was begun is never cancelled: gRPC could not end the stream with a status any
    more."""

    holds = None
    """gRPC shows nothing of a message before it is whole."""

    def __init__(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any], names: Sequence[str]
    ) -> None:
        self._requests = requests
        self._context = context
        self.peer: str = context.peer() or ""
        self.names = names
        self.writing: asyncio.Future[None] | None = None

    def messages(self) -> AsyncIterator[bytes]:
        """See `Carrier`."""
        return self._requests

    async def write(self, message: bytes) -> None:
        """Sends it; returns when gRPC has room for the next."""
        self.writing = asyncio.ensure_future(self._context.write(message))
        self.writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self.writing)

    def dismiss(self) -> None:
        """What gRPC has read it frees with the stream."""


def _names(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in the certificate of a client."""
    found = (*context.get("x509_subject_alternative_name", ()), *context.get("x509_common_name", ()))
    return tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in found))
