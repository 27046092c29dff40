"""Who is connected: as the kernel says, whatever a client says, and nothing where it cannot be told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectord.peers import Peer, Peers, connected
from tests.e2e.conftest import folder

__all__ = ["folder"]

A, B = "unix:/run/a", "unix:/run/b"
ONE, TWO, POD, OTHER = Peer(A, 1, 1000, 1000), Peer(A, 2, 2000, 2000), Peer(A, 0, 3000, 3000), Peer(A, 0, 4000, 4000)


def test_a_client_is_the_process_that_it_says_if_that_is_connected() -> None:
    found = Peers([ONE, TWO, Peer(B, 7, 7, 7)])
    assert found.of([(A, 1), (A, 2), (B, 7)]) == [ONE, TWO, Peer(B, 7, 7, 7)]


def test_one_that_says_what_is_not_so_is_nobody() -> None:
    """A process that is not there, is on another socket, or said by more than it has connections."""
    found = Peers([ONE, TWO, Peer(B, 7, 7, 7), Peer(B, 8, 8, 8)])
    assert found.of([(A, 3), (A, 7), (A, 0)]) == [None, None, None]
    assert found.of([(A, 1), (A, 1), (A, 2)]) == [None, None, TWO]
    assert Peers([ONE, ONE, TWO]).of([(A, 1), (A, 1)]) == [ONE, ONE]


def test_where_all_are_one_user_that_is_certain_whatever_they_say() -> None:
    """As of pods, whose processes have no number here."""
    assert Peers([POD, POD]).of([(A, 17), (A, 0)]) == [POD, POD]
    assert Peers([ONE]).of([(A, 99)]) == [Peer(A, 0, 1000, 1000)]
    assert Peers([POD, OTHER]).of([(A, 17)]) == [None]
    assert Peers([]).of([(A, 17)]) == [None]


@pytest.fixture
def listener(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "s"))
        made.listen()
        yield made


def test_the_kernel_is_asked_of_every_connection_to_the_socket_and_of_no_other(listener: socket.socket) -> None:
    """Another process has two, we have one; the listening socket itself, pairs, files and TCP do not count."""
    path = Path(listener.getsockname())
    program = (
        f"import socket,sys\nmade=[socket.socket(socket.AF_UNIX) for _ in 'ab']\n"
        f"for one in made: one.connect({str(path)!r})\nprint('there',flush=True)\nsys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pair = socket.socketpair()
    tcp = socket.create_server(("127.0.0.1", 0))
    ours = socket.socket(socket.AF_UNIX)
    accepted = []
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        ours.connect(str(path))
        accepted = [listener.accept()[0] for _ in range(3)]
        before = set(Path("/proc/self/fd").iterdir())
        found = connected([("unix:c", path)])
        assert set(Path("/proc/self/fd").iterdir()) == before, "nothing stays open"
        user = os.getuid(), os.getgid()
        assert found.connections == {Peer("unix:c", child.pid, *user): 2, Peer("unix:c", os.getpid(), *user): 1}
        assert not connected([("unix:c", path.with_name("other"))]).connections
    finally:
        for one in (*pair, tcp, ours, *accepted):
            one.close()
        child.communicate()
