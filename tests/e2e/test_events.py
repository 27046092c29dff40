"""What a service tells of itself goes through a real daemon, once each, beside its rows."""

from __future__ import annotations

import json
import subprocess
import sys

from collectord_client import Client

from tests.client import hosts
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import flask, score
score.init()
app = flask.Flask("scoring")
app.add_url_rule(
    "/score", "score", lambda: {"answer": score.run(flask.request.get_data(as_text=True))}, methods=["POST"]
)
app.add_url_rule("/broken", "broken", lambda: 1 / 0)
asked = app.test_client()
for body in json.load(sys.stdin):
    assert asked.post("/score", data=json.dumps({"data": body})).status_code == 200
assert asked.get("/broken").status_code == 500
"""
"""The documentation's script, word for word, in an application of Flask."""


def received(daemon: Daemon) -> dict[str, int]:
    """Rows by kind of event, or designation."""
    found: dict[str, int] = {}
    for name, books in daemon.books().items():
        assert not books.rejected, books
        kind, colon, _ = name.partition(":")
        found[kind if colon else name.split("/")[-2]] = books.received
    return found


def test_every_kind_through_a_kill(make_daemon: MakeDaemon) -> None:
    """The daemon is killed while they come; every event is in its log once."""
    daemon = make_daemon(flush_interval=3600).start()
    client = Client("m", "1", "svc", "s/r/w", endpoint=daemon.endpoint, linger=0.01, telemetry=True)
    for number in range(300):
        with client.request(f"r{number}") as request, client.dependency("store"):
            client.collect([[float(number)]])
            client.trace("x" * 100, number=number)
            client.metric("n", number)
            client.exception(ValueError(number))
            request.answer(200)
        if number == 150:
            assert client.flush(20)
            daemon.kill9()
            daemon.start()
    assert client.flush(60)
    expected = dict.fromkeys(("request", "dependency", "exception", "trace", "metric", "inputs"), 300)
    # What was acknowledged is in the log; the books follow as it is read.
    eventually(lambda: received(daemon) == expected, f"the books have all: {received(daemon)}")
    stats = client.stats()
    assert (stats["events"], stats["acknowledged"], stats["dropped"], stats["rejected"]) == (1500, 1800, {}, {})
    client.close()


def test_the_documentations_script_unchanged(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(flush_interval=3600).start()
    asked = service.requests(20)
    path = [service.SHIMS, service.ROOT / "clients" / "python", service.ROOT / "clients" / "azureml"]
    variables = hosts.environment(False) | service.deploy(daemon.folder, daemon) | {
        "PYTHONPATH": ":".join(map(str, path)), "AML_APP_INSIGHTS_ENABLED": "true",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "collectord_client.azureml", "run", "--", sys.executable, "-c", DRIVER, str(service.HERE)],
        input=json.dumps(asked), cwd=daemon.folder, env=variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(asked), "the script's own lines only"
    rows = sum(map(len, asked))
    # Flask logs the error that nobody handled, which has been told as an exception by then: a trace more.
    expected = {"inputs": rows, "predictions": rows, "trace": len(asked) + 2, "request": len(asked) + 1, "exception": 1}
    eventually(lambda: received(daemon) == expected, f"the books have all: {received(daemon)}")
