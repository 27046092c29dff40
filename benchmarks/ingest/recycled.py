"""A daemon that only takes in, into files of the log that are used again, as they are wherever the store keeps up.

Else the figure is mostly that of the system's memory: the pages of a fresh file have to be found first, which takes longer than
to copy the rows. So the rows of a round land, unmeasured, before the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.daemon import Running, daemon

ROUND_BYTES = 96 << 20
"""Of payload; the log keeps two files of 64 MiB to be used again, and has one in use."""
OPTIONS = ("--flush-interval", "86400", "--memory-budget", "4GiB", "--drain-deadline", "0", "--log-level", "error")


class Taking:
    """The daemon, its store in the way or not."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._store = running.folder / "store"
        self._away = running.folder / "away"

    def refuse(self) -> None:
        """From now on the store takes nothing: what comes stays in the log."""
        self._store.rename(self._away)
        self._store.touch()

    def land(self) -> None:
        """Everything lands and the log's files are free again."""
        if not self._store.is_dir():
            self._store.unlink()
            self._away.rename(self._store)
        with self.running.control() as control:
            assert control.flush(300).complete


@contextmanager
def taking(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Taking]:
    with daemon(*OPTIONS, *options, environment=environment) as running:
        yield Taking(running)
