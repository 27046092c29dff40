"""`collectord.v1.Control`, on top of what the daemon lets it see."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from collectord._pb import collector_pb2 as pb
from collectord.books import StreamBooks
from collectord.control.watching import Lines, Watching
from collectord.errors import CollectordError, TryAgain
from collectord.ingest.arrivals import Arrivals
from collectord.pipeline.rebuilding import Account
from collectord.pipeline.snapshot import WaitingEnd, WaitingPiece, WaitingStream
from collectord.schema import stream_message


class Questions(Lines, Protocol):
    """What a daemon is asked; from any thread."""

    def status(self) -> dict[str, Any]: ...

    def page(self) -> dict[str, Any]:
        """What the status page shows, as JSON values: the status, and the last hour."""
        ...

    def flush(self, timeout: float) -> bool:
        """Whether everything received before the call has landed within `timeout` seconds."""
        ...

    def waiting_rows(self) -> int: ...

    def last_error(self) -> str: ...

    def books(self) -> Iterable[StreamBooks]: ...

    def where(self, needles: Sequence[bytes]) -> tuple[Iterable[tuple[str, int, int]], int, bool]:
        """Stream, LSN and rows of waiting entries that hold a needle; bytes looked at; whether that was all."""
        ...

    def rebuild(self, begin: bool, skip_doubtful: bool, everywhere: bool, dry_run: bool, wait: float) -> Account:
        """How far the rebuild of the ledger is, after `wait` seconds or when it is over; `begin` begins one."""
        ...

    def drain(self, on: bool, wait: float) -> tuple[bool, bool, int, str]:
        """Takes nothing new from now on (or takes in again), and uploads and delivers all for at most `wait` seconds.

        Whether it drains, whether nothing is left, the rows that have not landed, and what keeps them, or the events that wait.
        """
        ...

    def switches(self) -> dict[str, Any]:
        """What is switched on for which service, as JSON values."""
        ...

    def switch(self, webservice: str, patch: Mapping[str, Any], here: bool) -> dict[str, Any]:
        """Changes that, for all nodes or only `here`, and answers likewise. Raises CollectordError."""
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

    def waiting_streams(self) -> Iterable[WaitingStream]:
        """The streams with rows that wait."""
        ...

    def waiting(
        self, streams: frozenset[str], first_hour: int, last_hour: int, most_bytes: int
    ) -> Iterator[WaitingPiece | WaitingEnd]:
        """Their rows that wait now, by keys of streams; see `pipeline.snapshot`."""
        ...


LONGEST_WAIT = 60.0
MOST_NOTES = 1000
LONGEST_FLUSH = 3600.0
FLUSHES = 4
TEXT_BYTES = 1 << 20
"""Of rows in one message."""


class ControlService:
    """Answers on the admin socket."""

    def __init__(self, answers: Questions, arrivals: Arrivals | None = None) -> None:
        """`arrivals`: of the batches that somebody may watch; None: there are none."""
        self._answers = answers
        self._watching = Watching(answers, arrivals or Arrivals())
        # Flushes wait for the store, so they have threads of their own: status, and the daemon's own end, need not
        # queue behind them.
        self._flushes = ThreadPoolExecutor(FLUSHES, thread_name_prefix="collectord-flush")
        # One at a time asks the store to change a document; others wait, and flushes do not wait for them.
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="collectord-change")
        # One question makes text of rows at a time; the others wait for the next piece of theirs.
        self._texts = ThreadPoolExecutor(1, thread_name_prefix="collectord-text")

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
            "Switches": (self.switches, pb.SwitchesRequest),
            "Switch": (self.switch, pb.SwitchRequest),
        }
        streams: dict[str, tuple[Callable[..., Any], Any]] = {
            "Waiting": (self.waiting, pb.WaitingRequest),
            "Logs": (self._watching.logs, pb.LogsRequest),
            "Tail": (self._watching.tail, pb.TailRequest),
        }
        return grpc.method_handlers_generic_handler(
            "collectord.v1.Control",
            {
                name: make(method, request_deserializer=request.FromString, response_serializer=_serialized)
                for make, of in (
                    (grpc.unary_unary_rpc_method_handler, methods),
                    (grpc.unary_stream_rpc_method_handler, streams),
                )
                for name, (method, request) in of.items()
            },
        )

    async def status(self, request: pb.StatusRequest, context: object) -> pb.StatusResponse:
        status = await asyncio.to_thread(self._answers.status)
        return pb.StatusResponse(json=json.dumps(status))

    async def flush(self, request: pb.FlushRequest, context: object) -> pb.FlushResponse:
        timeout = min(request.timeout_seconds if request.timeout_seconds > 0 else 60.0, LONGEST_FLUSH)
        complete = await asyncio.get_running_loop().run_in_executor(self._flushes, self._answers.flush, timeout)
        reason = "" if complete else (self._answers.last_error() or "the timeout has passed")
        waiting = await asyncio.to_thread(self._answers.waiting_rows)
        return pb.FlushResponse(complete=complete, rows_waiting=waiting, reason=reason)

    async def ledger(self, request: pb.LedgerRequest, context: object) -> pb.LedgerResponse:
        books = await asyncio.to_thread(self._answers.books)
        return pb.LedgerResponse(streams=[pb.StreamBooks(**dataclasses.asdict(book)) for book in books])

    async def retry_quarantined(self, request: pb.QuarantineRequest, context: object) -> pb.QuarantineResponse:
        return await self._quarantined(request, self._answers.retry_quarantined)

    async def drop_quarantined(self, request: pb.QuarantineRequest, context: object) -> pb.QuarantineResponse:
        return await self._quarantined(request, self._answers.drop_quarantined)

    async def _quarantined(
        self, request: pb.QuarantineRequest, action: Callable[[bytes], int]
    ) -> pb.QuarantineResponse:
        def act(id_: bytes) -> pb.QuarantineResult:
            try:
                return pb.QuarantineResult(id=id_, rows=action(id_))
            except (CollectordError, OSError) as error:
                return pb.QuarantineResult(id=id_, problem=str(error))

        if not request.ids:
            known = await asyncio.to_thread(self._answers.quarantined)
            return pb.QuarantineResponse(results=[pb.QuarantineResult(id=id_) for id_ in known])
        run = asyncio.get_running_loop().run_in_executor
        return pb.QuarantineResponse(results=[await run(self._flushes, act, id_) for id_ in request.ids])

    async def where(self, request: pb.WhereRequest, context: object) -> pb.WhereResponse:
        needles = [needle for needle in request.needles if needle]
        entries, size, complete = await asyncio.to_thread(self._answers.where, needles)
        return pb.WhereResponse(
            entries=[pb.WaitingEntry(stream=stream, lsn=lsn, rows=rows) for stream, lsn, rows in entries],
            bytes_searched=size,
            complete=complete,
        )

    async def rebuild(self, request: pb.RebuildLedgerRequest, context: object) -> pb.RebuildLedgerResponse:
        ask = partial(
            self._answers.rebuild, request.begin, request.doubtful == "skip", request.everywhere, request.dry_run,
            _bounded(request.wait_seconds),
        )  # fmt: skip
        account = await asyncio.get_running_loop().run_in_executor(self._flushes, ask)
        # In this order `done` is read first: once it is true, nothing that follows changes any more.
        answer = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
        answer["notes"] = account.notes[:MOST_NOTES]
        if len(account.notes) > MOST_NOTES:
            answer["notes"].append(f"and {len(account.notes) - MOST_NOTES:,} notes more")
        return pb.RebuildLedgerResponse(**answer)

    async def switches(self, request: pb.SwitchesRequest, context: object) -> pb.SwitchesResponse:
        return pb.SwitchesResponse(json=json.dumps(await asyncio.to_thread(self._answers.switches)))

    async def switch(
        self, request: pb.SwitchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SwitchesResponse:
        try:
            patch = json.loads(request.patch)
            change = partial(self._answers.switch, request.webservice, patch, request.here)
            # What concerns this node only asks no store, and queues behind nobody.
            pool = None if request.here else self._changes
            said = await asyncio.get_running_loop().run_in_executor(pool, change)
        except (ValueError, RecursionError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the patch is not JSON")
        except TryAgain as error:
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        except CollectordError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return pb.SwitchesResponse(json=json.dumps(said))

    async def waiting(self, request: pb.WaitingRequest, context: object) -> AsyncIterator[pb.WaitingResponse]:
        run = asyncio.get_running_loop().run_in_executor
        if request.names_only:
            for one in await run(self._texts, self._answers.waiting_streams):
                told = pb.WaitingStream(stream=stream_message(one.stream), key=one.stream.key(), rows=one.rows)
                yield pb.WaitingResponse(stream=told)
            return
        pieces = self._answers.waiting(
            frozenset(request.streams), request.first_hour, request.last_hour, request.most_bytes
        )
        while (piece := await run(self._texts, next, pieces, None)) is not None:
            if isinstance(piece, WaitingEnd):
                yield pb.WaitingResponse(end=pb.WaitingEnd(writer=piece.writer, left_out=piece.left_out))
                continue
            for message in _rows(piece):
                yield pb.WaitingResponse(rows=message)

    async def drain(self, request: pb.DrainRequest, context: object) -> pb.DrainResponse:
        wait = _bounded(request.wait_seconds)
        draining, empty, rows, reason = await asyncio.get_running_loop().run_in_executor(
            self._flushes, self._answers.drain, not request.cancel, wait
        )
        return pb.DrainResponse(draining=draining, empty=empty, rows_waiting=rows, reason=reason)


def _bounded(seconds: float) -> float:
    return min(seconds, LONGEST_WAIT) if seconds > 0 else 0.0


def _rows(piece: WaitingPiece) -> Iterator[pb.WaitingRows]:
    """The piece, in messages of a bounded size; what all have goes with the first."""
    for at in range(0, len(piece.text), TEXT_BYTES):
        text, more = piece.text[at : at + TEXT_BYTES], at + TEXT_BYTES < len(piece.text)
        if at:
            yield pb.WaitingRows(text=text, more=more)
            continue
        yield pb.WaitingRows(
            stream=stream_message(piece.stream), start_hour=piece.partition.start_hour,
            boundary_minutes=piece.partition.boundary_minutes, base=piece.base, form=piece.form, header=piece.header,
            schema=piece.schema, known=piece.known, rows=piece.rows, text=text, more=more,
        )  # fmt: skip


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
