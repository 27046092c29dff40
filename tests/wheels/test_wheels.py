"""Each distribution as an sdist and a wheel made of it, installed into an empty environment and used in an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.docs import quickstart
from tests.e2e.conftest import MakeDaemon, folder, make_daemon

__all__ = ["folder", "make_daemon"]

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = {"collectord": ".", "collectord-client": "clients/python", "collectord-azureml": "clients/azureml"}
PROGRAM = """
from collectord_client import CORE, Client
with Client(model="m", webservice="svc", endpoint="dir:./modeldata") as client:
    for n in range(100):
        client.collect([[float(n), 2.0]], feature_names=["a", "b"])
    assert client.flush(60), client.stats()
assert CORE == "compiled", CORE
from azureml.monitoring import ModelDataCollector
print(ModelDataCollector.__module__, client.stats()["acknowledged"])
"""

CLIENT = """
import sys
from importlib.util import find_spec
from collectord_client import Client
assert find_spec("grpc") is None
for endpoint in sys.argv[1:]:
    client = Client(model="m", endpoint=endpoint)
    client.collect([[1.0, 2.0]])
    client.flush(10 if endpoint.startswith("unix:") else 0.5)
    print(client.stats()["acknowledged"], client.stats()["last_error"])
    client.close(0)
"""


def clean() -> dict[str, str]:
    """Nothing of the checkout, and no settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("COLLECTORD_")
    }


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdists of what git has, and the wheels that were made of the sdists."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    tree.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    assert len(files) > 100
    with tarfile.open(folder / "tree.tar", "w") as archive:
        for name in filter(None, files):
            if (ROOT / os.fsdecode(name)).exists():
                archive.add(ROOT / os.fsdecode(name), os.fsdecode(name))
    with tarfile.open(folder / "tree.tar") as archive:
        archive.extractall(tree, filter="data")
    for place in PROJECTS.values():
        run(sys.executable, "-m", "build", "--outdir", folder / "dist", tree / place, cwd=folder)
    return folder / "dist"


def test_building_asks_nothing_of_the_network(tmp_path: Path, built: Path) -> None:
    """In a network namespace without any way out, with what a build needs at hand."""
    for project in PROJECTS:
        (sdist,) = built.glob(f"{project.replace('-', '_')}-[0-9]*.tar.gz")
        run(
            "unshare", "--map-root-user", "--net", sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation",
            "--no-deps", "--no-index", "--wheel-dir", tmp_path, sdist, cwd=tmp_path,
        )  # fmt: skip
    assert len(list(tmp_path.glob("*.whl"))) == len(PROJECTS)


@pytest.mark.parametrize("project", PROJECTS)
def test_a_wheel_has_what_runs_and_an_sdist_what_builds(project: str, built: Path) -> None:
    stem = project.replace("-", "_")
    (wheel,) = built.glob(f"{stem}-[0-9]*.whl")
    (sdist,) = built.glob(f"{stem}-[0-9]*.tar.gz")
    inside = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in inside if name.endswith((".cpp", ".c", ".h")) or name.startswith("tests")]
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert not [name for name in names if name.endswith((".so", ".cpp"))]
    if project != "collectord-azureml":
        assert [name for name in inside if name.endswith(".so")]
        assert [name for name in names if name.endswith("collector.proto")]


def test_they_work_in_an_empty_directory(built: Path, tmp_path: Path) -> None:
    python = tmp_path / "environment" / "bin" / "python"
    empty = tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "venv", tmp_path / "environment", cwd=empty)
    run(python, "-m", "pip", "install", "--quiet", *built.glob("*.whl"), cwd=empty)
    assert run(python, "-c", PROGRAM, cwd=empty).split()[-1] == "100"
    command = python.with_name("collectord")
    assert run(command, "version", cwd=empty).startswith("collectord ")
    assert "data.csv.zst" in run(command, "ls", "--store", "modeldata", cwd=empty)
    assert len(run(command, "cat", "--store", "modeldata", "default/", cwd=empty).splitlines()) == 101
    assert sorted(path.name for path in empty.iterdir()) == ["modeldata"]


def test_the_client_alone_needs_no_grpcio_at_a_unix_socket(
    built: Path, tmp_path: Path, make_daemon: MakeDaemon
) -> None:
    daemon = make_daemon().start()
    python = tmp_path / "environment" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "environment", cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", *built.glob("collectord_client-*.whl"), cwd=tmp_path)
    assert run(python, "-c", CLIENT, daemon.endpoint, "localhost:9", cwd=tmp_path).splitlines() == [
        "1 ",
        "0 localhost:9 is reached over gRPC, and grpcio is not installed: pip install 'collectord-client[grpc]'",
    ]


def test_the_quick_start_of_a_laptop_works_with_them(built: Path, tmp_path: Path) -> None:
    """As the page has it, the environment and its packages included."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for project in ("collectord", "collectord_client"):
        (wheel,) = built.glob(f"{project}-[0-9]*.whl")
        (wheels / wheel.name).symlink_to(wheel)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = quickstart.on_a_laptop(clean() | {"PATH": path, "WHEELS": str(wheels)})
    quickstart.compare(said, quickstart.blocks(quickstart.first_part("A laptop"), "text"))
