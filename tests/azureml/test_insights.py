"""The documentation's scripts, unchanged and under the real inference server: what they print, and how they were asked, is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.azureml.test_inference_server import Connection, score, serving
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon
from tests.e2e.test_events import received
from tests.e2e.waiting import eventually

THROUGH = ("collectord_client.azureml", "run", "--")
ON = {"AML_APP_INSIGHTS_ENABLED": "true"}


def get(bind: Path, path: str) -> int:
    connection = Connection(bind)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (service.SCORE, ["-w", "2", "--threads", "4"]),
        (service.SCORE, ["-w", "2", "--preload"]),
        (service.PRINTING, ["-w", "1"]),
    ],
    ids=["threads", "preload", "printing"],
)
def test_prints_and_requests_of_an_unchanged_script(
    make_daemon: MakeDaemon, python: Path, script: Path, options: list[str]
) -> None:
    daemon = make_daemon(flush_interval=3600).start()
    variables = service.deploy(daemon.folder, daemon) | ON | {"AZUREML_MODEL_DIR": str(daemon.folder)}
    asked: list[Any] = [*service.requests(30), "nonsense"]
    with serving(python, script, daemon.folder, variables, *options, through=THROUGH) as (bind, log):
        for body in asked:
            score(bind, body, "")
        # The server's own probes of its health are none of the requests that are told.
        assert (get(bind, "/"), get(bind, "/nothing")) == (200, 404)
    said = log.read_text()
    printed = said.count("azmlinfsrv.print - ")
    assert printed >= len(asked)
    eventually(lambda: received(daemon).get("request") == len(asked) + 1, f"every request is told: {received(daemon)}")
    eventually(lambda: received(daemon).get("trace", 0) >= printed, f"every print is told: {received(daemon)}")
    assert received(daemon)["trace"] <= printed + said.count(" W [") + said.count(" E [") + 2


def test_switched_off_the_server_is_as_ever(make_daemon: MakeDaemon, python: Path) -> None:
    daemon = make_daemon(flush_interval=3600).start()
    variables = service.deploy(daemon.folder, daemon)
    with serving(python, service.SCORE, daemon.folder, variables, through=THROUGH) as (bind, _):
        for body in service.requests(3):
            score(bind, body, "")
    eventually(lambda: "predictions" in received(daemon), "its rows are there")
    assert set(received(daemon)) == {"inputs", "predictions"}
