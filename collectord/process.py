"""A daemon as a process of its own: `collectord serve`. Malloc, the interpreter, signals, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from collectord import coherence
from collectord.config import unknown_environment
from collectord.daemon import Daemon
from collectord.errors import CallHuman, SpoolInUse
from collectord.logs import catch_strays, catch_strays_of, event
from collectord.malloc import keep_within, tune_malloc
from collectord.notes import note_failed_start
from collectord.reloading import Reloading
from collectord.settings import Settings

_log = logging.getLogger("collectord.daemon")


def serve(settings: Settings, file: Path | None, load: Callable[[], Settings]) -> None:
    """Runs a daemon until a signal ends it. `settings` came of `load`; it is asked again when `file` changes, or on SIGHUP.

    Raises:
        CallHuman: it cannot start.
    """
    tune_malloc()
    catch_strays()
    # Pure-Python work must not hold the GIL for 5 ms while batches wait.
    sys.setswitchinterval(0.0005)
    # While the log is replayed nothing can be lost, so a signal ends it; as PID 1 nobody else would see to that.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    # The file has just been read, and is looked at again every few seconds.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getpid() == 1:
        # What is left behind in the container, by an `exec` above all, becomes our child: the kernel clears it away.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        daemon = Daemon(settings)
    except CallHuman as error:
        event(_log, logging.ERROR, "the start failed", why=str(error))
        note_failed_start(settings.spool.resolve(), str(error), settings.node)
        raise
    if file is not None:
        daemon.reloading = Reloading(file, load, settings, daemon.tune)
    try:
        daemon.open()
    except SpoolInUse as error:
        event(_log, logging.ERROR, "the start failed", why=str(error))
        raise
    finally:
        # Now it is also kept for whoever asks for the log of a service.
        for name in unknown_environment():
            event(_log, logging.WARNING, "an environment variable looks like a setting and is none", name=name)
        for doubt in coherence.doubts(settings):
            event(_log, logging.WARNING, "a setting is hardly meant so", why=doubt)
    # What is there now stays: without it a full collection holds everybody up for 1 ms, not for 15.
    gc.collect()
    gc.freeze()
    keep_within(lambda: daemon.settings.memory_budget)
    asyncio.run(_run_until_signal(daemon))


async def _run_until_signal(daemon: Daemon) -> None:
    loop = asyncio.get_running_loop()
    catch_strays_of(loop)
    stop: asyncio.Future[float | None] = loop.create_future()

    def on_signal() -> None:
        if stop.done():
            event(_log, logging.WARNING, "second signal: stopping at once, the rest stays in the log")
            logging.shutdown()
            os._exit(1)
        stop.set_result(daemon.settings.drain_deadline)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, _read_again, daemon)
    if not await daemon.run(stop):
        # A request to a store that does not answer holds its thread, and the interpreter would wait for what else runs.
        # What it does or does not do is settled by the next start, as after a crash.
        event(_log, logging.WARNING, "an upload was under way; the next start settles it")
        logging.shutdown()
        os._exit(0)


def _read_again(daemon: Daemon) -> None:
    if daemon.reloading is None:
        event(_log, logging.INFO, "there is no file of settings to be read again")
    else:
        daemon.reloading.nudge()
