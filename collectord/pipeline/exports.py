"""All exporters of a daemon. There may be none, and then nothing of them is loaded, and nothing runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from collectord.clock import Clock
from collectord.logs import event
from collectord.metrics import Metrics
from collectord.model import Lsn
from collectord.pipeline.event_reader import EventReader
from collectord.pipeline.exporting import Exporting, Surroundings
from collectord.pipeline.known import Known
from collectord.pipeline.lag import Limits
from collectord.telemetry.exporter import Exporter
from collectord.upload.exported import Exported
from collectord.upload.store import BlobStore
from collectord.wal.writer import LogWriter

POLL_SECONDS = 0.02

_log = logging.getLogger("collectord.export")


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where events go, beside the blobs."""

    exporters: Sequence[Exporter]
    store: BlobStore
    """Takes what is too large for an item."""
    limits: Limits


class Exports:
    """They do not know each other; what concerns all of them is here."""

    def __init__(
        self,
        destinations: Destinations | None,
        *,
        log: LogWriter,
        known: Known,
        exported: Exported,
        metrics: Metrics,
        clock: Clock,
        begin: Lsn,
    ) -> None:
        """`begin`: where exporters begin that have never been here."""
        self._log = log
        self._clock = clock
        exporters = destinations.exporters if destinations is not None else ()
        for name, state in exported.keep_only([exporter.name for exporter in exporters]).items():
            # A secret that one start did not find is enough for this; without a word the gap would be found by nobody.
            waiting = len(state.left) + EventReader(log.catalog, known, state.cursor).skip(log.durable)
            event(
                _log, logging.WARNING if waiting else logging.INFO,
                "an exporter is not configured any more and forgotten; what waited for it is given up", exporter=name,
                events=waiting,
            )  # fmt: skip
        self._all: tuple[Exporting, ...] = ()
        if destinations is not None:
            around = Surroundings(log, known, exported, destinations.store, metrics, clock, destinations.limits)
            self._all = tuple(Exporting(exporter, around, begin) for exporter in exporters)
        for one in self._all:
            metrics.gauge("collectord_export_lag_bytes", one.lag_bytes, exporter=one.name)
            metrics.gauge("collectord_export_lag_seconds", one.lag_seconds, exporter=one.name)
            metrics.gauge("collectord_export_blocked", _blocked(one), exporter=one.name)

    def start(self) -> None:
        """Starts their threads."""
        for one in self._all:
            one.start()

    def wake(self) -> None:
        """Something was committed. From the log's thread."""
        for one in self._all:
            one.wake()

    def expire(self) -> None:
        """Gives up what is too far behind; done every second or so, by the pipeline's thread. Raises what the ledger raises."""
        for one in self._all:
            one.expire()

    def needed_from(self) -> Lsn | None:
        """The first entry of the log that an exporter needs; None: there are no exporters. Without any lock."""
        return min((one.needed_from for one in self._all), default=None)

    def drain(self, timeout: float) -> bool:
        """Waits until they have settled what is durable now, or cannot go on. Returns whether they have."""
        target, deadline = self._log.durable, self._clock.monotonic() + timeout
        while not all(one.is_done(target) for one in self._all) and self._clock.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return all(one.needed_from >= target for one in self._all)

    @property
    def trouble(self) -> str:
        """Which exporters cannot go on now, and why; empty: all can."""
        return "; ".join(f"{one.name}: {one.delivery.trouble}" for one in self._all if one.delivery.trouble)

    @property
    def left(self) -> str:
        """Which exporters have events to deliver, and why they have not."""
        durable = self._log.durable
        waiting = [one for one in self._all if one.needed_from < durable]
        return "; ".join(f"{one.name}: {one.delivery.trouble or 'under way'}" for one in waiting)

    def stop(self, patience: float) -> bool:
        """Returns whether nothing of them runs any more; if not, a request is under way."""
        deadline = self._clock.monotonic() + patience
        for one in self._all:
            one.ask_to_stop()
        ended = [one.stop(max(0.0, deadline - self._clock.monotonic())) for one in self._all]
        return all(ended)

    def status(self) -> list[dict[str, Any]]:
        """As JSON values."""
        return [one.status() for one in self._all]


def _blocked(one: Exporting) -> Callable[[], float]:
    return lambda: float(one.delivery.barred)
