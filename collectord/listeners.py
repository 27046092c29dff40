"""What a daemon listens with: gRPC servers, and the sockets and ports that they are bound to."""

from __future__ import annotations

import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import grpc
import grpc.aio

from collectord._pb import collector_pb2 as pb
from collectord.address import bindable, check_for_clients, check_socket_path, framed_beside, is_loopback, split_address
from collectord.certificates import Certificates, Pair
from collectord.errors import ConfigError
from collectord.ingest.gate import MAX_MESSAGE_BYTES
from collectord.logs import event
from collectord.spool import take_lock

ADMIN_MODE = 0o600
LAST_ID = 2**32 - 1
"""Of a group; as a number it means none."""

_log = logging.getLogger("collectord.daemon")


class Listeners:
    """Binds servers to addresses. Unix sockets get `mode` and the group named `group`; the admin socket is its user's alone.

    Ports speak TLS where there are `certificates`. Raises `ConfigError` naming the setting, `SpoolInUse` where another daemon
    listens.
    """

    def __init__(self, mode: int, group: str | None, certificates: Certificates | None = None) -> None:
        self._mode = mode
        self._group = None if group is None else group_id(group)
        self._certificates = certificates
        self._sockets: list[tuple[Path, int, int | None]] = []
        self._locks: list[int] = []

    def bind(self, server: grpc.aio.Server, address: str) -> None:
        """`unix:PATH` or `HOST:PORT`, for clients."""
        if address.startswith("unix:"):
            path = socket_path(address)
            try:
                check_for_clients(bindable(path))
            except ValueError as error:
                raise ConfigError(f"listen: {error}") from None
            self._bind_socket(server, path, "listen", self._mode, self._group)
            return
        host, port = split_address(address)
        assert self._certificates is not None or is_loopback(host)
        try:
            if self._certificates is None:
                bound = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, _credentials(self._certificates))
        except RuntimeError:
            bound = 0
        if bound == 0 or (port and bound != port):
            raise ConfigError(
                f"listen: {address} cannot be bound; has another program, or a second daemon on this node, the port?"
            )
        event(_log, logging.INFO, "listening", address=f"{host}:{bound}")

    def bind_admin(self, server: grpc.aio.Server, path: Path) -> None:
        """The socket in the spool, for the command line."""
        self._bind_socket(server, path, "spool", ADMIN_MODE, None)

    def open(self) -> None:
        """Lets in whom the settings name; once the servers have started, which makes the sockets."""
        for path, mode, group in self._sockets:
            _let_in(path, mode, group)

    def release_locks(self) -> None:
        """Another daemon may listen here; the servers have stopped. May be repeated."""
        locks, self._locks = self._locks, []
        for fd in locks:
            os.close(fd)

    def bind_framed(self, address: str) -> socket.socket | None:
        """The socket without HTTP/2 beside `unix:PATH`, which is bound already, under the same lock. None where there is none: such a
        path would be too long, and clients speak gRPC."""
        path = framed_beside(socket_path(address))
        if path is None:
            event(_log, logging.INFO, "clients speak gRPC: a path longer by .framed is too long", address=address)
            return None
        bound = socket.socket(socket.AF_UNIX)
        with self._making(path, "listen"):
            bound.bind(str(bindable(path)))
        self._sockets.append((path, self._mode, self._group))
        return bound

    def _bind_socket(self, server: grpc.aio.Server, path: Path, field: str, mode: int, group: int | None) -> None:
        try:
            check_socket_path(path)
        except ValueError as error:
            raise ConfigError(f"{field}: {error}") from None
        with self._making(path, field, lock=True):
            server.add_insecure_port(f"unix:{quote(str(bindable(path)))}")
        self._sockets.append((path, mode, group))

    @contextmanager
    def _making(self, path: Path, field: str, lock: bool = False) -> Iterator[None]:
        """Makes room for a socket, which is made in the block."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if lock:
                # gRPC takes a socket over without asking; the lock tells a living daemon from a stale socket.
                self._locks.append(
                    take_lock(
                        path.with_name(path.name + ".lock"),
                        f"another daemon listens on {path}; stop it, or name another socket for this one with --{field}",
                    )
                )
            if path.is_symlink():
                # Behind it may be somebody else's socket, or file: neither is ours to remove.
                raise ConfigError(f"{field}: {path} is a symbolic link; name the socket itself, or remove the link")
            if path.exists() and not path.is_socket():
                raise ConfigError(f"{field}: {path} is a file and no socket; name another path, or move it away")
            path.unlink(missing_ok=True)
            yield
        except (OSError, RuntimeError) as error:
            why = str(error.strerror) if isinstance(error, OSError) else "is its directory writable?"
            if isinstance(error, PermissionError):
                why += f"; its directory must be one that user {os.geteuid()} may write: chown {os.geteuid()} {path.parent}"
            raise ConfigError(f"{field}: the socket {path} cannot be made: {why}") from None


def socket_path(address: str) -> Path:
    """Of `unix:PATH`, absolute. Its directory may be reached over links; the socket itself may be none."""
    path = Path(address.removeprefix("unix:"))
    return path.parent.resolve() / path.name


class Health:
    """What servers say to probes, for the whole and for a service. NOT_SERVING until it is told. On the event loop."""

    def __init__(self, service: str) -> None:
        from grpc_health.v1 import health

        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = ("", service)

    async def say(self, serving: bool) -> None:
        """Whoever watches hears of it at once."""
        from grpc_health.v1.health_pb2 import HealthCheckResponse

        for name in self._names:
            await self.servicer.set(name, HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)


async def new_server(
    service: str, options: Sequence[tuple[str, int]] = (), health: Health | None = None
) -> tuple[grpc.aio.Server, Health]:
    """A gRPC server with reflection, and its health, which may be that of others too."""
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
    if health is None:
        health = Health(service)
        await health.say(False)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    reflection.enable_server_reflection((service, "grpc.health.v1.Health"), server, pool=pb.POOL)
    return server, health


def group_id(name: str) -> int:
    """The number of a group. Raises `ConfigError` if there is none of that name, or the number can be none."""
    try:
        number = int(name) if name.isascii() and name.isdigit() else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise ConfigError(f"socket_group: there is no group {name!r}") from None
    if not 0 <= number < LAST_ID:
        raise ConfigError(f"socket_group: {name} is no group: numbers go to {LAST_ID - 1}")
    return number


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Of a port; each connection gets the certificate that counts when it comes."""
    given = certificates.pair

    def latest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        pair = certificates.pair
        if pair is given:
            return None
        given = pair
        return _configuration(pair)

    # Its stub leaves out that None means: as before.
    return grpc.dynamic_ssl_server_credentials(_configuration(given), latest, given.client_ca is not None)  # type: ignore[arg-type]


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], pair.client_ca)


def _let_in(path: Path, mode: int, group: int | None) -> None:
    """Gives our socket its mode and group. Who may write its directory could have put something else there meanwhile, such as a
    link to a file of ours: so it is opened as it is, looked at, and named by its descriptor."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"listen: the socket {path} is gone: {error.strerror}; who else writes its directory?"
        ) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(f"listen: {path} is not our socket any more; who else writes its directory?")
        ours = f"/proc/self/fd/{fd}"
        Path(ours).chmod(mode)
        if group is not None:
            _give_to(path, ours, group)
    finally:
        os.close(fd)


def _give_to(path: Path, ours: str, group: int) -> None:
    try:
        os.chown(ours, -1, group)
    except OSError as error:
        raise ConfigError(
            f"socket_group: user {os.getuid()} cannot give {path} to group {group}: {error.strerror}"
        ) from None
