"""Forks, exits and gunicorn with this interpreter; `tests/pythons` does the same with all others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon

PYTHON = Path(sys.executable)


@pytest.mark.parametrize("how", hosts.LEAVINGS)
def test_what_was_collected_arrives_although_the_script_just_ends(daemon: FakeDaemon, tmp_path: Path, how: str) -> None:
    hosts.leave(PYTHON, how, daemon, True, tmp_path)


@pytest.mark.parametrize("how", hosts.FORKINGS)
def test_parent_and_children_each_deliver_their_own(daemon: FakeDaemon, tmp_path: Path, how: str) -> None:
    hosts.fork(PYTHON, how, daemon, True, tmp_path)


@pytest.mark.parametrize(("worker", "preload", "warm"), hosts.GUNICORNS)
def test_gunicorn_loses_nothing_at_a_graceful_stop(
    daemon: FakeDaemon, tmp_path: Path, worker: str, preload: bool, warm: bool
) -> None:
    hosts.gunicorn(PYTHON, worker, preload, warm, daemon, True, tmp_path)
