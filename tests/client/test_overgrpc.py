"""grpcio is an extra: only a daemon that is reached over TCP, or that knows nothing else, needs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from collectord_client import Client

from tests.client.fakedaemon import FakeDaemon


@pytest.fixture
def no_grpc(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing grpc fails as where it is not installed; the daemon has it already."""
    monkeypatch.setitem(sys.modules, "grpc", None)


def collects_in_vain(client: Client) -> str:
    """The error after one row, which waits."""
    client.collect([1.0])
    assert not client.flush(0.3)
    assert client.stats()["waiting"] == 1
    return str(client.stats()["last_error"])


@pytest.mark.usefixtures("no_grpc")
def test_a_unix_socket_needs_no_grpcio(make: Callable[..., Client], daemon: FakeDaemon) -> None:
    client = make()
    client.collect([1.0])
    assert client.flush(10)
    assert client.stats()["transport"] == "framed"
    assert len(daemon.rows) == 1


@pytest.mark.usefixtures("no_grpc")
@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "tls://127.0.0.1:9"])
def test_tcp_without_grpcio_says_what_to_install(
    make: Callable[..., Client], caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    why = "127.0.0.1:9 is reached over gRPC, and grpcio is not installed: pip install 'collectord-client[grpc]'"
    assert collects_in_vain(make(endpoint=endpoint)) == why
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [f"no connection to collectord: {why}; trying again"]


@pytest.mark.usefixtures("no_grpc")
@pytest.mark.parametrize("daemon", ["grpc"], indirect=True)
def test_so_does_a_socket_at_which_there_is_nothing_but_grpc(make: Callable[..., Client], daemon: FakeDaemon) -> None:
    """As with a daemon of an earlier version."""
    path = daemon.endpoint.removeprefix("unix:")
    assert collects_in_vain(make()).startswith(f"{path} is reached over gRPC, and grpcio is not installed: pip install")


def test_a_grpcio_that_does_not_load_is_told_apart(
    make: Callable[..., Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grpc.py").write_text("raise ImportError('libstdc++.so.6: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "grpc", raising=False)
    assert (
        "grpcio cannot be imported (libstdc++.so.6: cannot open shared object file): pip install 'collectord-client[grpc]'"
        in collects_in_vain(make(endpoint="127.0.0.1:9"))
    )
