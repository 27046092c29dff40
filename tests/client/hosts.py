"""Client scripts in processes of their own, run by whatever interpreter, and what must have arrived from them.

Every function takes the interpreter, the environment and a daemon (or anything with its `endpoint` and `rows`).
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.client.fakedaemon import FakeDaemon

SCRIPTS = Path(__file__).resolve().parent / "scripts"
ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "python"

LEAVINGS = ["at_once", "later", "error", "thread", "handler"]
FORKINGS = ["cold", "warm", "busy", "multiprocessing"]
GUNICORNS = [
    (worker, preload, warm)
    for worker in ("sync", "gthread")
    for preload, warm in ((False, False), (True, False), (True, True))
]


def environment(source: bool) -> dict[str, str]:
    """The environment of a script; `source`: the client, and the tests' own helpers, are taken from the checkout, else it is installed."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("COLLECTORD_", "PYTHON", "PYTEST"))
    }
    return clean | {"PYTHONPATH": f"{CLIENT}:{ROOT}"} if source else clean


def run(python: Path, script: str, *arguments: str, source: bool, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end."""
    return subprocess.run(
        [python, SCRIPTS / script, *arguments],
        env=environment(source), cwd=cwd, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def leave(python: Path, how: str, daemon: FakeDaemon, source: bool, cwd: Path) -> None:
    """Whatever a script collected arrives although it ends without a flush."""
    done = run(python, "leaving.py", daemon.endpoint, how, source=source, cwd=cwd)
    assert (done.returncode == 1) == (how == "error"), done.stderr
    assert how == "error" or not done.stderr, done.stderr
    got = Counter(row.values[0] for row in daemon.rows)
    expected = Counter(float(k) for k in range(100))
    if how == "later":
        expected[0.0] += 10
    assert got == expected, (sum(got.values()), done.stderr)


def fork(python: Path, how: str, daemon: FakeDaemon, source: bool, cwd: Path) -> None:
    """What was collected before a fork is the parent's, what comes after is each process's own; all of it arrives once."""
    done = run(python, "forking.py", daemon.endpoint, how, source=source, cwd=cwd)
    assert done.returncode == 0, done.stderr
    noise = [line for line in done.stderr.splitlines() if "fork" not in line]
    assert not noise, done.stderr
    expected = Counter((float(n), float(k)) for n in range(3) for k in range(20))
    if how != "cold":
        expected += Counter((who, float(k)) for who in (-1.0, -2.0) for k in range(10))
    if how != "multiprocessing":
        expected += Counter((-3.0 - n, float(k)) for n in range(3) for k in range(10))
        expected += Counter((100.0, float(k)) for k in range(20))
    if how == "busy":
        expected += Counter((-10.0, float(k)) for k in range(int(done.stdout)))
    got = Counter(row.values for row in daemon.rows)
    assert got == expected, (expected - got, got - expected)
    processes = {
        who: {daemon.clients[row.client].pid for row in daemon.rows if row.values[0] == who} for who in (0.0, 1.0, 2.0)
    }
    assert all(len(pids) == 1 for pids in processes.values())
    assert len(set.union(*processes.values())) == 3


def gunicorn(python: Path, worker: str, preload: bool, warm: bool, daemon: FakeDaemon, source: bool, cwd: Path) -> None:
    """Everything that was answered before a graceful stop arrives, from every worker."""
    bind = cwd / "g.sock"
    command: list[str | Path] = [
        python, "-m", "gunicorn", "-b", f"unix:{bind}", "-w", "2", "-k", worker, "--threads", "4" if worker == "gthread" else "1",
        "--graceful-timeout", "20", "--chdir", SCRIPTS, "--no-control-socket", "wsgi:app",
    ]  # fmt: skip
    if not _knows_control_socket(python, source):
        command.remove("--no-control-socket")
    if preload:
        command.append("--preload")
    variables = environment(source) | {"TEST_ENDPOINT": daemon.endpoint, "TEST_WARM": "1" if warm else "0"}
    with (cwd / "gunicorn.log").open("w+") as log:
        server = subprocess.Popen(command, env=variables, cwd=cwd, stdout=log, stderr=log)
        try:
            assert _listening(bind, server), (cwd / "gunicorn.log").read_text()
            with ThreadPoolExecutor(4) as pool:
                pids = set(pool.map(lambda number: _ask(bind, number), range(60)))
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0, (cwd / "gunicorn.log").read_text()
        finally:
            server.kill()
            server.wait()
    said = (cwd / "gunicorn.log").read_text()
    got = Counter((row.designation, row.values[0]) for row in daemon.rows)
    expected = Counter({("inputs", float(k)): 1 for k in range(60)}) + Counter(
        {("predictions", 2.0 * k): 1 for k in range(60)}
    )
    if warm:
        expected["inputs", -1.0] += 1
    assert got == expected, (expected - got, got - expected, said)
    pairs = Counter(row.correlation for row in daemon.rows)
    assert sorted(pairs.values()) == ([1] if warm else []) + [2] * 60
    senders = {daemon.clients[row.client].pid for row in daemon.rows}
    assert {int(pid) for pid in pids} <= senders


def _knows_control_socket(python: Path, source: bool) -> bool:
    """Newer releases open a socket for gunicornc; tests do without."""
    said = subprocess.run([python, "-m", "gunicorn", "--help"], env=environment(source), capture_output=True, text=True)
    return "--no-control-socket" in said.stdout


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def _ask(bind: Path, number: int) -> bytes:
    connection = _Connection(bind)
    connection.request("GET", f"/score?{number}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return body


def _listening(bind: Path, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 30
    pause = threading.Event()
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if bind.exists() and probe.connect_ex(str(bind)) == 0:
                return True
        pause.wait(0.05)
    return False
