"""How a daemon is dialled: whether somebody listens there, through which channel, and how soon again."""

from __future__ import annotations

import os
import random
import socket
import threading
from typing import Any

from .endpoint import EndpointError, resolve

METHOD = "/collectord.v1.Collector/Collect"
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between attempts to connect: doubled from the first, jittered downwards. A daemon that is back has its clients
back well within a second."""
KNOCKING = 0.2
LOOKING_EVERY = 5.0
_chance = random.Random()
"""Not the host's: what it draws after a seed of its own must not depend on us."""

CHANNEL_OPTIONS = (
    # What comes back is a few bytes at a time. Looking for a wider window would wake an idle client's threads.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def pause(failures: int) -> float:
    """Seconds to wait after so many attempts that failed in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * _chance.uniform(0.5, 0.9)


def knock(path: str) -> str:
    """Why nobody can be reached behind a unix socket; empty if somebody listens, or if only gRPC can tell."""
    if not os.path.exists(path):  # noqa: PTH110
        return f"there is no socket {path}"
    with socket.socket(socket.AF_UNIX) as probe:
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


def quiet(call: Any) -> None:
    """Lets the threads that wait for this call sleep until something happens.

    gRPC's Python has them look ten times a second, so that the main thread hears of signals; ours are none, and it would
    be most of what an idle client costs. Where gRPC has no such condition, nothing is changed.
    """
    condition = getattr(getattr(call, "_state", None), "condition", None)
    if isinstance(condition, threading.Condition):
        wait = condition.wait
        condition.wait = lambda timeout=None: wait(LOOKING_EVERY)  # type: ignore[method-assign]


def dial(target: str, path: str | None, credentials: Any = None, name: str = "") -> Any:
    """A gRPC channel to where `resolve` found the daemon, over TLS with `credentials`; `name`: in its certificate, where it is
    not the host's. It connects with its first call."""
    import grpc

    if credentials is not None:
        options = CHANNEL_OPTIONS + ((("grpc.ssl_target_name_override", name),) if name else ())
        return grpc.secure_channel(target, credentials, options=options)
    options = CHANNEL_OPTIONS + ((("grpc.default_authority", "localhost"),) if path else ())
    return grpc.insecure_channel(target, options=options)
