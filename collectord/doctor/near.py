"""The link before the daemon: would a client that was started here be let in?"""

from __future__ import annotations

import os
import queue
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc

from collectord import __version__
from collectord._pb import collector_pb2 as pb
from collectord.config import Settings
from collectord.doctor.link import Link, mib

GREETING_SECONDS = 10.0
CLIENT_SOCKETS = ("/run/collectord/collectord.sock", "./collectord-data/collectord.sock")
"""Where a client looks if nobody tells it (clients/python, `endpoint.py`)."""

_METHOD = "/collectord.v1.Collector/Collect"


def client(environment: Mapping[str, str], sockets: Sequence[str], settings: Settings | None) -> Link:
    """Whether a client that was started here would be let in. Where it looks: see `CLIENT_SOCKETS`."""
    said = environment.get("COLLECTORD_ENDPOINT")
    there = [path for path in sockets if Path(path).exists()]
    endpoint = said or "unix:" + (there[0] if there else sockets[0])
    why = "COLLECTORD_ENDPOINT" if said else "the default"
    if endpoint.startswith("dir:"):
        return Link("client", None, f"{endpoint} ({why}) needs no daemon: the process that scores collects by itself")
    target = endpoint
    if endpoint.startswith("unix:"):
        path = Path(endpoint[5:].removeprefix("//")).absolute()
        target = f"unix:{path}"
        if not path.exists():
            todo = "mount the socket's directory, start the daemon, or set COLLECTORD_ENDPOINT"
            return Link("client", False, f"{endpoint} ({why}) does not exist", todo)
        if not os.access(path, os.W_OK):
            todo = "set socket_mode or socket_group"
            return Link("client", False, f"{endpoint} ({why}) may not be written by user {os.geteuid()}", todo)
    try:
        welcome = greet(target)
    except grpc.RpcError as error:
        code = error.code().name if isinstance(error, grpc.Call) else "no code"
        todo = "does a daemon listen there? See its log"
        return Link("client", False, f"{endpoint} ({why}) gives no Welcome: {code}", todo)
    ours = {f"unix:{Path(one[5:]).resolve()}" if one.startswith("unix:") else one for one in settings.listen} if settings else set()  # fmt: skip
    resolved = f"unix:{Path(target[5:]).resolve()}" if target.startswith("unix:") else target
    note = "" if resolved in ours else "; not an address of these settings"
    if welcome is None:
        return Link("client", False, f"{endpoint} ({why}) gives no Welcome", "another program may listen there")
    if not welcome.settings.collect:
        note += "; collects only what is switched on"
    return Link("client", True, f"{endpoint} ({why}) says Welcome, credit {mib(welcome.credit_bytes)}{note}")


def greet(target: str) -> pb.Welcome | None:
    """The Welcome that a client gets at a gRPC target, None if the stream ends without. Raises grpc.RpcError."""
    hello = pb.Hello(client_id=secrets.token_bytes(16), pid=os.getpid(), sdk="collectord doctor", version=__version__)
    outgoing: queue.SimpleQueue[pb.ClientMessage | None] = queue.SimpleQueue()
    outgoing.put(pb.ClientMessage(hello=hello))
    options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options=options) as channel:
        call = channel.stream_stream(
            _METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=pb.ServerMessage.FromString,
        )(iter(outgoing.get, None), timeout=GREETING_SECONDS)
        try:
            # A stream that ends without a word is no Welcome either.
            answer: pb.ServerMessage | None = next(iter(call), None)
            return answer.welcome if answer is not None and answer.HasField("welcome") else None
        finally:
            outgoing.put(None)
            call.cancel()  # type: ignore[no-untyped-call]
