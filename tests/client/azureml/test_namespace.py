"""The distributions hold names only, and leave `azureml` to others as well."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from collectord_client.version import VERSION

from tests.client import hosts

CLIENTS = Path(__file__).resolve().parents[3] / "clients"
V1, V2 = CLIENTS / "azureml", CLIENTS / "azureml-ai"
CODE = """
from azureml.monitoring import ModelDataCollector
from azureml.ai.monitoring import Collector
from azureml.core.model import Model
import collectord_client.azureml
assert ModelDataCollector is collectord_client.azureml.ModelDataCollector
assert Collector is collectord_client.azureml.Collector
print(Model)
"""
ORIGINAL = {
    "azureml": "", "azureml/ai": "", "azureml/ai/monitoring": "from .collector import Collector",
    "azureml/ai/monitoring/context": "from .context import BasicCorrelationContext",
}  # fmt: skip
"""The packages of azureml-ai-monitoring 1.0.0: none of them is a namespace."""


def test_azureml_is_a_namespace() -> None:
    """PEP 420: a file there would hide the packages of all others."""
    for folder in (V1 / "azureml", V2 / "azureml", V2 / "azureml" / "ai"):
        assert folder.is_dir()
        assert not (folder / "__init__.py").exists()


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
    ours = [str(V1), str(V2)]
    places = [*ours, str(tmp_path)] if first == "ours" else [str(tmp_path), *ours]
    variables = hosts.environment(True)
    variables["PYTHONPATH"] = ":".join([*places, variables["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True)
    assert done.stdout == "that of azureml-core\n", done.stderr


def lay_original(site: Path) -> None:
    for package, content in ORIGINAL.items():
        (site / package).mkdir(parents=True, exist_ok=True)
        (site / package / "__init__.py").write_text(content)
    (site / "azureml/ai/monitoring/collector.py").write_text("class Collector: pass")
    (site / "azureml/ai/monitoring/context/context.py").write_text("class BasicCorrelationContext: pass")


def told(*places: Path) -> tuple[int, str]:
    """What the command for images says of an environment with these folders."""
    variables = hosts.environment(True)
    variables["PYTHONPATH"] = ":".join([*map(str, places), variables["PYTHONPATH"]])
    command = [sys.executable, "-m", "collectord_client.azureml", "--collection", "model_inputs"]
    done = subprocess.run(command, env=variables, cwd=places[-1], capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("order", ["ours first", "theirs first", "theirs alone"])
def test_the_original_beside_ours_is_found_out(tmp_path: Path, order: str) -> None:
    """Its `azureml` is no namespace and hides ours wherever it lies: an image in which it is left over fails its build."""
    lay_original(tmp_path)
    places = {"ours first": (V2, tmp_path), "theirs first": (tmp_path, V2), "theirs alone": (tmp_path,)}
    status, said = told(*places[order])
    assert status == 1
    assert "azureml.ai.monitoring: Microsoft's: uninstall azureml-ai-monitoring" in said


def test_in_one_folder_the_files_installed_last_are_there(tmp_path: Path) -> None:
    """All that scripts import is replaced, each module by one of the same kind. Removing the original afterwards takes these
    files along, which is found out too."""
    lay_original(tmp_path)
    shutil.copytree(V2 / "azureml", tmp_path / "azureml", dirs_exist_ok=True)
    status, said = told(tmp_path)
    assert status == 0, said
    code = "import azureml.ai.monitoring.context.context as c; print(c.BasicCorrelationContext.__module__)"
    variables = hosts.environment(True)
    variables["PYTHONPATH"] = f"{tmp_path}:{variables['PYTHONPATH']}"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert done.stdout == "collectord_client.azureml.v2.context\n", done.stderr
    for package in ORIGINAL:
        (tmp_path / package / "__init__.py").unlink()
    (tmp_path / "azureml/ai/monitoring/collector.py").unlink()
    status, said = told(tmp_path)
    assert status == 1
    assert "azureml.ai.monitoring: missing: pip install collectord-azureml-ai" in said


@pytest.mark.parametrize("distribution", [V1, V2])
def test_the_versions_are_in_step(distribution: Path) -> None:
    said = (distribution / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', said, re.MULTILINE)[1] == VERSION  # type: ignore[index]
    assert f'"collectord-client=={VERSION}"' in said
