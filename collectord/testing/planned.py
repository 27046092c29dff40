"""An HTTP server on loopback whose answers are planned, one per request: what the fakes of telemetry's endpoints have in common.

Threads: its own; everything may be asked from any.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TypeVar

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
_Self = TypeVar("_Self", bound="PlannedServer")


class PlannedServer:
    """Listens from `with` on. What a plan means, its kinds say."""

    def __init__(self) -> None:
        self.connections = 0
        """That there have been."""
        self._ended = 0
        self._plans: deque[str] = deque()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self: _Self) -> _Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def plan(self, *answers: str) -> None:
        """Answers to the next requests."""
        with self._lock:
            self._plans.extend(answers)

    @property
    def planned(self) -> int:
        """Plans that nobody has met yet."""
        return len(self._plans)

    @property
    def idle(self) -> bool:
        """Nobody is connected, so that all that came has been dealt with."""
        return self._ended == self.connections

    def release(self) -> None:
        """Ends what hangs, now and later."""
        self._released.set()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """To one request; None: the connection ends."""
        raise NotImplementedError


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is none of ours to tell about."""


def _handler(endpoint: PlannedServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            with endpoint._lock:
                endpoint.connections += 1
            super().setup()

        def finish(self) -> None:
            try:
                super().finish()
            finally:
                with endpoint._lock:
                    endpoint._ended += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = endpoint.answer(self.path, self.headers, body)  # type: ignore[arg-type]
            if answer is None:
                self.close_connection = True
                return
            status, headers, text = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
