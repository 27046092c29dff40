"""The socket without HTTP/2 by hand, as a call with the face of gRPC's."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import grpc

SUFFIX = ".framed"
FRAME = struct.Struct(">BI")
MESSAGE, TRAILERS = 0x00, 0x80
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def connected(path: str) -> socket.socket:
    """To the socket beside the one at `path`."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(path + SUFFIX)
    return made


def status(trailers: bytes) -> tuple[grpc.StatusCode, str]:
    said = dict(line.split(": ", 1) for line in trailers.decode("ascii").split("\r\n") if line)
    assert set(said) == {"grpc-status", "grpc-message"}
    return _CODES[int(said["grpc-status"])], unquote(said["grpc-message"])


class Call(grpc.RpcError):
    """One stream, whose messages a thread sends; iterating over it gives the answers, and raises it where its end is not OK."""

    def __init__(self, path: str, messages: Iterator[bytes], timeout: float | None = None) -> None:
        """`timeout`: seconds between two answers."""
        super().__init__()
        self._code, self._details = grpc.StatusCode.UNAVAILABLE, "no trailers came"
        self._socket = connected(path)
        self._socket.settimeout(timeout)
        self._sending = threading.Thread(target=self._send, args=(messages,), daemon=True)
        self._sending.start()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def cancel(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __iter__(self) -> Iterator[bytes]:
        with self._socket, self._socket.makefile("rb") as said:
            try:
                while len(head := said.read(FRAME.size)) == FRAME.size:
                    flags, size = FRAME.unpack(head)
                    content = said.read(size)
                    if flags == TRAILERS:
                        self._code, self._details = status(content)
                        break
                    assert flags == MESSAGE
                    yield content
            except TimeoutError:
                self._code, self._details = grpc.StatusCode.DEADLINE_EXCEEDED, "no word"
            except OSError as error:
                self._details = str(error.strerror)
            self.cancel()
        if self._code is not grpc.StatusCode.OK:
            raise self

    def _send(self, messages: Iterator[bytes]) -> None:
        with contextlib.suppress(OSError):
            for raw in messages:
                self._socket.sendall(FRAME.pack(MESSAGE, len(raw)) + raw)
            self._socket.shutdown(socket.SHUT_WR)
