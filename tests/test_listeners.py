"""Sockets: whose they are, who may connect, and what stands in their place that is none of ours."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import pytest

from collectord.errors import ConfigError
from collectord.listeners import Listeners, group_id, socket_path
from tests.e2e.conftest import folder

__all__ = ["folder"]


def listening(path: Path, meanwhile: Callable[[], None] = lambda: None, group: str | None = None) -> None:
    """Binds and opens a socket as a daemon does; `meanwhile` comes between the two."""

    async def run() -> None:
        server = grpc.aio.server()
        listeners = Listeners(0o660, group)
        try:
            listeners.bind(server, f"unix:{path}")
            await server.start()
            meanwhile()
            listeners.open()
            found = path.lstat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o660
        finally:
            await server.stop(None)
            listeners.release_locks()

    asyncio.run(run())


@contextmanager
def another(path: Path) -> Iterator[socket.socket]:
    """Somebody else's socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        yield made


def test_a_stale_socket_is_replaced_and_a_file_is_not(folder: Path) -> None:
    path = folder / "s"
    with another(path):
        pass
    listening(path)
    path.unlink(missing_ok=True)
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"^listen: .*/s is a file and no socket"):
        listening(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("target", ["elsewhere", "absent", "file"])
def test_a_link_in_the_place_of_the_socket_stops_the_start_and_what_it_names_is_left_alone(
    folder: Path, target: str
) -> None:
    """It may have been put there so that the daemon removes, or opens to all, what another owns."""
    (folder / "file").write_text("mine")
    (folder / "s").symlink_to(folder / target)
    with another(folder / "elsewhere"):
        with pytest.raises(ConfigError, match=r"^listen: .*/s is a symbolic link; name the socket itself, or remove"):
            listening(folder / "s")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "elsewhere"))
    assert not (folder / "absent").exists()


def test_the_directory_of_the_socket_may_be_reached_over_a_link(folder: Path) -> None:
    """As /var/run is."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    assert socket_path(f"unix:{folder}/link/s") == folder / "real" / "s"
    listening(folder / "link" / "s")


def test_a_socket_that_is_swapped_for_a_link_before_it_is_opened_opens_nothing_else(folder: Path) -> None:
    """Who may write the directory could else have any file of ours made writable for all."""
    path, secret = folder / "s", folder / "secret"
    secret.write_text("mine")
    secret.chmod(0o600)

    def swap() -> None:
        path.unlink()
        path.symlink_to(secret)

    with pytest.raises(ConfigError, match=r"is gone|is not our socket any more"):
        listening(path, swap)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    private = folder / "private"
    path.unlink()
    with another(private):
        private.chmod(0o600)

        def link() -> None:
            path.unlink()
            path.symlink_to(private)

        with pytest.raises(ConfigError, match="is not our socket any more"):
            listening(path, link)
        assert stat.S_IMODE(private.stat().st_mode) == 0o600, "nor another socket of ours"
    with pytest.raises(ConfigError, match="is gone: No such file"):
        listening(folder / "t", (folder / "t").unlink)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no-such-group", "there is no group 'no-such-group'"),
        ("", "there is no group ''"),
        ("²", "there is no group '²'"),
        ("-1", "there is no group '-1'"),
        ("4294967295", "4294967295 is no group: numbers go to 4294967294"),
        ("99999999999999999999", "is no group"),
    ],
)
def test_a_group_that_does_not_exist_is_named(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"^socket_group: .*{why}"):
        group_id(name)


def test_a_group_by_its_number_or_name_gets_the_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may not be given is named."""
    own = os.getgid()
    assert group_id(str(own)) == own
    listening(folder / "s", group=str(own))

    def refused(path: object, uid: int, gid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(ConfigError, match=rf"^socket_group: user {os.getuid()} cannot give {folder}/s to group {own}"):
        listening(folder / "s", group=str(own))


def test_who_may_not_write_the_directory_can_connect_and_not_remove_the_socket(folder: Path) -> None:
    """What a read-only mount does in a pod: connecting asks for nothing but the socket's own mode."""
    shared = folder / "shared"
    shared.mkdir()
    with another(shared / "s"):
        (shared / "s").chmod(0o666)
        shared.chmod(0o555)
        program = (
            "import os, socket, sys\n"
            # Root may do anything in any directory; a pod is not root.
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "with socket.socket(socket.AF_UNIX) as one: one.connect(sys.argv[1])\n"
            "for attempt in (lambda: os.unlink(sys.argv[1]), lambda: os.symlink('/', sys.argv[1] + '2'), "
            "lambda: os.rename(sys.argv[1], sys.argv[1] + '3')):\n"
            "    try: attempt()\n    except PermissionError: continue\n    sys.exit('it could')\n"
        )
        done = subprocess.run([sys.executable, "-c", program, str(shared / "s")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (shared / "s").is_socket()
        shared.chmod(0o755)
