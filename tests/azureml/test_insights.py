"""The documentation's scripts, unchanged and under the real inference server: what they print, and how they were asked, is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectord.testing.ingestion import Ingestion
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


QUERY = 'traces | where customDimensions contains "input" | limit 10'
"""As the documentation has it."""


def test_the_documents_query_finds_what_the_script_printed(make_daemon: MakeDaemon, python: Path) -> None:
    """In the log, in the store, and at Application Insights: the same events."""
    with Ingestion() as endpoint:
        daemon = make_daemon(env={"COLLECTORD_APP_INSIGHTS": endpoint.connection_string}, flush_interval=3600).start()
        variables = service.deploy(daemon.folder, daemon) | ON | {"AZUREML_MODEL_DIR": str(daemon.folder)}
        asked = service.requests(6)
        with serving(python, service.PRINTING, daemon.folder, variables, "-w", "1", through=THROUGH) as (bind, _):
            for body in asked:
                score(bind, body, "")

        def found() -> list[dict[str, Any]]:
            done = daemon.cli("query", QUERY, "--format", "jsonl")
            assert done.returncode == 0, done.stderr
            return [json.loads(line) for line in done.stdout.splitlines()]

        eventually(lambda: len(found()) == len(asked), f"all prints are in the log: {received(daemon)}")
        waiting = found()
        daemon.flush()
        landed = found()
        assert {one["itemId"] for one in waiting} == {one["itemId"] for one in landed}
        for one in landed:
            contents = one["customDimensions"]["Contents"]
            assert one["message"] == "STDOUT"
            assert json.loads(contents["input"])["data"] in asked
            assert contents["output"]
            assert one["customDimensions"]["Service Name"] == "aks-w-collv9"
        # A request and what was printed in it share an id.
        joined = daemon.cli(
            "query", "requests | where success == true | join kind=inner traces on operation_Id | summarize dcount(id)",
            "--format", "jsonl",
        )  # fmt: skip
        assert json.loads(joined.stdout) == {"dcount_id": len(asked)}, joined.stderr
        eventually(lambda: {one["itemId"] for one in landed} <= endpoint.taken.keys(), "they are delivered too")
        assert endpoint.problems == []
        lines = daemon.cli("logs", "aks-w-collv9", "--lines", "1000").stdout
        assert lines.count('"input"') >= len(asked) or lines.count("input") >= len(asked)


def test_switched_off_the_server_is_as_ever(make_daemon: MakeDaemon, python: Path) -> None:
    daemon = make_daemon(flush_interval=3600).start()
    variables = service.deploy(daemon.folder, daemon)
    with serving(python, service.SCORE, daemon.folder, variables, through=THROUGH) as (bind, _):
        for body in service.requests(3):
            score(bind, body, "")
    eventually(lambda: "predictions" in received(daemon), "its rows are there")
    assert set(received(daemon)) == {"inputs", "predictions"}
