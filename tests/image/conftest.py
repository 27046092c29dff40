"""Containers of the images that `make image-test` has built, as a pod of the chart would run them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DAEMON, EXAMPLE, BASE = "localhost/collectord", "localhost/collectord-example", "localhost/collectord-base"
LEAST = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")
LIMITS = ("--ulimit", "nofile=8192:8192", "--ulimit", "nproc=1024:1024", "--memory", "512m")


def podman(*arguments: str, check: bool = True) -> str:
    """What it prints."""
    ran = subprocess.run(["podman", "--runtime", "runc", *arguments], capture_output=True, text=True, check=False)
    assert not check or ran.returncode == 0, f"podman {' '.join(arguments)}: {ran.stdout}{ran.stderr}"
    return ran.stdout + ran.stderr


class Container:
    """One that runs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec(self, *command: str, check: bool = True) -> str:
        return podman("exec", self.name, *command, check=check)

    def status(self) -> dict[str, Any]:
        found = json.loads(self.exec("collectord", "status", "--json"))
        assert isinstance(found, dict)
        return found

    def stop(self, seconds: int = 60) -> int:
        """SIGTERM; the exit status."""
        podman("stop", "--time", str(seconds), self.name)
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def logs(self) -> str:
        return podman("logs", self.name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """What a node has: directories that the daemon's user owns."""
    made = Path(tempfile.mkdtemp(prefix="cd-"))
    for name in ("run", "lib"):
        (made / name).mkdir()
        shutil.chown(made / name, 10001, 10001)
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def run(folder: Path) -> Iterator[Callable[..., Container]]:
    """Runs an image; a container is gone when its test ends."""
    made: list[Container] = []

    def begin(image: str, *arguments: str, options: tuple[str, ...] = ()) -> Container:
        name = f"{folder.name}-{len(made)}"
        container = Container(name)
        made.append(container)
        podman("run", "--detach", "--name", name, *LEAST, *LIMITS, *options, image, *arguments)
        return container

    yield begin
    for container in made:
        print(f"---- {container.name} said\n{podman('logs', container.name, check=False)[-5000:]}")
        podman("rm", "--force", "--time", "0", container.name, check=False)
