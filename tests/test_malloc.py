"""What was freed goes back to the system where memory gets short, and only there."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import time

from collectord import malloc, memory

malloc.tune_malloc()
# Every other block stays: what lies between is free, and no libc gives it back by itself.
blocks = [bytearray(b"x" * 65536) for _ in range(1600)]
full = memory.resident()
del blocks[::2]
kept = memory.resident()
assert kept > full - (10 << 20), (full, kept)
assert not malloc.give_back(beyond=kept + (1 << 20)) and memory.resident() > kept - (1 << 20)
if {watched}:
    budget = 2 * kept
    malloc.keep_within(lambda: budget)
    time.sleep(1.5 * malloc.GIVEN_EVERY)
    assert memory.resident() > kept - (1 << 20), "there was room"
    budget = kept
    deadline = time.monotonic() + 20
    while memory.resident() > kept - (40 << 20):
        assert time.monotonic() < deadline, (full, kept, memory.resident())
        time.sleep(0.05)
else:
    assert malloc.give_back(beyond=0)
    assert memory.resident() < kept - (40 << 20), (full, kept, memory.resident())
assert sum(map(len, blocks)) == 800 * 65536
"""


def test_what_is_free_goes_back_when_more_is_resident_than_asked_for() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT.format(watched=False)], check=True)


def test_a_process_is_kept_within_its_budget_once_it_comes_near() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT.format(watched=True)], check=True)
