"""Issuers of tokens on the loopback: Microsoft Entra as workload identity asks it, and an App Service's managed identity."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"


class Issuer:
    """What it answers may be changed at any time."""

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, object] = {}
        """Over those of a good token; times are seconds from now."""
        self.lasts = 3600
        """Seconds that the asker is told; it does not look into the token."""
        self.refusal: tuple[int, str] | None = None
        """Status, and words of the error."""
        self.asked: list[dict[str, str]] = []
        """The fields of each request, the oldest first; `path` too."""

    def token(self) -> str:
        now = int(time.time())
        claims: dict[str, object] = {
            "aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{TENANT}/", "iat": -60, "nbf": -60, "exp": 3600,
        } | self.claims  # fmt: skip
        for name in ("iat", "nbf", "exp"):
            claims[name] = now + int(str(claims[name]))
        parts: tuple[dict[str, object], ...] = ({"alg": "none", "typ": "JWT"}, claims, {"signature": "of nobody"})
        return ".".join(map(_encoded, parts))

    def answer(self, path: str, fields: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.asked.append({**fields, "path": path})
        if self.refusal is not None:
            status, words = self.refusal
            return status, {"error": "invalid_client", "error_description": words}
        return 200, {
            "access_token": self.token(), "token_type": "Bearer", "resource": fields.get("resource", ""),
            "expires_in": str(self.lasts), "expires_on": str(int(time.time()) + self.lasts),
        }  # fmt: skip


@contextmanager
def issuing(certificate: tuple[Path, Path]) -> Iterator[Issuer]:
    """`certificate`: a chain and its key, for 127.0.0.1."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            self._give(body)

        def do_GET(self) -> None:
            self._give(urlsplit(self.path).query)

        def _give(self, encoded: str) -> None:
            fields = {name: values[0] for name, values in parse_qs(encoded).items()}
            status, said = issuer.answer(urlsplit(self.path).path, fields)
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
