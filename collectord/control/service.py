"""`collectord.v1.Control`, on top of what the daemon lets it see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from collectord._pb import collector_pb2 as pb


class Books(Protocol):
    """A stream's books in rows."""

    stream: str
    received: int
    landed: int
    in_log: int
    quarantined: int
    rejected: dict[str, int]
    dropped_by_clients: dict[str, int]


class Daemon(Protocol):
    """The questions that a daemon can answer; from any thread."""

    def status(self) -> dict[str, Any]: ...

    def flush(self, timeout: float) -> bool:
        """Whether everything received before the call has landed within `timeout` seconds."""
        ...

    def waiting_rows(self) -> int: ...

    def last_error(self) -> str: ...

    def books(self) -> Iterable[Books]: ...

    def where(self, needles: Sequence[bytes]) -> tuple[Iterable[tuple[str, int, int]], int, bool]:
        """Stream, LSN and rows of waiting entries that hold a needle; bytes looked at; whether that was all."""
        ...


LONGEST_FLUSH = 3600.0
FLUSHES = 4


class ControlService:
    """Answers on the admin socket."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        # Flushes wait for the store, so they have threads of their own: status, and the daemon's own end, need not
        # queue behind them.
        self._flushes = ThreadPoolExecutor(FLUSHES, thread_name_prefix="collectord-flush")

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """What a server registers."""
        methods: dict[str, tuple[Callable[..., Any], Any]] = {
            "Status": (self.status, pb.StatusRequest),
            "Flush": (self.flush, pb.FlushRequest),
            "Ledger": (self.ledger, pb.LedgerRequest),
            "Where": (self.where, pb.WhereRequest),
        }
        return grpc.method_handlers_generic_handler(
            "collectord.v1.Control",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    method,
                    request_deserializer=request.FromString,
                    response_serializer=_serialized,
                )
                for name, (method, request) in methods.items()
            },
        )

    async def status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:
        status = await asyncio.to_thread(self._daemon.status)
        return pb.StatusResponse(json=json.dumps(status))

    async def flush(self, request: pb.FlushRequest, context: object) -> pb.FlushResponse:
        timeout = min(request.timeout_seconds if request.timeout_seconds > 0 else 60.0, LONGEST_FLUSH)
        complete = await asyncio.get_running_loop().run_in_executor(self._flushes, self._daemon.flush, timeout)
        reason = "" if complete else (self._daemon.last_error() or "the timeout has passed")
        return pb.FlushResponse(complete=complete, rows_waiting=self._daemon.waiting_rows(), reason=reason)

    async def ledger(self, request: pb.LedgerRequest, context: object) -> pb.LedgerResponse:
        books = await asyncio.to_thread(self._daemon.books)
        return pb.LedgerResponse(
            streams=[
                pb.StreamBooks(
                    stream=book.stream,
                    received=book.received,
                    landed=book.landed,
                    in_log=book.in_log,
                    quarantined=book.quarantined,
                    rejected=book.rejected,
                    dropped_by_clients=book.dropped_by_clients,
                )
                for book in books
            ]
        )

    async def where(self, request: pb.WhereRequest, context: object) -> pb.WhereResponse:
        needles = [needle for needle in request.needles if needle]
        entries, size, complete = await asyncio.to_thread(self._daemon.where, needles)
        return pb.WhereResponse(
            entries=[pb.WaitingEntry(stream=stream, lsn=lsn, rows=rows) for stream, lsn, rows in entries],
            bytes_searched=size,
            complete=complete,
        )


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
