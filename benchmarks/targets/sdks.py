"""Beside the targets: what a request pays for collecting with Azure ML's two SDKs, from the registry, and with ours.

They have an environment of their own (`make bench-azureml`, where what is compared is told).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from benchmarks.pairs import ratio
from benchmarks.targets.figure import Figure, Measured
from benchmarks.targets.machine import ROOT

PYTHON = ROOT / "build/bench-azureml/bin/python"
OURS = {"v1": "ours", "v1 joined": "ours", "v2": "ours, frames"}
"""Whom each is compared with."""
CLOCKS = {"wall": "in the request", "cpu": "CPU in all"}


def measure(pairs: int) -> Measured:
    assert PYTHON.exists(), f"{PYTHON} is missing: make build/bench-azureml/.ready"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="collectord-bench-") as folder:
        path = Path(folder) / "samples.json"
        subprocess.run(
            [PYTHON, "-m", "benchmarks.azureml.compare", "--rounds", str(pairs), "--samples", path],
            cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        samples = json.loads(path.read_text())
    return Measured(
        [
            Figure(f"{rows} rows, {said}: {peer} / {mine}", "×", ratio(times, samples[mine][clock][rows]))
            for clock, said in CLOCKS.items()
            for peer, mine in OURS.items()
            for rows, times in samples[peer][clock].items()
        ]
    )
