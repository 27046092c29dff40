"""Threads that do what they are handed, in order.

Unlike those of `concurrent.futures` they also work while the interpreter ends, when an embedded collector lands what it
has: they are started before, and nothing switches them off. They are daemon threads, so one that hangs holds up no end.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LEAST_URGENT = 19
_log = logging.getLogger("collectord.pipeline")


class Workers:
    """`number` threads called `name`. Thread-safe."""

    def __init__(self, number: int, name: str, *, nice: int = 0) -> None:
        """`nice`: how far the threads stand back behind others that want a core, as with nice(1); on Linux."""
        self._nice = nice
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}_{index}", daemon=True) for index in range(number)
        ]
        self._tasks: deque[tuple[Future[object], Callable[[], object]]] = deque()
        self._changed = threading.Condition()
        self._open = True

    def start(self) -> None:
        """Starts the threads. What was handed in before is done now."""
        for thread in self._threads:
            thread.start()

    def submit(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Does it as soon as a thread is free. Raises RuntimeError after `stop`."""
        future: Future[T] = Future()
        with self._changed:
            if not self._open:
                raise RuntimeError("the workers were stopped")
            self._tasks.append((future, lambda: do(*args, **kwargs)))  # type: ignore[arg-type]
            self._changed.notify()
        return future

    def stop(self, *, wait: bool) -> None:
        """Cancels what was not begun, and ends the threads as soon as they are free; `wait` until then. May be repeated."""
        with self._changed:
            self._open = False
            left, self._tasks = self._tasks, deque()
            self._changed.notify_all()
        for future, _ in left:
            future.cancel()
        for thread in self._threads:
            if wait and thread.ident is not None:
                thread.join()

    def _run(self) -> None:
        if self._nice and sys.platform == "linux":
            # Of this thread alone, whatever POSIX says: see setpriority(2), C library/kernel differences.
            thread = threading.get_native_id()
            try:
                os.setpriority(
                    os.PRIO_PROCESS, thread, min(LEAST_URGENT, os.getpriority(os.PRIO_PROCESS, thread) + self._nice)
                )
            except OSError as error:
                _log.warning("%s works at the usual priority: %s", threading.current_thread().name, error)
        while True:
            with self._changed:
                while not self._tasks and self._open:
                    self._changed.wait()
                if not self._tasks:
                    return
                future, do = self._tasks.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(do())
                except BaseException as error:  # noqa: BLE001  (whoever waits for it is to hear of it)
                    future.set_exception(error)
            # While it waits, a thread keeps nothing alive.
            del future, do
