"""How the command line talks to a running daemon: over the admin socket in its spool directory."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import grpc

from collectord._pb import collector_pb2 as pb
from collectord.address import fits
from collectord.books import StreamBooks
from collectord.errors import CallHuman, CollectordError, TryAgain

MAX_ANSWER = 16 << 20
"""Bytes. A batch and its schema have 5 MiB."""


class NoDaemon(CallHuman):
    """Nobody answers on the admin socket."""


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A path of the socket at `path` that can be connected to, in the block. Raises OSError."""
    if fits(path) and "," not in str(path.parent):
        yield str(path)
        return
    # A socket's address has no room for it, or gRPC would cut it at the comma. The directory has another path as long as it is open.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listens(path: Path) -> bool:
    """Whether a daemon can be asked at this admin socket: one runs, and we may."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            with _address(path) as address:
                probe.connect(address)
        except OSError:
            return False
    return True


class _Told(dict[str, Any]):
    """What a daemon tells. One of an earlier version does not tell all that is asked for: that is said in words, not a KeyError."""

    def __missing__(self, key: str) -> Any:
        raise CallHuman(
            f"the running daemon is of an earlier version: its status does not tell {key!r}, which is needed here. Restart it with this "
            "version, or ask with its own; `collectord status --json` shows what it tells"
        )


class ControlClient:
    """A connection to the daemon whose admin socket is at `path`. A context manager; one thread. Raises NoDaemon."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = ExitStack()
        try:
            address = self._open.enter_context(_address(path))
        except OSError:
            raise self._nobody() from None
        # Without an authority of its own gRPC makes one of the path, and some paths make none.
        self._channel = grpc.insecure_channel(
            f"unix:{quote(address)}",
            [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", MAX_ANSWER)],
        )

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        self._open.close()

    def status(self) -> dict[str, Any]:
        """The daemon's status document; a key that only a later daemon tells raises CallHuman, where it is looked at. Raises NoDaemon."""
        text = self._call("Status", pb.StatusRequest(), pb.StatusResponse, 30.0).json
        answer: dict[str, Any] = json.loads(text, object_hook=_Told)
        return answer

    def flush(self, timeout: float) -> pb.FlushResponse:
        """Uploads everything received so far, for at most `timeout` seconds. Raises NoDaemon."""
        answer: pb.FlushResponse = self._call(
            "Flush", pb.FlushRequest(timeout_seconds=timeout), pb.FlushResponse, timeout + 10
        )
        return answer

    def ledger(self) -> list[StreamBooks]:
        """The books of every stream. Raises NoDaemon."""
        answer: pb.LedgerResponse = self._call("Ledger", pb.LedgerRequest(), pb.LedgerResponse, 60.0)
        return [_books(message) for message in answer.streams]

    def where(self, needles: Iterable[bytes]) -> pb.WhereResponse:
        """Which entries that have not landed hold one of `needles`. Raises NoDaemon."""
        answer: pb.WhereResponse = self._call("Where", pb.WhereRequest(needles=needles), pb.WhereResponse, 120.0)
        return answer

    def waiting(self, request: pb.WaitingRequest) -> Iterator[pb.WaitingResponse]:
        """The rows that wait at one moment, or their streams. Raises NoDaemon while it is read."""
        return self._stream("Waiting", request, pb.WaitingResponse, 600.0)

    def rebuild_ledger(self, request: pb.RebuildLedgerRequest) -> pb.RebuildLedgerResponse:
        """Begins to rebuild a lost ledger, or asks how far it is. Raises NoDaemon."""
        answer: pb.RebuildLedgerResponse = self._call(
            "RebuildLedger", request, pb.RebuildLedgerResponse, request.wait_seconds + 30
        )
        return answer

    def drain(self, wait: float, cancel: bool = False) -> pb.DrainResponse:
        """Has the daemon take nothing new and upload all, for at most `wait` seconds; or take in again. Raises NoDaemon."""
        request = pb.DrainRequest(cancel=cancel, wait_seconds=wait)
        answer: pb.DrainResponse = self._call("Drain", request, pb.DrainResponse, wait + 30)
        return answer

    def switches(self) -> dict[str, Any]:
        """What is switched on for which service. Raises NoDaemon."""
        answer: dict[str, Any] = json.loads(
            self._call("Switches", pb.SwitchesRequest(), pb.SwitchesResponse, 30.0).json
        )
        return answer

    def switch(self, webservice: str, patch: Mapping[str, Any], here: bool = False) -> dict[str, Any]:
        """Changes that for a service, and answers likewise. Raises NoDaemon, CallHuman, TryAgain."""
        request = pb.SwitchRequest(webservice=webservice, patch=json.dumps(dict(patch)), here=here)
        answer: dict[str, Any] = json.loads(self._call("Switch", request, pb.SwitchesResponse, 120.0).json)
        return answer

    def logs(
        self, webservice: str, since_ns: int = 0, after: int = 0, *, follow: bool = False, own_only: bool = False
    ) -> Iterator[pb.LogsResponse]:
        """What a service said lately, as far as this daemon has it; and, if wanted, what comes. Who has enough closes it. Raises
        NoDaemon, CallHuman, TryAgain."""
        request = pb.LogsRequest(webservice=webservice, since=since_ns, after=after, follow=follow, own_only=own_only)
        return self._stream("Logs", request, pb.LogsResponse, None if follow else 120.0)

    def tail(self, pattern: str, form: str) -> Iterator[pb.TailResponse]:
        """Rows as they arrive, without end. `form`: csv or jsonl. Raises NoDaemon, CallHuman, TryAgain."""
        return self._stream("Tail", pb.TailRequest(pattern=pattern, format=form), pb.TailResponse, None)

    def retry_quarantined(self, ids: Iterable[bytes]) -> pb.QuarantineResponse:
        """Puts items of the quarantine through the log again; without ids names those there are. Raises NoDaemon."""
        answer: pb.QuarantineResponse = self._call(
            "RetryQuarantined", pb.QuarantineRequest(ids=ids), pb.QuarantineResponse, 600.0
        )
        return answer

    def drop_quarantined(self, ids: Iterable[bytes]) -> pb.QuarantineResponse:
        """Gives items of the quarantine up; without ids names those there are. Raises NoDaemon."""
        answer: pb.QuarantineResponse = self._call(
            "DropQuarantined", pb.QuarantineRequest(ids=ids), pb.QuarantineResponse, 600.0
        )
        return answer

    def _nobody(self) -> NoDaemon:
        try:
            self._path.stat()
        except PermissionError:
            return NoDaemon(
                f"user {os.geteuid()} may not reach {self._path}: ask as the user that the daemon runs as, or name its spool "
                "directory with --spool"
            )
        except OSError:
            pass
        return NoDaemon(
            f"no daemon answers at {self._path}; start one with `collectord serve`, or name its spool directory "
            "with --spool"
        )

    def _call(self, method: str, request: Any, response: Any, timeout: float) -> Any:
        call = self._channel.unary_unary(
            f"/collectord.v1.Control/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        try:
            return call(request, timeout=timeout)
        except grpc.RpcError as error:
            raise self._failure(error, method) from None

    def _stream(self, method: str, request: Any, response: Any, timeout: float | None) -> Iterator[Any]:
        call = self._channel.unary_stream(
            f"/collectord.v1.Control/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )(request, timeout=timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._failure(error, method) from None
        finally:
            call.cancel()  # type: ignore[no-untyped-call]

    def _failure(self, error: grpc.RpcError, method: str) -> CollectordError:
        code = error.code() if isinstance(error, grpc.Call) else None
        details = (error.details() or "") if isinstance(error, grpc.Call) else ""
        if code == grpc.StatusCode.UNAVAILABLE:
            return self._nobody()
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return CallHuman(details)
        if code == grpc.StatusCode.ABORTED:
            return TryAgain(details)
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return CallHuman(f"the daemon at {self._path} is of an earlier version: it does not know {method}")
        return TryAgain(f"the daemon at {self._path} did not answer {method}: {code.name if code else 'no code'}")


def _books(message: pb.StreamBooks) -> StreamBooks:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(StreamBooks):
        value = getattr(message, field.name)
        values[field.name] = dict(value) if isinstance(value, Mapping) else value
    return StreamBooks(**values)
