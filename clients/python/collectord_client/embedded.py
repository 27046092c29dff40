"""A collector without a daemon: for the endpoint `dir:PATH`, one process runs the daemon's code in threads of its own.

Whoever finds nobody at the socket of PATH tries to serve it; the spool's lock sees to it that one succeeds, and the
others connect to that one. When it ends, the next attempt to connect finds nobody again. Beside `azureml/webservice.py`, this is the only file that
knows the package `collectord`, and it is imported here only where this process is to serve.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .dial import knock
from .endpoint import EndpointError, directory_of, socket_of, spool_of
from .notices import once
from .threadless import threads_can_start

if TYPE_CHECKING:
    from .sender import Sender

PACKAGE = "collectord"
OWNER = "store"
"""In a spool elsewhere: the file that says whose it is."""
DAEMONS = ("ledger.sqlite", "log")
"""What a daemon leaves in its spool."""
EXIT_TIMEOUT = 10.0
"""Seconds for what is held at the end of the process: whoever takes it may have to be started first."""
AGAIN_AFTER = 10.0
"""Seconds until a start that failed for a reason that somebody has to mend is tried again."""


class Embedded(Protocol):
    """What `collectord.embedded` gives."""

    @property
    def running(self) -> bool: ...

    def stop(self, land: bool) -> bool: ...

    def forget(self) -> None: ...


class Spawned:
    """An `Embedded` in a process of its own. From Python 3.12 on, an interpreter that ends starts no thread any more, and a
    script may end right after its first row."""

    def __init__(self, directory: str, spool: str, socket: str) -> None:
        """Raises EndpointError where it does not serve in time."""
        import subprocess

        command = [sys.executable, "-m", f"{PACKAGE}.embedded", directory, spool, socket]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        except OSError as error:
            raise EndpointError(f"dir:{directory}: {error}") from None
        deadline = time.monotonic() + EXIT_TIMEOUT
        while knock(socket):
            if not self.running or time.monotonic() > deadline:
                self.stop(False)
                raise EndpointError(f"dir:{directory}: the process that collects at the end could not be started")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, land: bool) -> bool:
        assert self._process.stdin is not None
        self._process.stdin.close()
        deadline = time.monotonic() + EXIT_TIMEOUT
        while self.running and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.running

    def forget(self) -> None:
        """It is the parent's, which waits for it."""


@dataclass
class Serving:
    """A directory that this process serves."""

    daemon: Embedded
    users: set[Sender]


_lock = threading.Lock()
"""Held while a daemon starts or stops, and during a fork."""
_serving: dict[str, Serving] = {}
_not_before: dict[str, tuple[float, str]] = {}
"""When, in monotonic seconds, the next start is worth trying, and why the last one failed."""


def prepare(endpoint: str | None) -> None:
    """Loads what cannot be loaded any more while a process ends or forks, because it arranges for just these. Called for
    each client that is made."""
    with suppress(EndpointError, RuntimeError):
        if directory_of(endpoint) is not None:
            importlib.import_module("concurrent.futures.thread")


def serve(directory: str, user: Sender) -> None:
    """Somebody serves `directory` when this returns, or is about to: this process for `user`, or another one.

    Raises EndpointError: this process would have to, and cannot.
    """
    with _lock:
        if user.stopped:
            return
        found = _serving.get(directory)
        if found is not None:
            found.users.add(user)
            if found.daemon.running:
                return
            if not found.daemon.stop(False):
                raise EndpointError(f"dir:{directory}: an append is under way that does not end")
            del _serving[directory]
        when, why = _not_before.get(directory, (0.0, ""))
        if time.monotonic() < when:
            raise EndpointError(why)
        try:
            daemon = _start(directory)
        except EndpointError as error:
            _not_before[directory] = (time.monotonic() + AGAIN_AFTER, str(error))
            once(logging.WARNING, f"embedded {directory}", "nothing can be collected: %s", error)
            raise
        _not_before.pop(directory, None)
        if daemon is not None:
            _serving[directory] = Serving(daemon, {user})


