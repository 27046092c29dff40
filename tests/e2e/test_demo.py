"""`collectord demo`, as somebody runs it who has just installed it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import landed
from tests.e2e.process import ROOT, environment
from tests.e2e.waiting import eventually

ROWS = 400  # of 200 requests


def _spawn(folder: Path, *options: str) -> subprocess.Popen[str]:
    """In a process group of its own, which the daemon and the emulator share."""
    with (folder / "out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "collectord", "demo", *options], env=environment(), cwd=folder,
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip


def _is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_demo_shows_each_row_once_and_leaves_no_process_behind(folder: Path) -> None:
    """Through its kill -9 all rows land once in a directory, what an earlier run left is gone, and it exits with 0."""
    (folder / "demo-data" / "store").mkdir(parents=True)
    (folder / "demo-data" / ".collectord-demo").touch()
    (folder / "demo-data" / "store" / "old").touch()
    demo = _spawn(folder, "--requests", "200")
    assert demo.wait(120) == 0, (folder / "out").read_text()
    eventually(lambda: _is_empty(demo.pid), "all of its processes have ended", 5)
    said = (folder / "out").read_text()
    assert "kill -9 for the daemon" in said
    assert f"every row is there exactly once: {ROWS} inputs and {ROWS} predictions" in said
    assert "balanced" in said
    assert "Warning" not in said
    blobs = landed.directory(folder / "demo-data" / "store")
    assert len(blobs) == 2
    assert len(landed.rows(blobs, "/inputs/")) == len(landed.rows(blobs, "/predictions/")) == ROWS


def test_the_demo_runs_on_the_emulator_of_azure(folder: Path) -> None:
    """It starts Azurite from the node_modules of the directory it is run in, and ends it."""
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    demo = _spawn(folder, "--requests", "200", "--store", "azurite")
    assert demo.wait(120) == 0, (folder / "out").read_text()
    eventually(lambda: _is_empty(demo.pid), "all of its processes have ended", 5)
    said = (folder / "out").read_text()
    assert "az://modeldata" in said
    assert f"every row is there exactly once: {ROWS} inputs and {ROWS} predictions" in said


def test_the_demo_does_not_touch_what_is_not_its_own(folder: Path) -> None:
    """A folder demo-data of somebody else stays as it is; without the emulator it says how to get it."""
    (folder / "demo-data").mkdir()
    (folder / "demo-data" / "precious").touch()
    demo = _spawn(folder)
    assert demo.wait(60) == 2
    assert "is not from an earlier demo; move it away" in (folder / "out").read_text()
    assert (folder / "demo-data" / "precious").exists()
    (folder / "demo-data").rename(folder / "mine")
    demo = _spawn(folder, "--store", "azurite")
    assert demo.wait(60) == 2
    assert "make azurite" in (folder / "out").read_text()
    assert "Traceback" not in (folder / "out").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_interrupted_leaves_no_process_behind(folder: Path, number: signal.Signals) -> None:
    """However it ends, its daemon and its emulator end with it."""
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    demo = _spawn(folder, "--requests", "30000", "--store", "azurite")
    # In the middle of the work: an interrupt in the middle of an import leaves Python's own warnings behind.
    eventually(lambda: "kill -9" in (folder / "out").read_text(), "it scores", 60)
    demo.send_signal(number)
    assert demo.wait(90) != 0
    try:
        eventually(lambda: _is_empty(demo.pid), "all of its processes have ended", 10)
    finally:
        if not _is_empty(demo.pid):
            os.killpg(demo.pid, signal.SIGKILL)
    assert "Traceback" not in (folder / "out").read_text()
