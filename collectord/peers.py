"""Who is connected to the unix sockets, as the kernel knows it: nobody can lie about that.

gRPC accepts connections by itself and shows neither their descriptors nor which stream came over which of them. But they are
descriptors of this process, so who is there at all can be seen at any time, for nothing while nobody asks. Which client is
which process is then told as far as that is certain, and what is not is left open: see `Peers.of`.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from collectord.address import bindable

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """A process at the other end of a connection. Of a process in another PID namespace, as a pod's is, `pid` is 0."""

    listener: str
    pid: int
    uid: int
    gid: int


class Peers:
    """Those that are connected at one moment."""

    def __init__(self, found: Iterable[Peer]) -> None:
        self.connections = Counter(found)

    def of(self, clients: Sequence[tuple[str, int]]) -> list[Peer | None]:
        """Who each of these clients is, that has come to a listener and says it is process so-and-so.

        That process, if it is connected there, and no more clients say so than it has connections. Else, without a number, the
        user, if only one is connected there at all. None: it cannot be told. Who shares a PID namespace with another client may
        still give himself out for it while that has a connection to spare: nothing is ever decided by this.
        """
        said = Counter(clients)
        there: dict[tuple[str, int], tuple[Peer, int]] = {
            (peer.listener, peer.pid): (peer, count) for peer, count in self.connections.items() if peer.pid
        }
        users: dict[str, set[tuple[int, int]]] = {}
        for peer in self.connections:
            users.setdefault(peer.listener, set()).add((peer.uid, peer.gid))
        found: list[Peer | None] = []
        for listener, pid in clients:
            process, connections = there.get((listener, pid), (None, 0))
            of_listener = users.get(listener, set())
            if process is not None and said[listener, pid] <= connections:
                found.append(process)
            elif len(of_listener) == 1:
                found.append(Peer(listener, 0, *next(iter(of_listener))))
            else:
                found.append(None)
        return found


def connected(listeners: Iterable[tuple[str, Path]]) -> Peers:
    """Everybody who is connected to these sockets of this process, by address and path."""
    addresses = {str(bindable(path)): address for address, path in listeners}
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        peer = _peer(int(name), addresses)
        if peer is not None:
            found.append(peer)
    return Peers(found)


def _peer(fd: int, addresses: dict[str, str]) -> Peer | None:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        # A copy, so that this one is ours to close whatever becomes of the other.
        with socket.socket(fileno=os.dup(fd)) as copy:
            if copy.family != socket.AF_UNIX or copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            address = addresses.get(str(copy.getsockname()))
            if address is None:
                return None
            pid, uid, gid = _CREDENTIALS.unpack(
                copy.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
    except OSError:
        # It was closed meanwhile.
        return None
    return Peer(address, pid, uid, gid)
