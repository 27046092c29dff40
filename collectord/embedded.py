"""A daemon in a thread of somebody else's process: what `Client(endpoint="dir:PATH")` runs.

The same daemon on a spool and a unix socket of its own, and nothing that concerns the process as a whole: no signal
handler, no setting of malloc or of the interpreter, no configuration of logging, nothing on stdout. It says what it has
to say to the logger `collectord`, which is silent unless the host wants to hear it.

Threads: one for the event loop, beside those of the log, the pipeline, its workers and the claim. All are daemon threads, and
all are started before `start` returns, since none can be while the interpreter ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from pydantic import field_validator

from collectord import config
from collectord.address import fits
from collectord.config import unknown_environment
from collectord.daemon import STOP_GRACE, STOP_PATIENCE, Daemon
from collectord.errors import SpoolInUse
from collectord.logs import event
from collectord.settings import ADMIN_SOCKET, Settings
from collectord.spoolfiles import LOCK_FILE

DEFAULTS: dict[str, object] = {
    "drain_deadline": 10.0,
    "flush_interval": 10.0,
    "memory_budget": 64 << 20,
    "segment_bytes": 16 << 20,
    "socket_mode": 0o600,
    "spool_budget": 1 << 30,
    "uploads": 2,
}
"""Settings that are others than a daemon's, unless the environment says something else: a guest takes less room."""
MARGIN = 2 * STOP_GRACE + 3 * STOP_PATIENCE
"""Seconds that a stop may take beyond its drain."""

LOOKING_EVERY = 1.0
"""Seconds between two looks at whether the spool is still there."""

_log = logging.getLogger("collectord.embedded")


class EmbeddedSettings(Settings):
    """The admin socket lies in the spool as ever, unless its path is too long: then beside the one for clients, whose is
    not."""

    @field_validator("spool")
    @classmethod
    def _admin_socket_fits(cls, value: Path) -> Path:
        return value

    @property
    def admin_socket(self) -> Path:
        usual = super().admin_socket
        if fits(usual):
            return usual
        return Path(self.listen[0].removeprefix("unix:")).with_name(ADMIN_SOCKET)


def settings_of(store: str, spool: str, socket: str) -> Settings:
    """Those of the environment for a daemon, but these three and `DEFAULTS`. Raises ConfigError."""
    said = {name.upper() for name in os.environ}
    defaults = {name: value for name, value in DEFAULTS.items() if f"COLLECTORD_{name.upper()}" not in said}
    return config.load(None, {**defaults, "store": store, "spool": spool, "listen": f"unix:{socket}"}, EmbeddedSettings)


class Embedded:
    """One daemon, from `start` to `stop`. Both block; from any thread but its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._daemon = Daemon(settings)
        self._loop = asyncio.SelectorEventLoop()
        self._stop: asyncio.Future[float | None] = self._loop.create_future()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="collectord-embedded", daemon=True)
        self._idle = False

    def start(self) -> None:
        """Clients are let in when this returns.

        Raises:
            SpoolInUse: another daemon has the spool.
            CollectordError: it cannot start.
        """
        try:
            self._daemon.open()
        except BaseException:
            self._loop.close()
            self._daemon.release_locks()
            raise
        try:
            self._thread.start()
            self._ready.result()
        except BaseException:
            self._daemon.close()
            self._daemon.release_locks()
            raise

    @property
    def running(self) -> bool:
        """Whether clients are let in."""
        return self._thread.is_alive()

    def stop(self, land: bool) -> bool:
        """`land`: for at most the drain deadline, what has not landed yet does. The rest stays in the spool.

        Returns whether the spool is free for others; if not, an append is under way that does not end, and it is theirs
        when this process ends.
        """
        drain = self._settings.drain_deadline if land else None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end, drain)
            self._thread.join((drain or 0.0) + MARGIN)
        elif not self._idle:
            self._idle = self._daemon.close()
        return self._idle

    def forget(self) -> None:
        """In a child of a fork: what is the parent's is let go, as far as it can be."""
        self._daemon.release_locks()

    def _end(self, drain: float | None) -> None:
        if not self._stop.done():
            self._stop.set_result(drain)

    def _look(self) -> None:
        """Ends where somebody has deleted the spool, as people do with the directory of their last try while the notebook is
        open: what comes from then on is not acknowledged, and the clients' next attempt to connect begins another one."""
        try:
            (self._settings.spool / LOCK_FILE).stat()
            deleted = False
        except OSError as error:
            # Of a share that does not answer nobody knows.
            deleted = isinstance(error, FileNotFoundError)
        if not deleted:
            self._loop.call_later(LOOKING_EVERY, self._look)
            return
        event(
            _log,
            logging.ERROR,
            "the spool was deleted, and what had not landed with it",
            spool=str(self._settings.spool),
        )
        self._end(None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._look)
        try:
            self._idle = self._loop.run_until_complete(
                self._daemon.run(self._stop, lambda: self._ready.set_result(None))
            )
        except BaseException as error:  # noqa: BLE001  (its thread has nobody above it)
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                _log.exception("the embedded collector failed")
        finally:
            self._loop.close()


def start(store: str, spool: str, socket: str) -> Embedded | None:
    """A daemon that uploads to the directory `store`. None: another process has the spool.

    Raises:
        CollectordError: it cannot start; the message says why.
    """
    _be_silent()
    for name in unknown_environment():
        event(_log, logging.WARNING, "an environment variable looks like a setting and is none", name=name)
    made = Embedded(settings_of(store, spool, socket))
    try:
        made.start()
    except SpoolInUse:
        return None
    return made


def _be_silent() -> None:
    """Without any handler Python would write warnings to stderr."""
    logger = logging.getLogger("collectord")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())


def main(store: str, spool: str, socket: str) -> None:
    """The same in a process of its own, for a host that ends and can start no thread any more: until stdin ends."""
    made = start(store, spool, socket)
    if made is not None:
        sys.stdin.read()
        made.stop(True)


if __name__ == "__main__":
    main(*sys.argv[1:])
