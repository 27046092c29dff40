"""A stream over the socket without HTTP/2, with the face of `grpc.aio`'s calls, so that the same tests hold both to the same."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import grpc
import grpc.aio

from collectord.ingest.framed import FRAME, MESSAGE, TRAILERS

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class FramedCall:
    def __init__(self, path: str) -> None:
        self._opening = asyncio.ensure_future(asyncio.open_unix_connection(path))
        self._status: tuple[grpc.StatusCode, str] | None = None

    async def wait_for_connection(self) -> None:
        await self._opening

    async def write(self, raw: bytes) -> None:
        """Raises InvalidStateError once the server has gone."""
        await self.write_bytes(FRAME.pack(MESSAGE, len(raw)) + raw)

    async def write_bytes(self, raw: bytes) -> None:
        """The same of anything at all."""
        _, writer = await self._opening
        try:
            writer.write(raw)
            await writer.drain()
        except ConnectionError:
            raise asyncio.InvalidStateError from None

    async def done_writing(self) -> None:
        _, writer = await self._opening
        writer.write_eof()

    async def read(self) -> object:
        """The next message, or `grpc.aio.EOF`: then there is a status."""
        if self._status is not None:
            return grpc.aio.EOF
        reader, writer = await self._opening
        try:
            flags, size = FRAME.unpack(await reader.readexactly(FRAME.size))
            content = await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._status = grpc.StatusCode.UNAVAILABLE, "no word"
            return grpc.aio.EOF
        if flags == MESSAGE:
            return content
        assert flags == TRAILERS
        said = dict(line.split(": ", 1) for line in content.decode("ascii").split("\r\n") if line)
        assert set(said) == {"grpc-status", "grpc-message"}
        self._status = _BY_NUMBER[int(said["grpc-status"])], unquote(said["grpc-message"])
        assert await reader.read() == b"", "nothing comes behind the trailers"
        writer.close()
        return grpc.aio.EOF

    async def code(self) -> grpc.StatusCode:
        while self._status is None:
            await self.read()
        return self._status[0]

    async def details(self) -> str:
        assert self._status is not None
        return self._status[1]

    def done(self) -> bool:
        """Whether the end has come, which need not be read yet."""
        reader, _ = self._opening.result()
        return self._status is not None or b"grpc-status" in reader._buffer  # type: ignore[attr-defined]

    def cancel(self) -> None:
        if self._opening.done() and not self._opening.cancelled():
            self._opening.result()[1].transport.abort()
        else:
            self._opening.cancel()
