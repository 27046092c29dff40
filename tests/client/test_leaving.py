"""The end of a process: what was collected in exit handlers arrives, and an absent daemon delays nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.fakedaemon import FakeDaemon

CLIENT = str(Path(__file__).resolve().parents[2] / "clients" / "python")


def run(code: str, cwd: Path, *arguments: str) -> float:
    """Runs a script to its end. Returns how many seconds it took."""
    environment = {**os.environ, "PYTHONPATH": CLIENT}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return time.monotonic() - began


def test_the_first_rows_may_be_collected_in_an_exit_handler(daemon: FakeDaemon, tmp_path: Path) -> None:
    code = (
        "import atexit, sys\n"
        "from collectord_client import Client\n"
        "client = Client('m', endpoint=sys.argv[1])\n"
        "atexit.register(client.collect, [1.0, 2.0])\n"
    )
    run(code, tmp_path, daemon.endpoint)
    assert [row.values for row in daemon.rows] == [(1.0, 2.0)]


@pytest.mark.parametrize("where", ["tcp", "stale socket", "no socket"])
def test_an_absent_daemon_does_not_delay_the_end(tmp_path: Path, where: str) -> None:
    with socket.socket() as taken, socket.socket(socket.AF_UNIX) as stale:
        taken.bind(("127.0.0.1", 0))
        stale.bind(str(tmp_path / "stale"))
        endpoint = {
            "tcp": f"127.0.0.1:{taken.getsockname()[1]}",
            "stale socket": f"unix:{tmp_path}/stale",
            "no socket": f"unix:{tmp_path}/none",
        }[where]
        code = (
            "import sys\n"
            "from collectord_client import Client\n"
            "client = Client('m', endpoint=sys.argv[1])\n"
            "client.collect([1.0, 2.0])\n"
        )
        without = run("import grpc, collectord_client", tmp_path)
        assert run(code, tmp_path, endpoint) < without + 1.2
