"""What there is once per process: the senders, one per endpoint, and what happens to them at a fork and at exit.

Threads and connections do not survive a fork. The parent's connection is put down right before it and comes back right
after, because a child must not hold its socket, and gRPC's own state must be at rest; the child starts with empty outboxes,
new locks and no connection. What was unsent is sent by the parent, exactly once.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import embedded
from .core import Uuid7

if TYPE_CHECKING:
    from .access import Access
    from .outbox import Outbox
    from .sender import Sender

ids = Uuid7()
outboxes: weakref.WeakSet[Outbox] = weakref.WeakSet()

_lock = threading.Lock()
_loading = threading.RLock()
"""Held while a call loads modules: a fork waits for it, because the child would wait for the import's own lock for good."""
_senders: dict[tuple[str | None, Access], Sender] = {}
_graveyard: list[Sender] = []
"""The parent's senders, in a child: kept so that nothing of gRPC in them is ever torn down there."""
_exit_arranged = False
_others: list[Callable[[], None]] = []
"""What else begins anew in a child."""
_pid = os.getpid()

EXIT_TIMEOUT = 2.0


def sender_for(endpoint: str | None, access: Access) -> Sender:
    """The sender of this process for `endpoint`, which is made if need be; its thread starts with the first page."""
    with _loading:
        from .sender import Sender

    with _lock:
        found = _senders.get((endpoint, access))
        if found is None or found.stopped:
            found = _senders[endpoint, access] = Sender(endpoint, access)
        return found


def attach(endpoint: str | None, access: Access, outbox: Outbox) -> Sender:
    """The sender of this process for `endpoint`, which carries `outbox` from now on."""
    sender = sender_for(endpoint, access)
    sender.attach(outbox)
    return sender


def sender_there(endpoint: str | None, access: Access) -> bool:
    """True where this process has a sender for `endpoint`."""
    with _lock:
        found = _senders.get((endpoint, access))
        return found is not None and not found.stopped


def arrange_drain() -> None:
    """Sees to it that what was collected is sent before the process ends. Called by a client that is made, so that what
    is collected in exit handlers that were registered later is sent too."""
    global _exit_arranged
    _listen_to_uwsgi()
    if not _exit_arranged:
        _exit_arranged = True
        atexit.register(drain)


def arrange_exit() -> None:
    """The same for children of multiprocessing and of billiard, its copy in Celery. Called by a sender that starts."""
    # Such a child leaves through os._exit and runs these instead.
    util = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    # billiard puts its processes in the place of multiprocessing's, and names no parent.
    if util is not None and process is not None and process.current_process()._parent_pid is not None:
        util.Finalize(None, drain, exitpriority=10)
    # A worker of Celery's pool does not even run these, and sends a signal of Celery's.
    ending: Any = getattr(sys.modules.get("celery.signals"), "worker_process_shutdown", None)
    if ending is not None:
        ending.connect(_drain_worker, weak=False, dispatch_uid="collectord_client")


def _drain_worker(**_: object) -> None:
    drain()


def exit_timeout(endpoint: str | None) -> float:
    """COLLECTORD_EXIT_TIMEOUT in seconds. Where it is not a number: 2, or 10 where the process may collect by itself."""
    default = embedded.EXIT_TIMEOUT if embedded.may_serve(endpoint) else EXIT_TIMEOUT
    try:
        return min(60.0, max(0.0, float(os.environ.get("COLLECTORD_EXIT_TIMEOUT", default))))
    except ValueError:
        return default


def drain() -> None:
    """Sends what is held, by the threads that already run, and puts the connections down. Takes at most the timeout."""
    began = time.monotonic()
    for sender in _drawn():
        sender.finish(began + exit_timeout(sender.endpoint))


def _drawn() -> list[Sender]:
    """The senders, once the outboxes have taken over what was told."""
    for outbox in list(outboxes):
        outbox.draw()
    with _lock:
        return list(_senders.values())


def settle() -> None:
    """Sends what is held, and everything goes on as before. Takes at most the timeout.

    For hosts that end by a signal as soon as they have shut down: exit handlers do not run then.
    """
    began = time.monotonic()
    for sender in _drawn():
        sender.settle(began + exit_timeout(sender.endpoint))


def _before_fork() -> None:
    _loading.acquire()
    for sender in list(_senders.values()):
        sender.rest()
    embedded.before_fork()


def _after_fork_in_parent() -> None:
    embedded.after_fork_in_parent()
    for sender in list(_senders.values()):
        sender.resume()
    _loading.release()


def _after_fork_in_child() -> None:
    global _lock, _loading, _pid
    _pid = os.getpid()
    _lock = threading.Lock()
    _loading = threading.RLock()
    for sender in _senders.values():
        sender.abandon()
    _graveyard.extend(_senders.values())
    _senders.clear()
    embedded.after_fork_in_child()
    ids.reseed()
    for outbox in list(outboxes):
        outbox.after_fork()
    for begin in _others:
        begin()


def begin_in_child(begin: Callable[[], None]) -> None:
    """Has `begin` called in each child of a fork, after the senders and outboxes."""
    _others.append(begin)


def _listen_to_uwsgi() -> None:
    """uWSGI forks its workers past Python, which it only tells if asked to (`py-call-osafterfork`): without a hook of its own they
    would all make the same ids, and have the thread of their parent for running. There is one such hook; `uwsgidecorators`
    takes its place without looking, hence each client looks again.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    before = getattr(uwsgi, "post_fork_hook", None)
    if uwsgi is None or getattr(before, "of_collectord", False):
        return

    def forked() -> None:
        # Told by Python as well, or by two of ours in a row, what was collected since then is to stay.
        if os.getpid() != _pid:
            _after_fork_in_child()
        if before is not None:
            before()

    forked.of_collectord = True  # type: ignore[attr-defined]
    uwsgi.post_fork_hook = forked


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
