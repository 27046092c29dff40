"""The other scoring script of Azure ML's documentation, which prints for Application Insights and collects nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np

from tests.client import hosts
from tests.e2e.azureml import service

OF_THE_DOCUMENT = "5e67beb77cd0cc16680ac5088d654e83033b8b0679c78358a989f7ba19f50d4c"
"""The same in the page's Korean, Chinese, Japanese and Portuguese versions."""
DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import printing_score as score
score.init()
answers = [score.run(json.dumps({"data": body})) for body in json.load(sys.stdin)]
ours = sorted(name for name in sys.modules if name.startswith(("collectord", "azureml.monitoring")))
with open("answers.json", "w") as out:
    json.dump([answers, ours], out)
"""


def test_it_runs_beside_our_packages_as_without_them(tmp_path: Path) -> None:
    """Word for word: it says and prints what it should, and nothing of ours is even loaded."""
    assert hashlib.sha256(service.PRINTING.read_bytes()).hexdigest() == OF_THE_DOCUMENT
    service.lay_model(tmp_path)
    asked = service.requests(10)
    path = [service.SHIMS, service.ROOT / "clients" / "python", service.ROOT / "clients" / "azureml"]
    variables = hosts.environment(False) | {"AZUREML_MODEL_DIR": str(tmp_path), "PYTHONPATH": ":".join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, service.HERE], input=json.dumps(asked), cwd=tmp_path, env=variables,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers, ours = json.loads((tmp_path / "answers.json").read_text())
    model = joblib.load(tmp_path / service.MODEL)
    assert answers == [model.predict(np.array(body)).tolist() for body in asked]
    assert ours == []
    first, *printed = done.stdout.splitlines()
    assert first.startswith("model initialized")
    assert list(map(json.loads, printed)) == [
        {"input": json.dumps({"data": body}), "output": answer} for body, answer in zip(asked, answers, strict=True)
    ]
