"""A faulty wire in front of an HTTP service on the loopback, such as a blob service.

`python -m collectord.testing.proxy --upstream http://127.0.0.1:10000 --rate 0.3 --seed 1` prints `{"port": …}` and
serves until it is terminated, then prints what it injected. While it runs, `GET /_faults` answers the counts as JSON,
and `PUT /_faults?rate=0` changes the rate.

Faults (`FAULTS`) happen before, after, or instead of the request's arrival: what the client sees does not tell which.
They are drawn from a seed, or planned for the next requests of one operation; planned ones may also be any refusal of
`blobwire.REFUSALS`, with `applied_` before its name where the request is to take effect first.
Requests and answers need a Content-Length or no body, answers may be chunked; both are passed on byte for byte.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from collectord.testing.blobwire import APPLIED, OPERATIONS, REFUSALS, operation, refusal

FAULTS = {
    "reset": "closed with a reset before anything reaches the service",
    "drop": "the request takes effect, then the connection closes without an answer",
    "cut": "the request takes effect, then the answer ends after its status line",
    "cut_body": "the request takes effect, then the answer ends within its headers or body",
    "error": "the service is not reached: 500",
    "busy": "the service is not reached: 503 with Retry-After",
    "throttle": "the service is not reached: 429 with Retry-After",
    "applied_error": "the request takes effect, then 500 is answered",
    "slow": "the request takes effect, and the answer comes after `delay` seconds, if anybody still waits",
    "later": "the connection closes, and the request takes effect up to `delay` seconds later",
}

ADMIN = "/_faults"
REMEMBERED = 200_000
"""Requests kept in the log; older ones go."""
CONTENT_CHANGES = frozenset({"PUT", "POST", "DELETE", "PATCH"})


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer: everything up to and including the empty line, then the body as it travels."""

    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        return self.head + self.body

    def start(self) -> list[str]:
        """The words of the first line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name:
                return value.decode("latin-1").strip()
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    at: float
    """Seconds, monotonic."""
    operation: str
    """One of `blobwire.OPERATIONS`."""
    path: str
    fault: str | None
    under_way: int
    """Requests that had arrived and were not yet answered, itself included."""


def _readable(end: socket.socket, seconds: float) -> bool:
    """Whether there is something to read, or will be within so many seconds; also beyond the 1,024th descriptor."""
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class FaultProxy:
    """Listens on a free port of the loopback while it is entered. One thread per connection.

    `rate` is the share of requests that meet a fault, drawn from `faults` by a generator of its own seed. `only`
    decides by method and path which requests may. `retry_after` is what busy answers ask for, in seconds.
    """

    def __init__(
        self,
        upstream_port: int,
        *,
        rate: float = 0.0,
        seed: int = 0,
        faults: Sequence[str] = tuple(FAULTS),
        delay: float = 1.0,
        retry_after: str = "0",
        only: Callable[[str, str], bool] = lambda method, path: True,
    ) -> None:
        if unknown := [fault for fault in faults if not _exists(fault)]:
            raise ValueError(f"unknown faults {unknown}; there are {sorted({*FAULTS, *REFUSALS})}")
        self.rate = rate
        self.delay = delay
        self._upstream = ("127.0.0.1", upstream_port)
        self._faults = tuple(faults)
        self._retry_after = retry_after
        self._only = only
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._plans: dict[str, deque[str | None]] = defaultdict(deque)
        self._seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self._under_way = 0
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def counts(self) -> dict[str, int]:
        """Faults injected, by name, and `requests` in all."""
        with self._lock:
            return dict(self._counts)

    def injected(self) -> int:
        """Faults of all kinds."""
        return sum(count for name, count in self.counts().items() if name != "requests")

    def plan(self, operation: str, *faults: str | None) -> None:
        """The next requests of an operation meet these, whatever `rate` says; None: one passes."""
        if operation not in OPERATIONS:
            raise ValueError(f"unknown operation {operation!r}; there are {OPERATIONS}")
        if unknown := [fault for fault in faults if fault is not None and not _exists(fault)]:
            raise ValueError(f"unknown faults {unknown}; there are {sorted({*FAULTS, *REFUSALS})}")
        with self._lock:
            self._plans[operation].extend(faults)

    def unplan(self) -> None:
        """Forgets what was planned and has not fired."""
        with self._lock:
            self._plans.clear()

    def planned(self) -> int:
        """Faults that were planned and have not fired: 0 at the end of a test that tested something."""
        with self._lock:
            return sum(fault is not None for plan in self._plans.values() for fault in plan)

    def seen(self) -> list[Seen]:
        """The requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._seen)

    def __enter__(self) -> FaultProxy:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening, lets delayed requests arrive, and ends all threads."""
        self._stopped.set()
        self._listener.close()
        with self._lock:
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *given: object) -> None:
        thread = threading.Thread(target=target, args=given, daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                if not _readable(self._listener, 0.1):
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):
                return
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """One client's connection, and one of its own to the service."""
        try:
            with client, socket.create_connection(self._upstream) as service:
                for end in (client, service):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._await_readable(client):
                    request = receive(client)
                    if request is None or not self._exchange(request, client, service):
                        return
        except OSError:
            # Either end has gone, or the service takes no connection; the other learns it by the end of this one.
            return

    def _await_readable(self, client: socket.socket) -> bool:
        while not self._stopped.is_set():
            if _readable(client, 0.1):
                return True
        return False

    def _exchange(self, request: Message, client: socket.socket, service: socket.socket) -> bool:
        """Whether the connections may go on."""
        method, target = request.start()[:2]
        if urlsplit(target).path == ADMIN:
            client.sendall(self._administer(method, target))
            return True
        fault = self._draw(method, target)
        try:
            return self._answer(fault, request, client, service)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer(self, fault: str | None, request: Message, client: socket.socket, service: socket.socket) -> bool:
        method = request.start()[0]
        if fault == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if fault in REFUSALS:
            client.sendall(refusal(fault, self._retry_after))
            return True
        if fault == "later":
            with self._lock:
                wait = self._random.uniform(0, self.delay)
            self._spawn(self._deliver_later, request, wait)
            return False
        service.sendall(request.raw)
        answer = receive(service, answers=method)
        if answer is None:
            return False
        if fault is not None and fault.startswith(APPLIED):
            client.sendall(refusal(fault, self._retry_after))
            return True
        match fault:
            case "drop":
                return False
            case "cut":
                client.sendall(answer.head.split(b"\r\n", 1)[0] + b"\r\n")
                return False
            case "cut_body":
                whole = answer.raw
                with self._lock:
                    end = self._random.randrange(answer.head.index(b"\r\n") + 2, len(whole))
                client.sendall(whole[:end])
                return False
            case "slow":
                if self._gone_within(client, self.delay):
                    return False
        client.sendall(answer.raw)
        return True

    def _draw(self, method: str, target: str) -> str | None:
        with self._lock:
            self._counts["requests"] += 1
            self._under_way += 1
            asked = operation(method, target)
            plan = self._plans[asked]
            fault = None
            if plan:
                fault = plan.popleft()
            elif self._faults and self._random.random() < self.rate and self._only(method, target):
                fault = self._random.choice(self._faults)
            if fault is not None:
                self._counts[fault] += 1
            self._seen.append(Seen(time.monotonic(), asked, urlsplit(target).path, fault, self._under_way))
            return fault

    def _deliver_later(self, request: Message, wait: float) -> None:
        self._stopped.wait(wait)
        try:
            with socket.create_connection(self._upstream) as service:
                service.sendall(request.raw)
                receive(service, answers=request.start()[0])
        except OSError:
            # Then it is a request that never arrives: its sender is in doubt either way.
            return

    def _gone_within(self, client: socket.socket, seconds: float) -> bool:
        """Waits; True as soon as the client hangs up."""
        readable = _readable(client, seconds)
        return readable and client.recv(1, socket.MSG_PEEK) == b""

    def _administer(self, method: str, target: str) -> bytes:
        if method == "PUT":
            self.rate = float(parse_qs(urlsplit(target).query)["rate"][0])
        body = json.dumps({"rate": self.rate, "counts": self.counts()}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _exists(fault: str) -> bool:
    return fault in FAULTS or fault.removeprefix(APPLIED) in REFUSALS


def receive(end: socket.socket, answers: str | None = None) -> Message | None:
    """The next message of a connection; None if it ends first. `answers`: the method that an answer belongs to."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = end.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    message = Message(head + b"\r\n\r\n", body)
    if answers == "HEAD" or (answers is not None and message.start()[1] in ("204", "304")):
        return message
    chunked = (message.header("transfer-encoding") or "").lower() == "chunked"
    size = int(message.header("content-length") or 0)
    pieces = bytearray(body)
    while not (pieces.endswith(b"0\r\n\r\n") if chunked else len(pieces) >= size):
        piece = end.recv(1 << 20)
        if not piece:
            return None
        pieces += piece
    return Message(message.head, bytes(pieces))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the proxy as a process of its own until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="collectord.testing.proxy", description="A faulty HTTP proxy on the loopback."
    )
    parser.add_argument("--upstream", required=True, help="http://127.0.0.1:PORT")
    parser.add_argument("--rate", type=float, default=0.0, help="share of requests that meet a fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"of {', '.join((*FAULTS, *REFUSALS))}")
    parser.add_argument("--delay", type=float, default=1.0, help="seconds of slow and later")
    parser.add_argument("--retry-after", default="0", help="what busy answers ask for")
    parser.add_argument("--changes-only", action="store_true", help="faults only on requests that change something")
    given = parser.parse_args(arguments)
    port = urlsplit(given.upstream).port
    if port is None:
        parser.error("--upstream names no port")
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: done.set())
    with FaultProxy(
        port,
        rate=given.rate,
        seed=given.seed,
        faults=[fault for fault in given.faults.split(",") if fault],
        delay=given.delay,
        retry_after=given.retry_after,
        only=lambda method, path: not given.changes_only or method in CONTENT_CHANGES,
    ) as proxy:
        print(json.dumps({"port": proxy.port}), flush=True)
        done.wait()
    print(json.dumps({"counts": proxy.counts()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
