"""Where the daemon listens, or `dir:PATH` where there is none and a process collects by itself (`embedded.py`)."""

from __future__ import annotations

import hashlib
import os
import re

MAX_SOCKET_PATH = 107
"""What `sockaddr_un` holds on Linux, less its closing NUL."""

DEFAULT_SOCKETS = ("/run/collectord/collectord.sock", "./collectord-data/collectord.sock")

TLS = "tls://"
"""An endpoint that begins with it is `host:port`, reached over TLS."""

SPOOL = os.path.join("_collectord", "embedded")  # noqa: PTH118
SOCKET = "collectord.sock"

_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)
"""What gRPC takes as it stands in the address of a socket."""
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:\[\]]+):(\d{1,5})")


class EndpointError(ValueError):
    """An endpoint that can never work; the message says what would."""


def check(endpoint: str) -> str:
    """`endpoint` itself if it is `unix:/path`, `host:port`, `tls://host:port` or `dir:/path`, the last with its path made absolute: it is where
    the rows go, whatever the working directory becomes. Raises EndpointError."""
    _parse(endpoint)
    directory = directory_of(endpoint)
    return endpoint if directory is None else f"dir:{directory}"


def chosen(endpoint: str | None) -> str:
    """What was given, else COLLECTORD_ENDPOINT; empty where neither says anything."""
    return endpoint or os.environ.get("COLLECTORD_ENDPOINT") or ""


def directory_of(endpoint: str | None) -> str | None:
    """PATH, absolute, of an endpoint `dir:PATH`; None of any other. None is COLLECTORD_ENDPOINT. Raises EndpointError."""
    where = chosen(endpoint)
    if not where.startswith("dir:"):
        return None
    path = where.removeprefix("dir:").removeprefix("//")
    if not path or "\0" in path:
        raise EndpointError(f"{where!r}: a directory must follow dir:")
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111


def resolve(endpoint: str | None) -> tuple[str, str | None]:
    """The gRPC target to connect to now, and the socket's path where it is one.

    Looked up at each attempt: COLLECTORD_ENDPOINT, else the first default socket that is there. Raises EndpointError.
    """
    where = chosen(endpoint)
    if not where:
        there = [path for path in DEFAULT_SOCKETS if os.path.exists(path)]  # noqa: PTH110
        where = "unix:" + (there[0] if there else DEFAULT_SOCKETS[0])
    return _parse(where)


def spool_of(directory: str) -> str:
    """Where rows wait until they are in their files: COLLECTORD_SPOOL, else under PATH beside the other control files."""
    return os.path.abspath(os.environ.get("COLLECTORD_SPOOL") or os.path.join(directory, SPOOL))  # noqa: PTH100, PTH118


def socket_of(directory: str) -> str:
    """The socket of whoever serves `directory`: in the spool, or where its path is short enough."""
    spool = os.path.realpath(spool_of(directory))
    path = os.path.join(spool, SOCKET)  # noqa: PTH118
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH and _PLAIN.fullmatch(path):
        return path
    name = f"collectord-{os.geteuid()}-{hashlib.sha256(os.fsencode(spool)).hexdigest()[:16]}"
    return os.path.join("/tmp", name, SOCKET)  # noqa: PTH118, S108 - whoever listens there checks whose it is


def _parse(endpoint: str) -> tuple[str, str | None]:
    directory = directory_of(endpoint)
    if directory is not None:
        path = socket_of(directory)
        return f"unix:{path}", path
    if not endpoint.startswith("unix:"):
        target = endpoint.removeprefix(TLS)
        found = _HOST_PORT.fullmatch(target)
        if not found or not 1 <= int(found[2]) <= 65535:
            raise EndpointError(f"{endpoint!r} is none of unix:/path/of.sock, host:port, tls://host:port and dir:/path")
        return target, None
    path = endpoint.removeprefix("unix:").removeprefix("//")
    if not path or "\0" in path:
        raise EndpointError(f"{endpoint!r}: a path must follow unix:")
    path = os.path.abspath(path)  # noqa: PTH100
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        # Deep in somebody's home the socket beside the script still has a short name.
        nearer = os.path.relpath(path)
        if len(os.fsencode(nearer)) <= MAX_SOCKET_PATH:
            return f"unix:{nearer}", nearer
        raise EndpointError(f"the socket path {path!r} has {size} bytes, a socket's has at most {MAX_SOCKET_PATH}")
    return f"unix:{path}", path
