"""azureml-inference-server-http, as it comes from the registry, runs the documentation's script in front of a daemon."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
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


@contextmanager
def serving(
    python: Path, script: Path, folder: Path, variables: dict[str, str], *options: str, through: Sequence[str] = ()
) -> Iterator[tuple[Path, Path]]:
    """The socket of an inference server, and its log. It is started `through` another module, if one is named, and stopped right
    behind the last answer."""
    bind, log = folder / "g.sock", folder / "server.log"
    variables = hosts.environment(False) | {"AML_APP_INSIGHTS_ENABLED": "false"} | variables | {
        "PYTHONPATH": str(service.SHIMS),
        "AML_APP_ROOT": str(service.HERE),
        "AZUREML_ENTRY_SCRIPT": str(script),
        "HOME": str(folder),
    }  # fmt: skip
    command = [
        *([python, "-m", *through, python] if through else [python]), "-m", "gunicorn", "-b", f"unix:{bind}", *options, "azureml_inference_server_http.server.entry:app",
    ]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(command, env=variables, cwd=folder, stdout=out, stderr=out)
    try:
        assert hosts._listening(bind, server), log.read_text()
        yield bind, log
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(("workers", "threads", "preload"), [(1, 1, False), (2, 4, False), (2, 1, True)])
def test_what_landed_joins_to_what_the_service_answered(
    make_daemon: MakeDaemon, python: Path, workers: int, threads: int, preload: bool
) -> None:
    """Every prediction to the last bit, with the request id that the server gave the caller; also after the server was
    stopped right behind the last answer."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    variables = service.deploy(daemon.folder, daemon)
    options = ["-w", str(workers), "--threads", str(threads), *(["--preload"] if preload else [])]
    asked = service.requests(60)
    given = ["" if at % 3 else f"request {at}" for at in range(len(asked))]
    with (
        serving(python, service.SCORE, daemon.folder, variables, *options) as (bind, _),
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda one: score(bind, *one), zip(asked, given, strict=True)))
    daemon.flush()
    joined = service.check(daemon.folder / "store", asked, [said for said, _ in answers])
    ids = joined.groupby("$aml_request_id")["$aml_dc_correlation_id"].nunique()
    assert set(ids.index) == {id for _, id in answers}
    assert set(ids) == {1}
    assert set(given) - {""} <= set(ids.index)


def test_the_script_that_only_prints(folder: Path, python: Path) -> None:
    """Beside our packages, and without a daemon, it answers and logs as ever."""
    service.lay_model(folder)
    asked = service.requests(10)
    with serving(python, service.PRINTING, folder, {"AZUREML_MODEL_DIR": str(folder)}) as (bind, log):
        answers = [score(bind, body, "")[0] for body in asked]
    model = joblib.load(folder / service.MODEL)
    assert answers == [model.predict(np.array(body)).tolist() for body in asked]
    said = log.read_text()
    assert "model initialized" in said
    for body, answer in zip(asked, answers, strict=True):
        assert json.dumps({"input": json.dumps({"data": body}), "output": answer}) in said
