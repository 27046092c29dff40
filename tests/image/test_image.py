"""The daemon's image with the least rights there are, under load, and what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from collectord_client import Client

from tests.e2e.waiting import eventually
from tests.image.conftest import BASE, DAEMON, EXAMPLE, Container, podman

MAX_BYTES = 250_000_000
"""Of the image beyond its base."""
Run = Callable[..., Container]


@pytest.fixture
def daemon(run: Run, folder: Path) -> Container:
    volumes = ("--volume", f"{folder}/run:/run/collectord", "--volume", f"{folder}/lib:/var/lib/collectord")
    container = run(DAEMON, "serve", "--flush-interval", "1", options=volumes)
    eventually(lambda: (folder / "run" / "collectord.sock").exists(), "the daemon listens", 60)
    return container


def landed(daemon: Container) -> int:
    books = json.loads(daemon.exec("collectord", "ledger", "--json"))
    return sum(book["landed"] for book in books)


def test_it_runs_as_nobody_of_importance_and_writes_nowhere_else(daemon: Container) -> None:
    assert daemon.exec("id", "-u").strip() == "10001"
    assert "Read-only file system" in daemon.exec("sh", "-c", "echo > /opt/collectord/x", check=False)
    assert re.search(r"CapEff:\s+0+\n", daemon.exec("cat", "/proc/1/status"))


def test_rows_of_a_client_land_and_sigterm_under_load_loses_none(daemon: Container, folder: Path) -> None:
    with Client(model="m", endpoint=f"unix:{folder}/run/collectord.sock", linger=0.01) as client:
        inputs = client.collector("inputs", feature_names=["a", "b"])
        for number in range(20_000):
            inputs.collect([[float(number), 1.0]])
        assert client.flush(60)
        eventually(lambda: landed(daemon) > 0, "rows land", 60)
        for number in range(20_000):
            inputs.collect([[float(number), 2.0]])
        assert daemon.stop() == 0
        acknowledged = client.stats()["acknowledged"]
    assert acknowledged >= 20_000
    found = podman(
        "run", "--rm", "--network", "none", "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=1024:1024",
        "--volume", f"{folder}/lib:/var/lib/collectord", DAEMON, "cat", "default/",
    )  # fmt: skip
    assert len(found.splitlines()) - 1 >= acknowledged


def test_the_example_scores_and_is_collected(daemon: Container, run: Run, folder: Path) -> None:
    example = run(EXAMPLE, "0.01", options=("--volume", f"{folder}/run:/run/collectord:ro"))
    eventually(lambda: landed(daemon) >= 20, "the example's rows land", 60)
    assert example.stop(20) == 0
    assert "'dropped': {}" in example.logs()


def test_what_an_exec_leaves_behind_is_cleared_away(daemon: Container) -> None:
    daemon.exec("sh", "-c", "(sleep 0.2 &) ; true")
    eventually(
        lambda: "sleep" not in daemon.exec("sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; true"), "no zombie", 20
    )


def test_only_what_runs_is_in_it() -> None:
    there = podman(
        "run", "--rm", "--network", "none", "--ulimit", "nofile=8192:8192", "--ulimit", "nproc=1024:1024",
        "--entrypoint", "sh", DAEMON, "-c",
        "command -v gcc cc g++ make; find /opt /src /root/.cache \\( -name '*.whl' -o -name pip -o -name '*.pyx' -o -name '*.h' \\) "
        "2>/dev/null; ls /opt",
    )  # fmt: skip
    assert there.split() == ["collectord"]


def test_its_size_and_labels() -> None:
    sizes = {name: int(podman("image", "inspect", "--format", "{{.Size}}", name)) for name in (DAEMON, EXAMPLE, BASE)}
    for name in (DAEMON, EXAMPLE):
        print(f"{name}: {(sizes[name] - sizes[BASE]) / 1e6:.0f} MB beyond the base")
        assert 0 < sizes[name] - sizes[BASE] <= MAX_BYTES
    labels = json.loads(podman("image", "inspect", "--format", "{{json .Labels}}", DAEMON))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"]
