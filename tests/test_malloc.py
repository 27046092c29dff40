"""What was freed goes back to the system where memory gets short, and only there."""

from __future__ import annotations

import subprocess
import sys

BLOCKS = """
import threading

from collectord import malloc, memory

malloc.tune_malloc()
# Every other block stays: what lies between is free, and no libc gives it back by itself.
blocks = [bytearray(b"x" * 65536) for _ in range(1600)]
full = memory.resident()
del blocks[::2]
kept = memory.resident()
assert kept > full - (10 << 20), (full, kept)

def given():
    return kept - memory.resident()
"""

AT_ONCE = """
assert not malloc.give_back(beyond=kept + (1 << 20)) and given() < 1 << 20
assert malloc.give_back(beyond=0) and given() > 40 << 20, given()
"""

WATCHED = """
looked, go_on = threading.Semaphore(0), threading.Semaphore(0)

def sleep(seconds):
    assert seconds == malloc.GIVEN_EVERY
    looked.release()
    go_on.acquire()

budget = 2 * kept
malloc.keep_within(lambda: budget, sleep=sleep)
for _ in range(3):
    assert looked.acquire(timeout=20)
    assert given() < 1 << 20, "there was room"
    go_on.release()
assert looked.acquire(timeout=20)
budget = kept
go_on.release()
assert looked.acquire(timeout=20)
assert given() > 40 << 20, given()
"""

WHOLE = """
assert all(block == b"x" * 65536 for block in blocks)
"""


def test_what_is_free_goes_back_when_more_is_resident_than_asked_for() -> None:
    subprocess.run([sys.executable, "-c", BLOCKS + AT_ONCE + WHOLE], check=True)


def test_a_process_is_kept_within_its_budget_once_it_comes_near() -> None:
    subprocess.run([sys.executable, "-c", BLOCKS + WATCHED + WHOLE], check=True)
