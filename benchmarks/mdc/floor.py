"""The least a door could do, in a process of its own: `python floor.py PORT FILE`.

Reads a payload to its end, makes 4 KiB durable in FILE and answers; all that wait when a sync begins share it. What its
senders wait is what connections, processes and the disk of this machine cost, whatever the door does.
"""

import asyncio
import os
import re
import sys
import threading

SLOTS = 256
ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\naccepted\n"


class Floor(asyncio.Protocol):
    """One connection."""

    def __init__(self, syncing: "Syncing") -> None:
        self._syncing = syncing
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if end and length is not None and len(body) >= int(length[1]):
            self._syncing.add(self._transport)


class Syncing:
    """A thread that writes and syncs once for all who wait."""

    def __init__(self, path: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._fd, bytes(SLOTS * 4096), 0)
        os.fsync(self._fd)
        self._waiting: list[asyncio.WriteTransport] = []
        self._wake = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, transport: asyncio.WriteTransport) -> None:
        with self._wake:
            self._waiting.append(transport)
            self._wake.notify()

    def _run(self) -> None:
        syncs = 0
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting)
                taken, self._waiting = self._waiting, []
            os.pwrite(self._fd, os.urandom(4096), syncs % SLOTS * 4096)
            os.fdatasync(self._fd)
            syncs += 1
            self._loop.call_soon_threadsafe(self._answer, taken)

    def _answer(self, taken: list[asyncio.WriteTransport]) -> None:
        for transport in taken:
            transport.write(ANSWER)


async def main(port: int, path: str) -> None:
    syncing = Syncing(path)
    server = await asyncio.get_running_loop().create_server(lambda: Floor(syncing), "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
