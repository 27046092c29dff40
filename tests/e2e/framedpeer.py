"""A client of the socket without HTTP/2 that stops where it likes, as `http2.Peer` does; a message's frame is gRPC's own."""

from __future__ import annotations

import asyncio
import contextlib

from collectord._pb import collector_pb2 as pb
from tests.e2e import http2
from tests.e2e.framed import FRAME, SUFFIX, TRAILERS, status


class Peer(http2.Peer):
    """One connection to the socket without HTTP/2, which is one stream."""

    @classmethod
    async def connect(cls, path: str, *, reads: bool = True) -> Peer:
        """One that does not read leaves to the kernel what comes."""
        reader, writer = await asyncio.open_unix_connection(path + SUFFIX)
        peer = cls(reader, writer)
        if not reads:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer._listening = asyncio.create_task(peer._listen(reads))
        return peer

    async def send(self, data: bytes) -> bool:
        """False: the daemon has ended the stream."""
        view = memoryview(data)
        while view and not self.over.is_set():
            try:
                self._writer.write(bytes(view[:16_384]))
                await self._writer.drain()
            except OSError:
                self._end()
                return False
            self.sent += len(view[:16_384])
            view = view[16_384:]
        return not self.over.is_set()

    async def _listen(self, reads: bool) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while self.status < 0:
                flags, size = FRAME.unpack(await self._reader.readexactly(FRAME.size))
                content = await self._reader.readexactly(size)
                if flags == TRAILERS:
                    self.status = status(content)[0].value[0]
                else:
                    self.heard.append(pb.ServerMessage.FromString(content))
                    self._changed.set()
        self._end()

    async def close(self) -> None:
        # What the daemon does not read would be waited for.
        self._writer.transport.abort()
        await super().close()
