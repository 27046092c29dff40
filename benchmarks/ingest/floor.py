"""The least that a server in Python must do to take batches in durably: read a socket, write a recycled file, sync it, answer.

No protocol, no checks, no checksums, nobody reads the file: a message is its length and its bytes, an answer one byte. A thread
per connection reads; one thread writes what has come meanwhile and syncs it. `python -m benchmarks.ingest.floor SOCKET FILE`.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FILE_BYTES = 64 << 20
WINDOW = 2
"""Messages of a client that are not answered, as of one whose credit is two pages."""
_LENGTH = struct.Struct("<I")


class Committer:
    """Writes round and round in one file, whose pages are in memory as those of recycled segments are."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._fd, 0, FILE_BYTES)
        for offset in range(0, FILE_BYTES, 1 << 20):
            os.pwrite(self._fd, bytes(1 << 20), offset)
        os.fsync(self._fd)
        self._queue: list[tuple[bytearray, socket.socket]] = []
        self._changed = threading.Condition()

    def add(self, message: bytearray, client: socket.socket) -> None:
        with self._changed:
            self._queue.append((message, client))
            self._changed.notify()

    def run(self) -> None:
        position = 0
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                taken, self._queue = self._queue, []
            size = sum(len(message) for message, _ in taken)
            if position + size > FILE_BYTES:
                position = 0
            position += os.pwritev(self._fd, [message for message, _ in taken], position)
            os.fdatasync(self._fd)
            for _, client in taken:
                client.sendall(b"a")


def serve(address: str, path: Path) -> None:
    committer = Committer(path)
    threading.Thread(target=committer.run, daemon=True).start()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        while True:
            client, _ = server.accept()
            threading.Thread(target=_read, args=(client, committer), daemon=True).start()


def _read(client: socket.socket, committer: Committer) -> None:
    length = bytearray(_LENGTH.size)
    while client.recv_into(length, 0, socket.MSG_WAITALL) == len(length):
        message = bytearray(_LENGTH.unpack(length)[0])
        client.recv_into(message, 0, socket.MSG_WAITALL)
        committer.add(message, client)


class FloorSender:
    """A client of it."""

    def __init__(self, address: Path, message: bytes) -> None:
        self._message = _LENGTH.pack(len(message)) + message
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(address))

    def send(self, batches: int) -> None:
        """Returns when all are answered."""
        sent = answered = 0
        while answered < batches:
            while sent < batches and sent - answered < WINDOW:
                self._socket.sendall(self._message)
                sent += 1
            answered += len(self._socket.recv(WINDOW))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def floor(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Path]:
    """The address of a running one, with its file in `folder`, until the block is left."""
    address = folder / "f"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.ingest.floor", str(address), str(folder / "file")],
        env=environment,
    )
    try:
        for _ in range(200):
            if address.exists():
                break
            time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