def _start(directory: str) -> Embedded | None:
    spool, socket = spool_of(directory), socket_of(directory)
    try:
        module: Any = importlib.import_module(f"{PACKAGE}.embedded")
        _belongs(spool, directory)
        if os.path.dirname(socket) != os.path.realpath(spool):  # noqa: PTH120
            _make_private(os.path.dirname(socket))  # noqa: PTH120
        daemon: Embedded | None = module.start(directory, spool, socket)
    except ModuleNotFoundError as error:
        missing = error.name or PACKAGE
        what = "a later version of collectord" if missing == f"{PACKAGE}.embedded" else f"the package {missing}"
        raise EndpointError(f"dir:{directory} needs {what}, which is not installed: pip install {PACKAGE}") from None
    except Exception as error:  # noqa: BLE001
        if isinstance(error, RuntimeError) and not threads_can_start():
            return Spawned(directory, spool, socket)
        raise EndpointError(f"dir:{directory}: {error}") from None
    return daemon


def _belongs(spool: str, directory: str) -> None:
    """A spool elsewhere is of one directory: what waits in it must not land in another."""
    if "COLLECTORD_SPOOL" not in os.environ:
        return
    os.makedirs(spool, mode=0o700, exist_ok=True)  # noqa: PTH103
    path = os.path.join(spool, OWNER)  # noqa: PTH118
    mine = os.fsencode(os.path.realpath(directory))
    if not _read(path):
        if any(os.path.exists(os.path.join(spool, name)) for name in DAEMONS):  # noqa: PTH110, PTH118
            raise EndpointError(f"the spool {spool} (COLLECTORD_SPOOL) is a daemon's; name another directory")
        _claim(path, mine)
    if (said := _read(path)) != mine:
        raise EndpointError(
            f"the spool {spool} (COLLECTORD_SPOOL) belongs to {os.fsdecode(said)}; each directory needs its own"
        )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _claim(path: str, mine: bytes) -> None:
    """Writes `mine` where nobody was faster: whole, or not at all."""
    part = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        with open(part, "wb") as file:
            file.write(mine)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        os.unlink(part)  # noqa: PTH108


def _make_private(folder: str) -> None:
    """In a directory that everybody may write to: nobody else may have put it there."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102
    except FileExistsError:
        found = os.lstat(folder)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170077 != 0o040000:
            raise EndpointError(f"{folder} is not a private directory of this user; remove it") from None


def may_serve(endpoint: str | None) -> bool:
    """True for a `dir:` endpoint where waiting is not in vain: somebody serves it, or this process can."""
    try:
        directory = directory_of(endpoint)
    except EndpointError:
        return False
    if directory is None or failed(endpoint):
        return False
    return not knock(socket_of(directory)) or importlib.util.find_spec(PACKAGE) is not None


def failed(endpoint: str | None) -> bool:
    """True for a `dir:` endpoint that this process was to serve and could not."""
    return bool(_not_before) and directory_of(endpoint) in _not_before


def served_by(endpoint: str | None, connected: bool) -> str:
    """Who collects for a `dir:` endpoint: "this process", "another process" or "nobody"; "" for all other endpoints."""
    try:
        directory = directory_of(endpoint)
    except EndpointError:
        return ""
    if directory is None:
        return ""
    found = _serving.get(directory)
    if found is not None and found.daemon.running:
        return "this process"
    return "another process" if connected else "nobody"


def leave(user: Sender) -> None:
    """`user` has stopped. With the last one of a directory its daemon lands what there is, and stops."""
    with _lock:
        for directory, serving in list(_serving.items()):
            serving.users.discard(user)
            if not serving.users and serving.daemon.stop(True):
                del _serving[directory]


# ------------------------------------------------------------ around a fork


def before_fork() -> None:
    """gRPC must be at rest, and a child must not hold what another process waits for: all that is served is put down,
    with nothing lost, and comes back when the next sender connects."""
    _lock.acquire()
    for directory, serving in list(_serving.items()):
        if serving.daemon.stop(False):
            del _serving[directory]


def after_fork_in_parent() -> None:
    _lock.release()


def after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for serving in _serving.values():
        serving.daemon.forget()
    _kept.extend(_serving.values())
    _serving.clear()
    _not_before.clear()


_kept: list[Serving] = []
"""The parent's, in a child, where its end did not come in time: never torn down there."""
