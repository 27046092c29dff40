"""Forks, exits and gunicorn on every supported Python that is here, installed from the sources, not run in the checkout.

Interpreters are looked for on PATH and among pyenv's. Each gets a virtual environment, kept in `.venv-matrix` beside the
repository's files; only the first run has to install things. The oldest Python gets the oldest gRPC and protobuf that the
package allows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("COLLECTORD_MATRIX", ROOT / ".venv-matrix"))
VERSIONS = ["3.10", "3.11", "3.12", "3.13"]
OLDEST = ["grpcio==1.67.1", "protobuf==5.27.2", "numpy==1.26.4"]


@cache
def interpreters() -> dict[str, Path]:
    """Version to interpreter, for those that really run."""
    found: dict[str, Path] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        on_path = shutil.which(f"python{version}")
        candidates = [Path(on_path)] if on_path else []
        candidates += sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        for candidate in candidates:
            code = "import sys, ssl, sqlite3; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
            asked = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
            if asked.returncode == 0 and asked.stdout.split("\n")[0] == version:
                found[version] = Path(asked.stdout.split("\n")[1])
                break
    return found


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client's sources: each Python compiles a core of its own."""
    copy = tmp_path_factory.mktemp("sources")
    skip = shutil.ignore_patterns("build", "*.egg-info", "_pb", "__pycache__", "dist", "*.so", "*.c")
    shutil.copytree(ROOT / "clients" / "python", copy / "clients" / "python", ignore=skip)
    shutil.copytree(ROOT / "proto", copy / "proto", ignore=skip)
    return copy / "clients" / "python"


@cache
def made(version: str, sources: Path) -> Path:
    """The interpreter of a virtual environment with the client in it."""
    home = CACHE / version
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([interpreters()[version], "-m", "venv", home], check=True, capture_output=True)
        oldest = version == min(interpreters(), key=VERSIONS.index)
        wanted = OLDEST if oldest else ["grpcio", "protobuf", "numpy"]
        pip = [python, "-m", "pip", "install", "--quiet", "--prefer-binary", "gunicorn", "flask", *wanted]
        done = subprocess.run(pip, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ready.touch()
    again = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", sources]
    done = subprocess.run(again, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def test_there_are_several_pythons_to_look_at() -> None:
    assert len(interpreters()) >= 2, f"found only {interpreters()} of {VERSIONS}"


@pytest.mark.parametrize("version", sorted(interpreters(), key=VERSIONS.index))
class TestPython:
    """One after the other, each against a fresh daemon."""

    def test_the_core_is_compiled(self, sources: Path, tmp_path: Path, version: str) -> None:
        code = "import collectord_client as c; print(c.CORE, c.core._core.writes_places)"
        environment = hosts.environment(False)
        done = subprocess.run(
            [made(version, sources), "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.stdout.split() == ["compiled", "True"], done.stderr

    @pytest.mark.parametrize("how", hosts.LEAVINGS)
    def test_leaving(self, sources: Path, daemon: FakeDaemon, tmp_path: Path, version: str, how: str) -> None:
        hosts.leave(made(version, sources), how, daemon, False, tmp_path)

    @pytest.mark.parametrize("how", hosts.FORKINGS)
    def test_forking(self, sources: Path, daemon: FakeDaemon, tmp_path: Path, version: str, how: str) -> None:
        hosts.fork(made(version, sources), how, daemon, False, tmp_path)

    @pytest.mark.parametrize(("worker", "preload", "warm"), hosts.GUNICORNS)
    def test_gunicorn(
        self, sources: Path, daemon: FakeDaemon, tmp_path: Path, version: str, worker: str, preload: bool, warm: bool
    ) -> None:
        hosts.gunicorn(made(version, sources), worker, preload, warm, daemon, False, tmp_path)
