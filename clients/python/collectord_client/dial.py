"""Whether somebody listens where a daemon should be, and how soon it is tried again."""

from __future__ import annotations

import os
import random
import socket

from .endpoint import EndpointError, resolve

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between attempts to connect: doubled from the first, jittered downwards. A daemon that is back has its clients
back well within a second."""
KNOCKING = 0.2
_chance = random.Random()
"""Not the host's: what it draws after a seed of its own must not depend on us."""


def pause(failures: int) -> float:
    """Seconds to wait after so many attempts that failed in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * _chance.uniform(0.5, 0.9)


def knock(path: str) -> str:
    """Why nobody can be reached behind a unix socket; empty if somebody listens, or if only gRPC can tell."""
    if not os.path.exists(path):  # noqa: PTH110
        return f"there is no socket {path}"
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        return f"{path}: this system has no unix sockets"
    with socket.socket(family) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return ""
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return ""


def refuses(target: str) -> bool:
    """True where nobody listens on `host:port`, as far as that can be told at once."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCKING).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def may_answer(endpoint: str | None, answered_before: bool) -> bool:
    """False where waiting is in vain: there is no daemon here, as on a developer's machine."""
    try:
        target, path = resolve(endpoint)
    except EndpointError:
        return False
    if path is not None:
        # One that was there a moment ago may come back, as long as its socket is there.
        return os.path.exists(path) if answered_before else not knock(path)  # noqa: PTH110
    return answered_before or not refuses(target)
