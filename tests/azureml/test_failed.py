"""What a script raises under azureml-inference-server-http lands beside its inputs, though nothing in the script asks for it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.azureml.test_inference_server import Connection
from tests.client import hosts
from tests.e2e import landed
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon

SCRIPTS = Path(__file__).resolve().parent / "scripts"


def test_an_error_lands_beside_its_inputs(make_daemon: MakeDaemon, python: Path) -> None:
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    bind = daemon.folder / "g.sock"
    variables = hosts.environment(False) | service.deploy(daemon.folder, daemon) | {
        "PYTHONPATH": str(service.SHIMS),
        "AML_APP_ROOT": str(SCRIPTS),
        "AZUREML_ENTRY_SCRIPT": "failing.py",
        "AML_APP_INSIGHTS_ENABLED": "false",
        "HOME": str(daemon.folder),
    }  # fmt: skip
    command = [python, "-m", "gunicorn", "-b", f"unix:{bind}", "azureml_inference_server_http.server.entry:app"]
    log = daemon.folder / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(command, env=variables, cwd=daemon.folder, stdout=out, stderr=out)
    statuses = []
    try:
        assert hosts._listening(bind, server), log.read_text()
        for data in ([[4.0, 1.0]], [[-1.0, 2.0], [9.0, 3.0]], [[9.0, 1.0]]):
            connection = Connection(bind)
            connection.request("POST", "/score", json.dumps({"data": data}), {"x-request-id": f"r{data[0][0]}"})
            statuses.append(connection.getresponse().status)
            connection.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    assert statuses == [200, 500, 200], log.read_text()
    daemon.flush()
    blobs = landed.directory(daemon.folder / "store")
    inputs, errors = landed.rows(blobs, "/inputs/"), landed.rows(blobs, "/errors/")
    ours = ("$aml_dc_correlation_id", "$aml_dc_row", "$aml_dc_scoring_timestamp", "$aml_request_id")
    assert [[row[name] for name in ours] for row in errors] == [
        [row[name] for name in ours] for row in inputs if row["$aml_request_id"] == "r-1.0"
    ]
    assert [(row["error_type"], row["error_message"]) for row in errors] == [
        ("ArithmeticError", "a root of what is below zero")
    ] * 2
    assert len(landed.rows(blobs, "/predictions/")) == 2
