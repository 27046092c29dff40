"""What a door in Python could do at best, in a process of its own: `python work.py PORT FILE`.

One thread takes one payload after the other: it makes a batch of the log of it with the daemon's own functions, writes it,
syncs, and answers. It waits for no other thread, has no event loop, keeps no books, knows no repeats, limits, quotas or tokens, and
whoever is slow stops all the others: a door that can be used does more than this, never less.
"""

import gc
import os
import socket
import sys
import time

from collectord import batch
from collectord.ingest.forms import Forms, payload
from collectord.ingest.heading import read_heading
from collectord.ingest.records import read
from collectord.ingest.remembered import client_of
from collectord.ingest.validate import Window, judge
from collectord.model import Entry, EntryKind, Stream
from collectord.wal.framing import pack_entry

SLOT_BYTES, SLOTS = 64 << 10, 64
HOUR_NS = 3600 * 10**9
ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\naccepted\n"
MARKER = bytes(8)


class Headers(dict[str, str]):
    """Looked up without regard to case."""

    def get(self, name: str, missing: str = "") -> str:  # type: ignore[override]
        return super().get(name.lower(), missing)


def receive(connection: socket.socket) -> tuple[Headers, bytes] | None:
    """The headers and the body of a request; None if it is cut short."""
    received = b""
    while chunk := connection.recv(1 << 16):
        received += chunk
        head, end, body = received.partition(b"\r\n\r\n")
        if not end:
            continue
        lines = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
        headers = Headers({name.lower(): value for name, _, value in lines})
        if len(body) >= int(headers["content-length"]):
            return headers, body
    return None


def main(port: int, path: str) -> None:
    forms, window, nameless = Forms(), Window(24 * HOUR_NS, HOUR_NS, 1440), Stream()
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, bytes(SLOTS * SLOT_BYTES), 0)
    os.fsync(fd)
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    gc.freeze()
    at = 0
    while True:
        connection, _ = listener.accept()
        with connection:
            request = receive(connection)
            if request is None:
                continue
            heading = read_heading(request[0], nameless)
            client = client_of(heading.stream.designation, heading.trace, "")
            rows, columns = read(request[1], {})
            rules = forms.rules(heading.stream, columns)
            raw = payload(rules, heading, heading.correlation_id, rows, columns)
            judged = judge(raw, batch.find(raw), rules, window, time.time_ns())
            entry = Entry(EntryKind.BATCH, client, 1, judged.rows, raw, judged.schema, judged.partition)
            os.pwritev(fd, [pack_entry(entry, MARKER, 1, at, 0), raw], at)
            os.fdatasync(fd)
            at = (at + SLOT_BYTES) % (SLOTS * SLOT_BYTES)
            connection.sendall(ANSWER)


main(int(sys.argv[1]), sys.argv[2])
