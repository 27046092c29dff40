"""Importing opens no connection and asks for no name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, json, pkgutil, sys
asked = []
sys.addaudithook(lambda event, args: asked.append(f"{event} {args[1:]}") if event in WATCHED else None)
package = importlib.import_module(sys.argv[1])
# Those two do something when they are imported: that is what they are for.
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".") if not RUNS(found.name)]
for name in names:
    importlib.import_module(name)
if len(sys.argv) > 2:
    import socket
    socket.getaddrinfo("127.0.0.1", 80)
print(json.dumps([len(names), asked]))
"""
WATCHED = (
    "socket.connect",
    "socket.sendto",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "urllib.Request",
    "http.client.connect",
)


def asked(package: str, *more: str) -> tuple[int, list[str]]:
    """How many modules a package has, and what they have asked the network for when they were imported."""
    program = PROGRAM.replace("WATCHED", repr(WATCHED)).replace(
        "RUNS(found.name)", "found.name.endswith(('.__main__', '.sitecustomize'))"
    )
    done = subprocess.run([sys.executable, "-c", program, package, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    number, found = json.loads(done.stdout.splitlines()[-1])
    return number, found


@pytest.mark.parametrize(("package", "least"), [("collectord", 150), ("collectord_client", 50)])
def test_nothing_is_asked_of_the_network(package: str, least: int) -> None:
    number, found = asked(package)
    assert number >= least
    assert found == []


def test_what_is_asked_is_seen() -> None:
    _, found = asked("collectord_client", "and ask")
    assert [one.split()[0] for one in found] == ["socket.getaddrinfo"]
