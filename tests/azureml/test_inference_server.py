"""azureml-inference-server-http, as it comes from the registry, runs the documentation's script in front of a daemon."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.client import hosts
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon


class Connection(http.client.HTTPConnection):
    """To a unix socket: the server's own command listens on every address of the machine."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def score(bind: Path, body: Any, request_id: str) -> Any:
    """What the service answers; `request_id` may be empty, then the server makes one. Its id comes along."""
    connection = Connection(bind)
    headers = {"Content-Type": "application/json"} | ({"x-request-id": request_id} if request_id else {})
    connection.request("POST", "/score", json.dumps({"data": body}), headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, said
    return json.loads(said), answer.headers["x-request-id"]


@pytest.mark.parametrize(("workers", "threads", "preload"), [(1, 1, False), (2, 4, False), (2, 1, True)])
def test_what_landed_joins_to_what_the_service_answered(
    make_daemon: MakeDaemon, python: Path, workers: int, threads: int, preload: bool
) -> None:
    """Every prediction to the last bit, with the request id that the server gave the caller; also after the server was
    stopped right behind the last answer."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    bind = daemon.folder / "g.sock"
    variables = hosts.environment(False) | service.deploy(daemon.folder, daemon) | {
        "PYTHONPATH": str(service.SHIMS),
        "AML_APP_ROOT": str(service.HERE),
        "AZUREML_ENTRY_SCRIPT": str(service.SCORE),
        "AML_APP_INSIGHTS_ENABLED": "false",
        "HOME": str(daemon.folder),
    }  # fmt: skip
    command = [
        python, "-m", "gunicorn", "-b", f"unix:{bind}", "-w", str(workers), "--threads", str(threads),
        *(["--preload"] if preload else []), "azureml_inference_server_http.server.entry:app",
    ]  # fmt: skip
    log = daemon.folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=variables, cwd=daemon.folder, stdout=out, stderr=out)
    asked = service.requests(60)
    try:
        assert hosts._listening(bind, server), log.read_text()
        with ThreadPoolExecutor(6) as pool:
            given = ["" if at % 3 else f"request {at}" for at in range(len(asked))]
            answers = list(pool.map(lambda one: score(bind, *one), zip(asked, given, strict=True)))
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    daemon.flush()
    joined = service.check(daemon.folder / "store", asked, [said for said, _ in answers])
    ids = joined.groupby("$aml_request_id")["$aml_dc_correlation_id"].nunique()
    assert set(ids.index) == {id for _, id in answers}
    assert set(ids) == {1}
    assert set(given) - {""} <= set(ids.index)
