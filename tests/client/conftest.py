"""What the client's tests share: the package under test, a fake daemon, clients that are closed again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients" / "python"))

import collectord_client

from tests.client.fakedaemon import FakeDaemon

OVER_BOTH = {"test_sender", "test_process", "test_leaving", "test_shutdown", "test_switches", "test_failed"}
"""Files whose tests of a daemon run over gRPC as well: there it matters what carries the messages."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "daemon" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in OVER_BOTH:
        metafunc.parametrize("daemon", ["framed", "grpc"], indirect=True)


@pytest.fixture
def daemon(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeDaemon]:
    """A fake daemon; whatever broke the contract fails the test. Clients reach it without HTTP/2, unless a test says `grpc`."""
    fake = FakeDaemon(f"unix:{tmp_path}/d.sock", framed=getattr(request, "param", "framed") == "framed")
    yield fake
    if fake._server is not None:
        fake.stop()
    assert not fake.protocol_errors


@pytest.fixture
def make(daemon: FakeDaemon) -> Iterator[Callable[..., collectord_client.Client]]:
    """Makes clients of `daemon`."""
    made: list[collectord_client.Client] = []

    def build(**options: Any) -> collectord_client.Client:
        options = {"model": "m", "version": "1", "endpoint": daemon.endpoint, "linger": 0.05} | options
        made.append(collectord_client.Client(**options))
        return made[-1]

    yield build
    for client in made:
        client.close(0.2)


@pytest.fixture
def client(make: Callable[..., collectord_client.Client]) -> collectord_client.Client:
    """A strict client: what it refuses is raised."""
    return make(strict=True)
