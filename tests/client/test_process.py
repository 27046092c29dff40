"""Forks, exits and gunicorn with this interpreter; `tests/pythons` does the same with all others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon

PYTHON = Path(sys.executable)
CLIENT = Path(__file__).resolve().parents[2] / "clients" / "python"

FORK_WHILE_LOADING = """
import importlib.machinery, os, signal, sys, threading
from collectord_client import Client

client = Client("m", endpoint="unix:/nowhere/c.sock")
loading, forking = threading.Event(), threading.Event()

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "collectord_client.sender":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def slowly(module):
            loading.set()
            forking.wait()
            load(module)

        spec.loader.exec_module = slowly
        return spec

sys.meta_path.insert(0, Finder())
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=client.collect, args=([1.0],))
thread.start()
loading.wait()
# This thread goes on until it waits.
sys.setswitchinterval(60)
child = os.fork()
if not child:
    signal.alarm(20)
    assert client.collect([2.0]).rows
    os._exit(0)
sys.setswitchinterval(0.005)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

FORK_AS_UWSGI = """
import ctypes, os, sys, types
uwsgi = sys.modules["uwsgi"] = types.ModuleType("uwsgi")
told = []
if sys.argv[2] != "alone":
    uwsgi.post_fork_hook = lambda: told.append(os.getpid())
from collectord_client import Client

first = Client("m", "1", endpoint=sys.argv[1])
client = Client("m", "1", endpoint=sys.argv[1])
if sys.argv[2] == "replaced":
    # As `import uwsgidecorators` does.
    uwsgi.post_fork_hook = lambda: told.append(os.getpid())
    Client("m", "1", endpoint=sys.argv[1])
client._outbox.attach()
for worker in range(2):
    if not ctypes.PyDLL(None).fork():
        getattr(uwsgi, "post_fork_hook", int)()
        assert told == ([] if sys.argv[2] == "alone" else [os.getpid()])
        client.collect([[float(worker)]])
        getattr(uwsgi, "post_fork_hook", int)()
        os._exit(not client.flush(20))
print([os.waitstatus_to_exitcode(os.wait()[1]) for worker in range(2)])
"""

LEAVE_AS_CELERY = """
import multiprocessing.process, multiprocessing.util, os, sys, types

receivers = {}

class Signal:
    def connect(self, receiver, weak=True, dispatch_uid=None):
        assert not weak
        receivers[dispatch_uid] = receiver

if sys.argv[2] != "process":
    signals = sys.modules["celery.signals"] = types.ModuleType("celery.signals")
    signals.worker_process_shutdown = Signal()
from collectord_client import Client

client = Client("m", "1", endpoint=sys.argv[1], linger=3600)
worker = multiprocessing.process.BaseProcess()
if sys.argv[2] == "warm pool":
    client.collect([[-1.0]])
    client.flush(20)
if not os.fork():
    # billiard's own `_set_current_process` does this.
    multiprocessing.process._current_process = worker
    multiprocessing.util._finalizer_registry.clear()
    client.collect([[1.0]])
    if sys.argv[2] == "process":
        multiprocessing.util._exit_function()
    for receiver in receivers.values():
        receiver(signal=signals.worker_process_shutdown, sender="celery@host", pid=os.getpid(), exitcode=0)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.parametrize("how", hosts.LEAVINGS)
def test_what_was_collected_arrives_although_the_script_just_ends(daemon: FakeDaemon, tmp_path: Path, how: str) -> None:
    hosts.leave(PYTHON, how, daemon, True, tmp_path)


@pytest.mark.parametrize("how", hosts.FORKINGS)
def test_parent_and_children_each_deliver_their_own(daemon: FakeDaemon, tmp_path: Path, how: str) -> None:
    hosts.fork(PYTHON, how, daemon, True, tmp_path)


def test_a_child_of_a_fork_amid_the_first_call_of_another_thread_can_collect() -> None:
    """That call loads modules; a child would wait for the lock of such an import for good."""
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        [PYTHON, "-c", FORK_WHILE_LOADING], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("hook", ["alone", "beside", "replaced"])
def test_workers_that_uwsgi_forks_past_python_are_clients_of_their_own(tmp_path: Path, hook: str) -> None:
    """Their ids differ, and what each collects arrives. No thread runs yet: one could hold the interpreter in the moment of the
    fork, of which only Python itself knows how to take it back."""
    daemon = FakeDaemon(f"unix:{tmp_path}/d.sock")
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    try:
        done = subprocess.run(
            [PYTHON, "-c", FORK_AS_UWSGI, daemon.endpoint, hook],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        daemon.stop()
    assert (done.stdout, done.stderr) == ("[0, 0]\n", "")
    rows = [row for row in daemon.rows if row.designation == "inputs"]
    assert sorted(row.values[0] for row in rows) == [0.0, 1.0]
    # Behind the milliseconds, which are the clock's.
    assert len({row.correlation[14:] for row in rows}) == 2
    assert len({row.client for row in rows}) == 2


@pytest.mark.parametrize("how", ["cold pool", "warm pool", "process"])
def test_what_was_collected_arrives_although_a_worker_of_celery_leaves_by_os_exit(
    daemon: FakeDaemon, tmp_path: Path, how: str
) -> None:
    """A worker of its pool only sends a signal of Celery's before; a process of billiard, which is no child to multiprocessing, runs
    finalizers."""
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        [PYTHON, "-c", LEAVE_AS_CELERY, daemon.endpoint, how],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")
    expected = [1.0] if how != "warm pool" else [-1.0, 1.0]
    assert [row.values[0] for row in daemon.rows] == expected


@pytest.mark.parametrize(("worker", "preload", "warm"), hosts.GUNICORNS)
def test_gunicorn_loses_nothing_at_a_graceful_stop(
    daemon: FakeDaemon, tmp_path: Path, worker: str, preload: bool, warm: bool
) -> None:
    hosts.gunicorn(PYTHON, worker, preload, warm, daemon, True, tmp_path)
