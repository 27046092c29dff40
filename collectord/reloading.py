"""Settings that change while a daemon runs: the file is looked at, and what may change at once does.

A ConfigMap that is mounted as a directory changes by a symbolic link that is swapped: the file is looked up by its name each time,
and compared by its content. A file that is wrong changes nothing; the settings that there were stay, and it is said why. What
cannot change in a running daemon is listed until the next start. The environment and the command line of a process never
change, and still win over the file.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from collectord.errors import CollectordError
from collectord.logs import event
from collectord.settings import AT_ONCE, Settings

LOOK_SECONDS = 5.0

_log = logging.getLogger("collectord.settings")


class Reloading:
    """Watches one file. `problem` and `pending` may be read from any thread."""

    def __init__(
        self,
        file: Path,
        load: Callable[[], Settings],
        settings: Settings,
        take: Callable[[Settings], None],
        interval: float = LOOK_SECONDS,
    ) -> None:
        """`load`: all sources, as at the start; raises ConfigError. `settings`: what came of them then. `take` is given settings
        that differ from those before in nothing but what may change at once."""
        self._file = file
        self._load = load
        self._take = take
        self._interval = interval
        self._begun = self._settings = settings
        self._seen = _content(file)
        self._wake = threading.Event()
        self._asked = False
        """Whether somebody wants the file to be read though it may not have changed."""
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="collectord-settings", daemon=True)
        self.problem = ""
        """Why the file as it is does not count; empty: it does."""
        self.pending: tuple[str, ...] = ()
        """Settings that the file changes and that wait for a restart."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def nudge(self) -> None:
        """Looks now, as SIGHUP asks; from any thread, and from a signal's handler."""
        self._asked = True
        self._wake.set()

    def look(self) -> None:
        """Reads the file if it has changed, or somebody asks for it."""
        asked, self._asked = self._asked, False
        content = _content(self._file)
        if content == self._seen and not asked:
            return
        self._seen = content
        try:
            found = self._load()
        except CollectordError as error:
            self.problem = str(error)
            event(_log, logging.ERROR, "the settings are wrong; those before stay", why=self.problem)
            return
        self.problem = ""
        at_once = {
            name: getattr(found, name) for name in AT_ONCE if getattr(found, name) != getattr(self._settings, name)
        }
        self.pending = tuple(
            name
            for name in Settings.model_fields
            if name not in AT_ONCE and getattr(found, name) != getattr(self._begun, name)
        )
        if at_once:
            self._settings = self._settings.model_copy(update=at_once)
            self._take(self._settings)
        event(
            _log, logging.WARNING if self.pending else logging.INFO, "settings were read again",
            changed=sorted(at_once), wait_for_a_restart=list(self.pending),
        )  # fmt: skip

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._ended:
                return
            try:
                self.look()
            except Exception:  # noqa: BLE001
                # A fault of ours must not end the thread: no later change would be seen.
                _log.exception("the settings could not be read again")


def _content(file: Path) -> bytes | None:
    """None where it cannot be read, which reading it as settings will explain."""
    try:
        return file.read_bytes()
    except OSError:
        return None
