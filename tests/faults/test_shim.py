"""The shim does what it says, else the tests that use it would show nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.shim import Call, Shim


def run(shim: Shim, code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **shim.env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_calls_on_a_named_file_fail_and_others_do_not(shim: Shim, folder: Path) -> None:
    """Each kind of call, in Python and in SQLite."""
    code = f"""
import errno, os, sqlite3
def tell(what):
    try:
        what(); return "ok"
    except sqlite3.OperationalError as error:
        return "sqlite"
    except OSError as error:
        return errno.errorcode[error.errno]
for name in ("{folder}/good", "{folder}/bad"):
    fd = os.open(name, os.O_RDWR)
    print(tell(lambda: os.write(fd, b"x")), tell(lambda: os.pwrite(fd, b"x", 0)), tell(lambda: os.pwritev(fd, [b"x"], 0)),
          tell(lambda: os.fsync(fd)), tell(lambda: os.fdatasync(fd)), tell(lambda: os.posix_fallocate(fd, 0, 10)),
          tell(lambda: os.ftruncate(fd, 5)), tell(lambda: open(name + "-new", "x")), tell(lambda: os.mkdir(name + "-dir")),
          tell(lambda: os.replace("{folder}/shim", name)),
          tell(lambda: sqlite3.connect(name + ".sqlite").execute("CREATE TABLE t (x)")))
"""
    for name in ("bad", "good"):
        (folder / name).touch()
    shim.arm(Call(31), f"{folder}/bad", errno.ENOSPC)
    good, bad = run(shim, code).splitlines()
    assert good.split() == ["ok"] * 11
    assert bad.split() == ["ENOSPC"] * 10 + ["sqlite"]
    assert shim.fired > 10


def test_a_fault_may_skip_calls_and_end_by_itself(shim: Shim, folder: Path) -> None:
    """The third and fourth write fail; a torn write leaves half of its bytes."""
    code = f"""
import os
fd = os.open("{folder}/file", os.O_RDWR | os.O_CREAT)
for n in range(6):
    try:
        print(os.write(fd, b"abcd"), end=" ")
    except OSError:
        print("failed", end=" ")
"""
    shim.arm(Call.WRITE, "file", times=2, skip=2)
    assert run(shim, code) == "4 4 failed failed 4 4"
    shim.arm(Call.WRITE, "file", times=2, skip=2, torn=True)
    assert run(shim, code) == "4 4 2 2 4 4"
    assert shim.fired == 2


def test_calls_may_take_long(shim: Shim, folder: Path) -> None:
    code = f"""
import os, time
fd = os.open("{folder}/file", os.O_RDWR | os.O_CREAT)
began = time.monotonic()
os.fdatasync(fd)
print(time.monotonic() - began)
"""
    shim.arm(Call.SYNC, "file", 0, delay=0.3)
    assert float(run(shim, code)) >= 0.3


def test_the_wall_clock_steps_and_the_monotonic_one_does_not(shim: Shim) -> None:
    code = "import time; print(time.time_ns(), time.monotonic(), time.time())"
    for step in (-3600, 86_400):
        shim.step_wall_clock(step)
        wall, monotonic, _ = map(float, run(shim, code).split())
        assert abs(wall / 1e9 - time.time() - step) < 60
        assert abs(monotonic - time.monotonic()) < 60
