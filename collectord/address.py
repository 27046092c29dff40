"""Where a daemon listens: `HOST:PORT` of this machine, and paths of unix sockets."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

MAX_SOCKET_PATH = 107
FRAMED = ".framed"
"""Behind the path of a socket: the one beside it, for clients that do without HTTP/2 (`ingest/framed.py`)."""


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[V6]:PORT`.

    Raises:
        ValueError: it is neither.
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", address)
    if not match or int(match[3]) > 65_535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return match[1] or match[2], int(match[3])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_guarded(address: str, tls: bool, identified: bool) -> None:
    """Raises ValueError where others could reach an address, `HOST:PORT`, in the clear or without saying who they are."""
    if is_loopback(split_address(address)[0]) or (tls and identified):
        return
    missing = [
        what for what, there in (("tls_cert and tls_key", tls), ("tenants or tls_client_ca", identified)) if not there
    ]
    raise ValueError(
        f"{address} is reachable from other machines; without TLS and a token only loopback addresses "
        f"(127.0.0.1, [::1], localhost) are accepted. Set {', and '.join(missing)}"
    )


def fits(path: Path) -> bool:
    """Whether a socket's address has room for it."""
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH


def bindable(path: Path) -> Path:
    """An absolute path, or the same from the working directory where a socket's address has no room for it otherwise, or gRPC would
    cut it at a comma: for whoever binds it, and never leaves that directory."""
    if fits(path) and "," not in str(path):
        return path
    fitting = [one for one in (path, Path(os.path.relpath(path))) if fits(one)]
    return next((one for one in fitting if "," not in str(one)), fitting[0] if fitting else path)


def check_socket_path(path: Path) -> None:
    """Raises ValueError where the kernel would cut the path, an absolute one, or refuse it with a riddle."""
    if not fits(bindable(path)):
        raise ValueError(f"the socket path {path} is longer than {MAX_SOCKET_PATH} bytes; choose a shorter one")


def check_for_clients(path: Path) -> None:
    """Raises ValueError where clients would look for a socket elsewhere."""
    if "," in str(path):
        raise ValueError(f"gRPC, which clients use, cuts {path} at the comma; choose a path without one")
    if path.name.endswith(FRAMED):
        raise ValueError(
            f"{path} is where clients look for the socket beside {path.with_suffix('')}; choose another name"
        )


def framed_beside(path: Path) -> Path | None:
    """The socket without HTTP/2 beside the one at `path`; None where its path would be too long, so that there is none."""
    beside = path.with_name(path.name + FRAMED)
    return beside if fits(bindable(beside)) else None
