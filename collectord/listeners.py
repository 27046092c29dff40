"""What a daemon listens with: gRPC servers, and the sockets and ports that they are bound to."""

from __future__ import annotations

import grp
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio

from collectord._pb import collector_pb2 as pb
from collectord.address import check_for_clients, check_socket_path, is_loopback, split_address
from collectord.errors import ConfigError
from collectord.ingest.session import MAX_MESSAGE_BYTES
from collectord.logs import event
from collectord.spool import take_lock

ADMIN_MODE = 0o600

_log = logging.getLogger("collectord.daemon")


class Listeners:
    """Binds servers to addresses. Unix sockets get `mode` and the group named `group`; the admin socket is its user's alone.

    Raises `ConfigError` naming the setting, `SpoolInUse` where another daemon listens.
    """

    def __init__(self, mode: int, group: str | None) -> None:
        self._mode = mode
        self._group = None if group is None else group_id(group)
        self._sockets: list[tuple[Path, int, int | None]] = []
        self._locks: list[int] = []

    def bind(self, server: grpc.aio.Server, address: str) -> None:
        """`unix:PATH` or `HOST:PORT`, for clients."""
        if address.startswith("unix:"):
            path = Path(address[5:]).resolve()
            try:
                check_for_clients(path)
            except ValueError as error:
                raise ConfigError(f"listen: {error}") from None
            self._bind_socket(server, path, "listen", self._mode, self._group)
            return
        host, port = split_address(address)
        assert is_loopback(host)
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError:
            bound = 0
        if bound == 0 or (port and bound != port):
            raise ConfigError(f"listen: {address} cannot be bound; is another program using the port?")
        event(_log, logging.INFO, "listening", address=f"{host}:{bound}")

    def bind_admin(self, server: grpc.aio.Server, path: Path) -> None:
        """The socket in the spool, for the command line."""
        self._bind_socket(server, path, "spool", ADMIN_MODE, None)

    def open(self) -> None:
        """Lets in whom the settings name; once the servers have started, which makes the sockets."""
        for path, mode, group in self._sockets:
            path.chmod(mode)
            if group is not None:
                _give_to(path, group)

    def release_locks(self) -> None:
        """Another daemon may listen here; the servers have stopped. May be repeated."""
        locks, self._locks = self._locks, []
        for fd in locks:
            os.close(fd)

    def _bind_socket(self, server: grpc.aio.Server, path: Path, field: str, mode: int, group: int | None) -> None:
        try:
            check_socket_path(path)
        except ValueError as error:
            raise ConfigError(f"{field}: {error}") from None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # gRPC takes a socket over without asking; the lock tells a living daemon from a stale socket.
            self._locks.append(take_lock(path.with_name(path.name + ".lock"), f"another daemon listens on {path}"))
            if path.exists() and not path.is_socket():
                raise ConfigError(f"{field}: {path} is a file and no socket; name another path, or move it away")
            path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{quote(str(path))}")
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is its directory writable?"
            raise ConfigError(f"{field}: the socket {path} cannot be made: {why}") from None
        self._sockets.append((path, mode, group))


class Health:
    """What a server says to probes, for the whole and for its service. NOT_SERVING until it is told. On the event loop."""

    def __init__(self, service: str) -> None:
        from grpc_health.v1 import health

        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = ("", service)

    async def say(self, serving: bool) -> None:
        """Whoever watches hears of it at once."""
        from grpc_health.v1.health_pb2 import HealthCheckResponse

        for name in self._names:
            await self.servicer.set(name, HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)


async def new_server(service: str, options: Sequence[tuple[str, int]] = ()) -> tuple[grpc.aio.Server, Health]:
    """A gRPC server with reflection, and its health."""
    from grpc_health.v1 import health_pb2_grpc
    from grpc_reflection.v1alpha import reflection

    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.max_ping_strikes", 0),
            *options,
        ]
    )
    health = Health(service)
    await health.say(False)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection((service, "grpc.health.v1.Health"), server, pool=pb.POOL)
    return server, health


def group_id(name: str) -> int:
    """The number of a group. Raises `ConfigError` if there is none of that name."""
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"socket_group: there is no group {name!r}") from None


def _give_to(path: Path, group: int) -> None:
    try:
        os.chown(path, -1, group)
    except OSError as error:
        raise ConfigError(
            f"socket_group: user {os.getuid()} cannot give {path} to group {group}: {error.strerror}"
        ) from None
