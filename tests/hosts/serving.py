"""Servers of Flask and FastAPI applications, each a process of its own, and how they are asked."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.client import hosts
from tests.e2e.process import Daemon


@dataclass(frozen=True)
class Server:
    """gunicorn in front of Flask; in front of FastAPI uvicorn, which gunicorn may manage (`managed`)."""

    framework: str
    workers: int = 1
    threads: int = 1
    preload: bool = False
    managed: bool = False

    def __str__(self) -> str:
        how = "-preload" if self.preload else "-managed" if self.managed else ""
        return f"{self.framework}-{self.workers}x{self.threads}{how}"

    def command(self, python: Path, bind: Path, folder: Path, app: str) -> list[str | Path]:
        """Serves `{framework}_{app}.py` of `folder`."""
        if self.framework == "flask" or self.managed:
            return [
                python, "-m", "gunicorn", "-b", f"unix:{bind}", "-w", str(self.workers), "--threads", str(self.threads),
                *(["-k", "uvicorn_worker.UvicornWorker"] if self.managed else []),
                *(["--preload"] if self.preload else []), "--chdir", folder, f"{self.framework}_{app}:app",
            ]  # fmt: skip
        return [
            python, "-m", "uvicorn", "--uds", bind, "--workers", str(self.workers), "--app-dir", folder,
            f"{self.framework}_{app}:app",
        ]  # fmt: skip


FLASK = [
    Server("flask"), Server("flask", 1, 4), Server("flask", 2), Server("flask", 2, preload=True),
    Server("flask", 2, 4, preload=True),
]  # fmt: skip
FASTAPI = [Server("fastapi"), Server("fastapi", 2), Server("fastapi", 2, managed=True)]


@contextmanager
def serving(
    server: Server, python: Path, folder: Path, app: str, daemon: Daemon, variables: Mapping[str, str]
) -> Iterator[Path]:
    """The socket of a server that is ready. Afterwards it is stopped as an orchestrator does, right behind the last answer."""
    bind, log = daemon.folder / "w.sock", daemon.folder / "server.log"
    environment = hosts.environment(False) | {"COLLECTORD_ENDPOINT": daemon.endpoint, "HOME": str(daemon.folder)}
    command = server.command(python, bind, folder, app)
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment | {"PYTHONDONTWRITEBYTECODE": "1"} | variables, cwd=daemon.folder, stdout=out, stderr=out
        )  # fmt: skip
    try:
        assert hosts._listening(bind, process), log.read_text()
        yield bind
        process.send_signal(signal.SIGTERM)
        # uvicorn ends by the signal that it got.
        assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()
    except BaseException:
        print(log.read_text()[-6000:])
        raise
    finally:
        process.kill()
        process.wait()


def ask(bind: Path, path: str, body: Any = None, request_id: str = "") -> Any:
    """What the service answers."""
    connection = hosts._Connection(bind)
    headers = {"content-type": "application/json"} | ({"x-request-id": request_id} if request_id else {})
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, said
    return json.loads(said)
