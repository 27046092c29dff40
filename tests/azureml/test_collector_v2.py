"""azureml-inference-server-http runs a script of the v2 SDK with our distribution in the original's place."""

from __future__ import annotations

import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.azureml.test_inference_server import score
from tests.client import hosts
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon

SCRIPT = Path(__file__).with_name("score_v2.py")
KEYS = ["$aml_dc_correlation_id", "$aml_dc_row", "$aml_dc_scoring_timestamp", "$aml_request_id", "$aml_model_version"]


@pytest.mark.parametrize(("workers", "preload"), [(1, False), (2, True)])
def test_what_landed_joins_to_what_the_service_answered(
    make_daemon: MakeDaemon, python: Path, workers: int, preload: bool
) -> None:
    """With the configuration file of a deployment, every output to the last bit, with the server's request id."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    bind, log, config = (daemon.folder / name for name in ("g.sock", "server.log", "mdc.json"))
    config.write_text(
        json.dumps({"collections": {name: {"enabled": True} for name in ("model_inputs", "model_outputs")}})
    )
    variables = hosts.environment(False) | service.deploy(daemon.folder, daemon) | {
        "AZUREML_MDC_CONFIG_PATH": str(config), "AML_APP_ROOT": str(SCRIPT.parent), "AZUREML_ENTRY_SCRIPT": SCRIPT.name,
        "AML_APP_INSIGHTS_ENABLED": "false", "HOME": str(daemon.folder),
    }  # fmt: skip
    command = [
        python, "-m", "gunicorn", "-b", f"unix:{bind}", "-w", str(workers), *(["--preload"] if preload else []),
        "azureml_inference_server_http.server.entry:app",
    ]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(command, env=variables, cwd=daemon.folder, stdout=out, stderr=out)
    asked = service.requests(40)
    bodies = [dict(zip(service.FEATURES, zip(*body, strict=True), strict=True)) for body in asked]
    try:
        assert hosts._listening(bind, server), log.read_text()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda body: score(bind, body, ""), bodies))
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    daemon.flush()
    inputs, outputs = (service.table(daemon.folder / "store", name) for name in ("model_inputs", "model_outputs"))
    joined = inputs.merge(outputs, on=KEYS, validate="one_to_one")
    assert len(joined) == len(inputs) == len(outputs) == sum(map(len, asked))
    assert set(joined["$aml_model_version"]) == {10}
    got = {
        (row["$aml_request_id"], *row[service.FEATURES]): tuple(row[service.PREDICTIONS])
        for _, row in joined.iterrows()
    }
    assert got == {
        (id, *features): tuple(said)
        for body, (answer, id) in zip(asked, answers, strict=True)
        for features, said in zip(body, answer, strict=True)
    }
