"""The plain way to a daemon on this machine: the messages over a unix socket, each behind its length, with no HTTP/2 beneath.

One thread and no gRPC, whose own threads and wake-ups cost several times what the messages do, and which must be at rest in a fork.
The same messages in the same order as over gRPC, framed as gRPC-Web frames them (PROTOCOL-WEB.md of grpc/grpc): a byte of flags, 0,
then four bytes, most significant first, that say how long the message is. A frame with flag 0x80 is the last one: its text says
the status of the stream, as trailers do.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from urllib.parse import unquote

from .bell import READ, WRITE
from .endpoint import MAX_SOCKET_PATH
from .talk import Ended, Talk

SUFFIX = ".framed"
"""Behind the path of the daemon's socket for gRPC."""
FRAME = struct.Struct(">BI")
MESSAGE, TRAILERS = 0x00, 0x80
MAX_ANSWER = 4 << 20
SEND_BUFFER = 208 << 10
"""Asked for; Linux gives twice that, so that a page fits and is sent in one go."""
READ_BYTES = 64 << 10
BLOCKED = 5.0
"""Seconds after which one looks again, though nothing is expected."""
_STATUS = {
    "0": "OK", "1": "CANCELLED", "2": "UNKNOWN", "3": "INVALID_ARGUMENT", "8": "RESOURCE_EXHAUSTED", "9": "FAILED_PRECONDITION",
    "10": "ABORTED", "13": "INTERNAL", "14": "UNAVAILABLE", "16": "UNAUTHENTICATED",
}  # fmt: skip
"""Names of gRPC's status codes, those that a daemon ends a stream with."""


def connect(path: str) -> Framed | None:
    """A connection to the socket beside the one at `path`; None if nobody listens there: then gRPC may tell more.

    Raises:
        BlockingIOError: somebody does, and so many come at once that we have to come again.
    """
    beside = path + SUFFIX
    family = getattr(socket, "AF_UNIX", None)
    if family is None or len(beside.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        return None
    plain = socket.socket(family)
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        plain.connect(beside)
    except BlockingIOError:
        plain.close()
        raise
    except OSError:
        plain.close()
        return None
    return Framed(plain)


class Framed:
    """See `talk.Carrier`."""

    name = "framed"
    settling = 0.0

    def __init__(self, plain: socket.socket) -> None:
        """A connected socket that does not block."""
        self._socket = plain
        self._unsent: list[memoryview] = []
        self._said_all = False
        self._heard = b""

    def cancel(self) -> None:
        # Not closed: its number could be somebody else's before the thread that waits for it has noticed.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def run(self, talk: Talk, alone: bool) -> None:
        self._put(talk.hello())
        self._converse(talk, time.monotonic() + talk.exit_timeout if alone else None)

    def _converse(self, talk: Talk, until: float | None) -> None:
        hearing = talk.bell.hearing(self._socket)
        blocked = False
        while talk.alive:
            talk.bell.clear()
            wait = BLOCKED
            if not self._unsent and not self._said_all:
                message, wait = talk.next()
                if message is not None:
                    self._put(message)
                    if not self._unsent:
                        continue
                elif talk.leaving:
                    self._said_all = True
                    with suppress(OSError):
                        self._socket.shutdown(socket.SHUT_WR)
            if until is not None:
                wait = min(wait, until - time.monotonic())
                if wait < 0 or not (self._unsent or talk.waiting):
                    return
            if blocked != bool(self._unsent):
                blocked = not blocked
                hearing.modify(self._socket, READ | WRITE if blocked else READ)
            ready = talk.bell.wait(wait, hearing)
            if ready & WRITE:
                self._flush()
            if ready & READ:
                self._hear(talk)

    def _put(self, message: bytes) -> None:
        self._unsent = [memoryview(FRAME.pack(MESSAGE, len(message))), memoryview(message)]
        self._flush()

    def _flush(self) -> None:
        """Sends what the socket takes."""
        try:
            sent = self._socket.sendmsg(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            # Mostly the daemon does not listen any more; else it hears now that nothing more comes. What it says is still to be read.
            self._unsent, self._said_all = [], True
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            return
        while self._unsent and sent >= len(self._unsent[0]):
            sent -= len(self._unsent.pop(0))
        if sent:
            self._unsent[0] = self._unsent[0][sent:]

    def _hear(self, talk: Talk) -> None:
        """Takes what has come. Raises Ended."""
        try:
            read = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended("UNAVAILABLE", f"the daemon has gone: {error.strerror}") from None
        if not read:
            raise Ended("UNAVAILABLE", "the daemon has gone")
        heard = self._heard + read
        at = 0
        while len(heard) - at >= FRAME.size:
            flags, size = FRAME.unpack_from(heard, at)
            if flags not in (MESSAGE, TRAILERS) or size > MAX_ANSWER:
                raise Ended("INTERNAL", "what answers at the daemon's socket does not speak as a daemon does")
            end = at + FRAME.size + size
            if len(heard) < end:
                break
            content = heard[at + FRAME.size : end]
            if flags == TRAILERS:
                raise _ended(content)
            talk.receive(content)
            at = end
        self._heard = heard[at:]


def _ended(trailers: bytes) -> Ended:
    """What the daemon says at the end of a stream."""
    said = dict(line.partition(": ")[::2] for line in trailers.decode("ascii", "replace").splitlines())
    code = said.get("grpc-status", "")
    return Ended(
        _STATUS.get(code, f"status {code[:10]}"), unquote(said.get("grpc-message", "")) or "the daemon ended the stream"
    )
