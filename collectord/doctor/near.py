"""The link before the daemon: would a client that was started here be let in?"""

from __future__ import annotations

import os
import queue
import secrets
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc

from collectord import __version__
from collectord._pb import collector_pb2 as pb
from collectord.address import split_address
from collectord.doctor.link import Link
from collectord.notation import mib
from collectord.settings import Settings

GREETING_SECONDS = 10.0
CLIENT_SOCKETS = ("/run/collectord/collectord.sock", "./collectord-data/collectord.sock")
"""Where a client looks if nobody tells it (clients/python, `endpoint.py`)."""

TLS = "tls://"
"""How a client's endpoint begins that is reached over TLS."""

_METHOD = "/collectord.v1.Collector/Collect"


def client(environment: Mapping[str, str], sockets: Sequence[str], settings: Settings | None) -> Link:
    """Whether a client that was started here would be let in. Where it looks: see `CLIENT_SOCKETS`."""
    said = environment.get("COLLECTORD_ENDPOINT")
    there = [path for path in sockets if Path(path).exists()]
    endpoint = said or "unix:" + (there[0] if there else sockets[0])
    why = "COLLECTORD_ENDPOINT" if said else "the default"
    if endpoint.startswith("dir:"):
        return Link("client", None, f"{endpoint} ({why}) needs no daemon: the process that scores collects by itself")
    target = endpoint.removeprefix(TLS)
    if endpoint.startswith("unix:"):
        path = Path(endpoint[5:].removeprefix("//"))
        target = f"unix:{path}"
        if not path.exists():
            todo = "mount the socket's directory, start the daemon, or set COLLECTORD_ENDPOINT"
            return Link("client", False, f"{endpoint} ({why}) does not exist", todo)
        if not os.access(path, os.W_OK):
            todo = "set socket_mode or socket_group"
            return Link("client", False, f"{endpoint} ({why}) may not be written by user {os.geteuid()}", todo)
    try:
        token = _token(environment)
        welcome = greet(
            target,
            token,
            _credentials(environment) if endpoint.startswith(TLS) else None,
            environment.get("COLLECTORD_TLS_NAME", ""),
        )
    except OSError as error:
        return Link(
            "client",
            False,
            f"{endpoint} ({why}): {error.filename} cannot be read: {error.strerror}",
            "mend the variable",
        )
    except grpc.RpcError as error:
        code = error.code().name if isinstance(error, grpc.Call) else "no code"
        todo = "does a daemon listen there? See its log"
        if not endpoint.startswith((TLS, "unix:")) and _speaks_tls(target):
            code, todo = "TLS is spoken there", f"set COLLECTORD_ENDPOINT=tls://{target}, and COLLECTORD_TLS_CA"
        elif endpoint.startswith(TLS) and isinstance(error, grpc.Call):
            code = f"{code}: {error.details()}"
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAUTHENTICATED:
            code, todo = f"{code}: {error.details()}", "ask for a token, and see the tenants' file of the daemon"
        return Link("client", False, f"{endpoint} ({why}) gives no Welcome: {code}", todo)
    ours = {f"unix:{Path(one[5:]).resolve()}" if one.startswith("unix:") else one for one in settings.listen} if settings else set()  # fmt: skip
    resolved = f"unix:{Path(target[5:]).resolve()}" if target.startswith("unix:") else target
    note = "" if resolved in ours else "; not an address of these settings"
    if welcome is None:
        return Link("client", False, f"{endpoint} ({why}) gives no Welcome", "another program may listen there")
    if not welcome.settings.collect:
        note += "; collects only what is switched on"
    return Link("client", True, f"{endpoint} ({why}) says Welcome, credit {mib(welcome.credit_bytes)}{note}")


def _speaks_tls(target: str) -> bool:
    """Whether a handshake succeeds, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(split_address(target), GREETING_SECONDS) as plain, context.wrap_socket(plain):
            return True
    except (OSError, ValueError):
        return False


def _token(environment: Mapping[str, str]) -> str:
    token, path = environment.get("COLLECTORD_TOKEN", ""), environment.get("COLLECTORD_TOKEN_FILE")
    return (token or (Path(path).read_text(encoding="latin-1") if path else "")).rstrip("\r\n")


def _credentials(environment: Mapping[str, str]) -> grpc.ChannelCredentials:
    names = ("COLLECTORD_TLS_CA", "COLLECTORD_TLS_KEY", "COLLECTORD_TLS_CERT")
    ca, key, cert = (Path(path).read_bytes() if (path := environment.get(name)) else None for name in names)
    return grpc.ssl_channel_credentials(ca, key, cert)


def greet(
    target: str, token: str = "", credentials: grpc.ChannelCredentials | None = None, name: str = ""
) -> pb.Welcome | None:
    """The Welcome that a client gets at a gRPC target, None if the stream ends without. `credentials`: over TLS; `name`: in the
    daemon's certificate, where it is another. Raises grpc.RpcError."""
    hello = pb.Hello(
        client_id=secrets.token_bytes(16), pid=os.getpid(), sdk="collectord doctor", version=__version__, token=token
    )
    outgoing: queue.SimpleQueue[pb.ClientMessage | None] = queue.SimpleQueue()
    outgoing.put(pb.ClientMessage(hello=hello))
    options: list[tuple[str, str | int]] = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        open_channel = grpc.insecure_channel(target, options=[*options, ("grpc.default_authority", "localhost")])
    else:
        options += [("grpc.ssl_target_name_override", name)] if name else []
        open_channel = grpc.secure_channel(target, credentials, options=options)
    with open_channel as channel:
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
