"""The distribution holds names only, and leaves `azureml` to others as well."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from collectord_client.version import VERSION

from tests.client import hosts

HERE = Path(__file__).resolve().parents[3] / "clients" / "azureml"
CODE = """
from azureml.monitoring import ModelDataCollector
from azureml.core.model import Model
import collectord_client.azureml
assert ModelDataCollector is collectord_client.azureml.ModelDataCollector
print(Model)
"""


def test_azureml_is_a_namespace() -> None:
    """PEP 420: a file there would hide the packages of all others."""
    assert not (HERE / "azureml" / "__init__.py").exists()


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("init", [None, "__path__ = __import__('pkgutil').extend_path(__path__, __name__)"])
def test_microsofts_packages_are_found_beside_it(tmp_path: Path, init: str | None, first: str) -> None:
    """Whether they make `azureml` a namespace as well, or extend its path, as azureml-core does; wherever they lie."""
    model = tmp_path / "azureml" / "core" / "model.py"
    model.parent.mkdir(parents=True)
    model.write_text("Model = 'that of azureml-core'\n")
    (model.parent / "__init__.py").touch()
    if init is not None:
        (tmp_path / "azureml" / "__init__.py").write_text(init)
    places = [str(HERE), str(tmp_path)] if first == "ours" else [str(tmp_path), str(HERE)]
    variables = hosts.environment(True)
    variables["PYTHONPATH"] = ":".join([*places, variables["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True)
    assert done.stdout == "that of azureml-core\n", done.stderr


def test_the_versions_are_in_step() -> None:
    said = (HERE / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', said, re.MULTILINE)[1] == VERSION  # type: ignore[index]
    assert f'"collectord-client=={VERSION}"' in said
