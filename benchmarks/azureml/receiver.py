"""Takes what the measured process sends, in a process of its own, so that its time does not count."""

from __future__ import annotations

import http.server
import sys
import threading
from typing import Any

from tests.client.fakedaemon import FakeDaemon


class Mdc(http.server.BaseHTTPRequestHandler):
    """The side-car of Azure ML's v2 collector: says yes to everything. With `bodies`, keeps them."""

    bodies: list[tuple[str, bytes]] | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.bodies is not None:
            self.bodies.append((self.headers["ce-type"], body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def serve_mdc(handler: type[Mdc]) -> http.server.ThreadingHTTPServer:
    """A side-car on a free port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def store_nothing(raw: bytes, batch: Any, schemas: Any, client_id: bytes, answers: Any) -> None:
    """Instead of decoding what came."""
    from collectord_client._pb import collector_pb2 as pb

    answers.put(pb.ServerMessage(ack=pb.Ack(sequence=batch.sequence)).SerializeToString())


if __name__ == "__main__":
    daemon = FakeDaemon(sys.argv[1])
    daemon._batch = store_nothing  # type: ignore[method-assign]
    print(serve_mdc(Mdc).server_port, flush=True)
    sys.stdin.read()
