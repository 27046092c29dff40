"""`collectord.v1.Control`, on top of what the daemon lets it see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from collectord._pb import collector_pb2 as pb
from collectord.errors import CollectordError


class Books(Protocol):
    """A stream's books in rows."""

    stream: str
    received: int
    landed: int
    in_log: int
    parked: int
    quarantined: int
    expired: int
    dropped_from_quarantine: int
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

    def rebuild(self, begin: bool, skip_doubtful: bool, everywhere: bool, dry_run: bool, wait: float) -> Rebuild:
        """How far the rebuild of the ledger is, after `wait` seconds or when it is over; `begin` begins one."""
        ...

    def drain(self, on: bool, wait: float) -> tuple[bool, int, str]:
        """Takes nothing new from now on (or takes in again), and uploads all for at most `wait` seconds.

        Whether it drains, the rows that have not landed, and what keeps them.
        """
        ...

    def quarantined(self) -> Sequence[bytes]:
        """The ids of all items in quarantine."""
        ...

    def retry_quarantined(self, id_: bytes) -> int:
        """Puts an item through the log again, exactly once, and returns its rows. Raises CollectordError, OSError."""
        ...

    def drop_quarantined(self, id_: bytes) -> int:
        """Gives an item up for good and returns its rows. Raises CollectordError."""
        ...


class Rebuild(Protocol):
    """How far the rebuild of a lost ledger is."""

    done: bool
    error: str
    applied: bool
    rows: int
    looked_for: int
    blob_bytes: int
    landed: int
    waiting: int
    given_up: int
    again: int
    notes: list[str]


LONGEST_WAIT = 60.0
MOST_NOTES = 1000
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
            "RetryQuarantined": (self.retry_quarantined, pb.QuarantineRequest),
            "DropQuarantined": (self.drop_quarantined, pb.QuarantineRequest),
            "RebuildLedger": (self.rebuild, pb.RebuildLedgerRequest),
            "Drain": (self.drain, pb.DrainRequest),
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
                    parked=book.parked,
                    quarantined=book.quarantined,
                    expired=book.expired,
                    dropped_from_quarantine=book.dropped_from_quarantine,
                    rejected=book.rejected,
                    dropped_by_clients=book.dropped_by_clients,
                )
                for book in books
            ]
        )

    async def retry_quarantined(self, request: pb.QuarantineRequest, context: object) -> pb.QuarantineResponse:
        return await self._quarantined(request, self._daemon.retry_quarantined)

    async def drop_quarantined(self, request: pb.QuarantineRequest, context: object) -> pb.QuarantineResponse:
        return await self._quarantined(request, self._daemon.drop_quarantined)

    async def _quarantined(
        self, request: pb.QuarantineRequest, action: Callable[[bytes], int]
    ) -> pb.QuarantineResponse:
        def act(id_: bytes) -> pb.QuarantineResult:
            try:
                return pb.QuarantineResult(id=id_, rows=action(id_))
            except (CollectordError, OSError) as error:
                return pb.QuarantineResult(id=id_, problem=str(error))

        if not request.ids:
            known = await asyncio.to_thread(self._daemon.quarantined)
            return pb.QuarantineResponse(results=[pb.QuarantineResult(id=id_) for id_ in known])
        run = asyncio.get_running_loop().run_in_executor
        return pb.QuarantineResponse(results=[await run(self._flushes, act, id_) for id_ in request.ids])

    async def where(self, request: pb.WhereRequest, context: object) -> pb.WhereResponse:
        needles = [needle for needle in request.needles if needle]
        entries, size, complete = await asyncio.to_thread(self._daemon.where, needles)
        return pb.WhereResponse(
            entries=[pb.WaitingEntry(stream=stream, lsn=lsn, rows=rows) for stream, lsn, rows in entries],
            bytes_searched=size,
            complete=complete,
        )

    async def rebuild(self, request: pb.RebuildLedgerRequest, context: object) -> pb.RebuildLedgerResponse:
        ask = partial(
            self._daemon.rebuild, request.begin, request.doubtful == "skip", request.everywhere, request.dry_run,
            _bounded(request.wait_seconds),
        )  # fmt: skip
        account = await asyncio.get_running_loop().run_in_executor(self._flushes, ask)
        notes = list(account.notes[:MOST_NOTES])
        if len(account.notes) > MOST_NOTES:
            notes.append(f"and {len(account.notes) - MOST_NOTES:,} notes more")
        return pb.RebuildLedgerResponse(
            done=account.done, error=account.error, applied=account.applied, rows=account.rows,
            looked_for=account.looked_for, blob_bytes=account.blob_bytes, landed=account.landed,
            waiting=account.waiting, given_up=account.given_up, again=account.again, notes=notes,
        )  # fmt: skip

    async def drain(self, request: pb.DrainRequest, context: object) -> pb.DrainResponse:
        wait = _bounded(request.wait_seconds)
        draining, rows, reason = await asyncio.get_running_loop().run_in_executor(
            self._flushes, self._daemon.drain, not request.cancel, wait
        )
        return pb.DrainResponse(draining=draining, empty=rows == 0, rows_waiting=rows, reason=reason)


def _bounded(seconds: float) -> float:
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
