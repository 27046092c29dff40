"""A real `collectord serve`, as a child process in a folder of its own."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from collectord.books import StreamBooks
from collectord.control.client import ControlClient, NoDaemon
from tests.e2e.waiting import eventually
from tests.environment import without_settings

LAUNCH = Path(__file__).with_name("launch.py")
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a child: ours, without any settings of collectord."""
    return without_settings() | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"} | dict(more or {})


_CHANCE = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody has now, was not given before, and does not come from where the kernel takes those of whoever connects: it would
    give it away again before the daemon has begun."""
    while True:
        port = _CHANCE.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in _given:
                _given.add(port)
                return port


class Daemon:
    """One spool, and the processes that run on it one after the other.

    `folder` is short, since sockets lie in it. `settings` are those of `collectord serve`, with `_` for `-`; they may be
    changed between two starts. `spool`, `listen` and `admin` are given unless named.
    """

    def __init__(
        self, folder: Path, *, env: Mapping[str, str] | None = None, impatience: float = 0.0, uid: int = -1,
        **settings: object,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.spool = Path(str(settings.get("spool", folder / "spool")))
        self.socket = folder / "c.sock"
        self.endpoint = f"unix:{self.socket}"
        self.admin_port = free_port()
        self.settings: dict[str, object] = {
            "spool": self.spool,
            "store": folder / "store",
            "listen": self.endpoint,
            "admin": f"127.0.0.1:{self.admin_port}",
            **settings,
        }
        self.env = environment(env)
        self.impatience = impatience
        self.uid = uid
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    # ------------------------------------------------------------------ life

    def spawn(self) -> Daemon:
        """Starts it and does not wait."""
        options = [
            word for name, value in self.settings.items() if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCH), str(self.uid), str(self.impatience), "serve", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.folder,
            )  # fmt: skip
        self.starts += 1
        return self

    def start(self) -> Daemon:
        """Starts it and waits until it is ready."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (
                f"the daemon ended with {self.process.returncode}: {self.said()[-3000:]}"
            )
            return self.is_ready()

        eventually(ready, f"the daemon is ready: {self.said()[-3000:]}", START_SECONDS)

    def is_ready(self) -> bool:
        # gRPC is asked only when the socket is there, else its channel would back off.
        if not (self.spool / "admin.sock").exists():
            return False
        try:
            with self.control() as control:
                status = control.status()
        except NoDaemon:
            return False
        assert self.process is not None
        return bool(status["state"] == "ready" and status["pid"] == self.process.pid)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill9(self) -> None:
        """The process is gone when this returns."""
        assert self.process is not None
        assert self.process.poll() is None, (
            f"it had ended by itself, with {self.process.returncode}: {self.said()[-3000:]}"
        )
        self.process.kill()
        self.process.wait(30)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def terminate(self, timeout: float = 90.0) -> int:
        """SIGTERM; the exit status."""
        self.signal()
        return self.wait(timeout)

    def wait(self, timeout: float = 90.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def clear_away(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    # ------------------------------------------------------------------ what it says

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Its log lines that are JSON, with that sentence; the text of a crash is not."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if not name or line["event"] == name]

    @contextmanager
    def control(self) -> Iterator[ControlClient]:
        with ControlClient((self.spool / "admin.sock").resolve()) as control:
            yield control

    def status(self) -> dict[str, Any]:
        with self.control() as control:
            return control.status()

    def flush(self, timeout: float = 60.0) -> None:
        """Everything received so far has landed when this returns."""
        with self.control() as control:
            answer = control.flush(timeout)
        assert answer.complete, f"{answer.rows_waiting} rows wait: {answer.reason}\n{self.said()[-3000:]}"

    def books(self) -> dict[str, StreamBooks]:
        """By stream, all of them balanced."""
        with self.control() as control:
            streams = {books.stream: books for books in control.ledger()}
        for books in streams.values():
            assert books.received == books.landed + books.in_log + books.quarantined + books.parked + books.expired, (
                books
            )
        return streams

    def metrics(self) -> dict[str, float]:
        """What /metrics says, by name and labels as they stand there."""
        found = {}
        for line in self.http("/metrics")[1].splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def http(self, path: str, method: str = "GET") -> tuple[int, str]:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def cli(
        self, *arguments: str, input: bytes | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs `collectord ARGUMENTS` with this daemon's spool and store in the environment."""
        settings = {
            f"COLLECTORD_{name.upper()}": str(self.settings[name])
            for name in ("spool", "store", "codec", "layout")
            if self.settings.get(name) is not None
        }
        return collectord(*arguments, env={**self.env, **settings}, cwd=self.folder, timeout=timeout)


def collectord(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "collectord", *arguments], env=dict(env) if env is not None else environment(), cwd=cwd,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


__all__ = ["Daemon", "collectord", "environment", "free_port"]
