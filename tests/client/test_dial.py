"""How soon a daemon is dialled again, and what a knock at its socket tells."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from collectord_client.dial import knock, pause
from collectord_client.overgrpc import LOOKING_EVERY, quiet

from tests.client.fakedaemon import FakeDaemon


def test_pauses_between_attempts_grow_and_stay_well_below_a_second() -> None:
    """A daemon that is back is asked within half a second, however long it was away; clients of a node do not march in step."""
    longest = [max(pause(failures) for _ in range(200)) for failures in range(40)]
    assert longest[0] < 0.1
    assert longest[0] < longest[1] < longest[2]
    assert max(longest) <= 0.45
    assert min(pause(10_000) for _ in range(200)) >= 0.25
    assert len({pause(5) for _ in range(50)}) > 40


def test_a_socket_that_nobody_listens_on_is_told_from_one_that_is_served(tmp_path: Path, daemon: FakeDaemon) -> None:
    """Without gRPC: absent, left behind by a dead daemon, served."""
    assert "no socket" in knock(str(tmp_path / "absent"))
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "stale"))
    assert "refused" in knock(str(tmp_path / "stale"))
    assert knock(daemon.endpoint.removeprefix("unix:")) == ""


@pytest.mark.parametrize("daemon", ["grpc"], indirect=True)
def test_threads_that_wait_for_a_call_do_not_look_all_the_time(client: Any, daemon: FakeDaemon) -> None:
    """gRPC has them look ten times a second. They hear at once of what happens, and where gRPC is made otherwise it is left
    alone."""
    condition = threading.Condition()
    waits: list[float | None] = []
    condition.wait = lambda timeout=None: bool(waits.append(timeout))  # type: ignore[method-assign]
    quiet(SimpleNamespace(_state=SimpleNamespace(condition=condition)))
    condition.wait(timeout=0.1)
    assert waits == [LOOKING_EVERY]
    quiet(SimpleNamespace())
    quiet(SimpleNamespace(_state=SimpleNamespace(condition="another")))
    # And in the gRPC that is here there is something to be done.
    client.collect([[1.0]])
    assert client.flush(10)
    assert "wait" in vars(client._outbox.carrier._link.carrier._call._state.condition)
    assert LOOKING_EVERY > 1
