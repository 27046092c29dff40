"""Threads that also work while the interpreter ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from collectord.pipeline.workers import LEAST_URGENT, Workers
from tests.e2e.process import environment


def test_what_is_handed_in_is_done_once_it_has_begun_and_errors_come_back() -> None:
    workers = Workers(2, "test-worker")
    early = workers.submit(threading.current_thread)
    assert not early.done()
    workers.start()
    assert early.result(10).name.startswith("test-worker")
    assert early.result(10).daemon
    assert workers.submit(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        workers.submit(divmod, 7, 0).result(10)
    assert workers.submit(sorted, [2, 1], reverse=True).result(10) == [2, 1]
    workers.stop(wait=True)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-worker")]


def test_only_its_own_threads_stand_back() -> None:
    """Threads that are nice are no matter of the others of the process."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    workers = Workers(2, "test-worker", nice=10)
    workers.start()
    found = workers.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result(10)
    workers.stop(wait=True)
    assert found == min(LEAST_URGENT, mine + 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_where_priorities_are_refused_they_work_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(which: int, who: int, priority: int) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "setpriority", refuse)
    workers = Workers(1, "test-worker", nice=10)
    workers.start()
    assert workers.submit(divmod, 7, 2).result(10) == (3, 1)
    workers.stop(wait=True)
    assert "usual priority: not here" in caplog.text


def test_a_stop_waits_for_what_has_begun_and_cancels_the_rest() -> None:
    workers = Workers(1, "test-worker")
    workers.start()
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go_on.wait(10)
        return "done"

    first, second = workers.submit(slow), workers.submit(slow)
    assert begun.wait(10)
    workers.stop(wait=False)
    assert second.cancelled()
    with pytest.raises(CancelledError):
        second.result()
    with pytest.raises(RuntimeError, match="stopped"):
        workers.submit(slow)
    go_on.set()
    workers.stop(wait=True)
    assert first.result(0) == "done"


AT_EXIT = """
import atexit
import concurrent.futures.thread
from collectord.pipeline.workers import LEAST_URGENT, Workers

workers = Workers(2, "test-worker")
workers.start()
workers.submit(print, "before").result(10)
atexit.register(lambda: workers.submit(print, "at the end").result(10))
workers.submit(__import__("time").sleep, 60)
"""


def test_they_work_in_an_exit_handler_and_hold_up_no_end() -> None:
    """The pool of concurrent.futures takes nothing any more then, and waits for what has begun."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], env=environment(), capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("before\nat the end\n", "", 0)
