"""The notebook as a script, from its first cell to its last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from tests.client import hosts

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import json, runpy, sys
found = runpy.run_path(sys.argv[1])
joined = found["joined"]
json.dump({
    "rows": joined[list(found["data"].columns)].to_numpy().tolist(),
    "landed": joined["progression"].tolist(),
    "said": found["model"].predict(found["data"]).tolist(),
    "requests": joined.groupby("$aml_dc_correlation_id")["$aml_dc_row"].agg(sorted).tolist(),
}, open("result.json", "w"))
"""


def test_what_landed_reproduces_what_the_model_said(folder: Path) -> None:
    """Every row of the data set is in the joined table, in the model's own column order, with the model's very answer."""
    path = [ROOT, ROOT / "clients" / "python", ROOT / "clients" / "azureml"]
    variables = hosts.environment(False) | {"PYTHONPATH": ":".join(map(str, path)), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", DRIVER, ROOT / "examples" / "notebook.py"],
        env=variables, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = load_diabetes().data
    assert len(rows) == 442
    assert done.stdout.splitlines()[-1] == "442 of 442 predictions reproduced from what landed"
    result = json.loads((folder / "result.json").read_text())
    assert np.array_equal(np.array(result["rows"]), rows)
    assert result["landed"] == result["said"]
    assert sorted(map(len, result["requests"])) == [42] + [50] * 8
    assert all(numbers == list(range(len(numbers))) for numbers in result["requests"])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.*")), ids=lambda path: path.name)
def test_every_example_is_told_of(path: Path) -> None:
    """In the folder's own page, with the command that runs it."""
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert path.name == "README.md" or f"[{path.name}]({path.name})" in page


@pytest.mark.parametrize("name", ["README.md", "flask_app.py", "fastapi_app.py"])
def test_the_services_begin_where_the_daemon_was_begun(name: str) -> None:
    """The usual socket of a laptop is looked for from the current folder: from another one nothing is collected, silently."""
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    assert "examples --workers 2" in text
    assert "--chdir" not in text
