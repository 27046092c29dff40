"""Settings of a running daemon, changed by its file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

from collectord_client import Client

from tests.e2e.process import Daemon, environment
from tests.e2e.waiting import eventually


def test_a_changed_file_acts_without_a_restart_and_a_wrong_one_does_not(
    make_daemon: Callable[..., Daemon], folder: Path
) -> None:
    file = folder / "collectord.toml"
    file.write_text("flush_interval = 3600\n")
    daemon = make_daemon(config=file).start()

    def settings() -> Any:
        return daemon.status()["settings"]

    assert settings() == {"problem": None, "pending": []}
    file.write_text("flush_interval = 0.2\nuploads = 2\n")
    daemon.signal(signal.SIGHUP)
    eventually(lambda: settings()["pending"] == ["uploads"], "the file was read again")
    with Client(model="m", endpoint=daemon.endpoint) as client:
        client.collect([[1.0]])
        assert client.flush(30)
        # Without the change it would take an hour.
        eventually(lambda: [one.landed for one in daemon.books().values()] == [1], "the row lands")
    file.write_text("flush_interval = soon\n")
    daemon.signal(signal.SIGHUP)
    eventually(lambda: settings()["problem"] is not None, "the file is wrong")
    file.write_text("flush_interval = 0.2\n")
    daemon.signal(signal.SIGHUP)
    eventually(lambda: settings() == {"problem": None, "pending": []}, "all is well again")
    assert daemon.terminate() == 0


def test_sighup_without_a_file_ends_nothing(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    daemon.signal(signal.SIGHUP)
    eventually(lambda: "no file of settings" in daemon.said(), "it says so")
    assert daemon.running


def test_sighup_during_a_start_does_not_end_it(folder: Path) -> None:
    """In the middle of it, so to say: where the log would be replayed."""
    script = """
        import os, signal
        from collectord import process
        from collectord.config import load
        from collectord.errors import CallHuman

        def replay(settings):
            os.kill(os.getpid(), signal.SIGHUP)
            raise CallHuman("it went on")

        process.Daemon = replay
        process.serve(load(overrides={"spool": "s", "store": "t"}), None, load)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done
    assert done.stderr.splitlines()[-1].endswith("it went on")
