"""The scoring script of Azure ML's documentation, word for word, in front of a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.client import hosts
from tests.e2e.azureml import service
from tests.e2e.conftest import MakeDaemon

DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import score
score.init()
answers = [score.run(json.dumps({"data": body})) for body in json.load(sys.stdin)]
with open("answers.json", "w") as out:
    json.dump(answers, out)
"""
OF_THE_DOCUMENT = (
    "from azureml.monitoring import ModelDataCollector",
    "    global inputs_dc, prediction_dc",
    '    inputs_dc = ModelDataCollector("best_model", designation="inputs", feature_names=["feat1", "feat2", "feat3", "feat4", "feat5", "feat6"])',
    '    prediction_dc = ModelDataCollector("best_model", designation="predictions", feature_names=["prediction1", "prediction2"])',
    "        data = np.array(data)",
    "        result = model.predict(data)",
    "        inputs_dc.collect(data) #this call is saving our input data into Azure Blob",
    "        prediction_dc.collect(result) #this call is saving our input data into Azure Blob",
)


def test_the_script_is_that_of_the_documentation() -> None:
    assert set(OF_THE_DOCUMENT) <= set(service.SCORE.read_text().splitlines())


def test_what_landed_joins_to_what_the_model_said(make_daemon: MakeDaemon) -> None:
    """Nothing but names was changed around the script: what pandas reads from the blobs, joined on correlation id and row,
    is every prediction to the last bit."""
    daemon = make_daemon(flush_interval=0.3, codec="none").start()
    asked = service.requests(40)
    path = [service.SHIMS, service.ROOT / "clients" / "python", service.ROOT / "clients" / "azureml"]
    variables = hosts.environment(False) | service.deploy(daemon.folder, daemon)
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(service.HERE)], input=json.dumps(asked), cwd=daemon.folder,
        env=variables | {"PYTHONPATH": ":".join(map(str, path))}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[0].startswith("model initialized")
    assert len(printed) == 1 + len(asked), "the script's own lines only"
    daemon.flush()
    answers = json.loads((daemon.folder / "answers.json").read_text())
    service.check(daemon.folder / "store", asked, answers)
