"""Where the daemon listens."""

from __future__ import annotations

import os
import re

MAX_SOCKET_PATH = 107
"""What `sockaddr_un` holds on Linux, less its closing NUL."""

DEFAULT_SOCKETS = ("/run/collectord/collectord.sock", "./collectord-data/collectord.sock")

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):(\d{1,5})")


class EndpointError(ValueError):
    """An endpoint that can never work; the message says what would."""


def check(endpoint: str) -> str:
    """`endpoint` itself if it is `unix:/path` or `host:port`. Raises EndpointError."""
    _parse(endpoint)
    return endpoint


def resolve(endpoint: str | None) -> tuple[str, str | None]:
    """The gRPC target to connect to now, and the socket's path where it is one.

    Looked up at each attempt: COLLECTORD_ENDPOINT, else the first default socket that is there. Raises EndpointError.
    """
    chosen = endpoint or os.environ.get("COLLECTORD_ENDPOINT")
    if not chosen:
        there = [path for path in DEFAULT_SOCKETS if os.path.exists(path)]  # noqa: PTH110
        chosen = "unix:" + (there[0] if there else DEFAULT_SOCKETS[0])
    return _parse(chosen)


def _parse(endpoint: str) -> tuple[str, str | None]:
    if not endpoint.startswith("unix:"):
        found = _HOST_PORT.fullmatch(endpoint)
        if not found or not 1 <= int(found[2]) <= 65535:
            raise EndpointError(f"{endpoint!r} is neither unix:/path/of.sock nor host:port")
        return endpoint, None
    path = endpoint.removeprefix("unix:").removeprefix("//")
    if not path or "\0" in path:
        raise EndpointError(f"{endpoint!r}: a path must follow unix:")
    path = os.path.abspath(path)  # noqa: PTH100
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        raise EndpointError(f"the socket path {path!r} has {size} bytes, a socket's has at most {MAX_SOCKET_PATH}")
    return f"unix:{path}", path
