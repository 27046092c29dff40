"""The last hour of a daemon, looked at every few seconds: what the sparklines of the status page and all rates are made of.

Thread: one that looks, since some of what it looks at waits for a lock of the pipeline; questions come from any.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from collectord.metrics import SECONDS, Metrics
from collectord.pipeline.overview import Waiting
from collectord.quantile import quantile

INTERVAL = 5.0
KEPT = 720
POINTS = 120
RATE_SECONDS = 15.0
LATENCY_SECONDS = 300.0

_log = logging.getLogger("collectord.history")


class Sample(NamedTuple):
    """How things stand at one moment. What only grows is since the start."""

    at: float
    """Monotonic seconds."""
    received: float
    landed: float
    bytes: float
    rejected: float
    dropped: float
    waiting: int
    oldest: float
    sync: tuple[float, ...]
    append: tuple[float, ...]
    """Of the two: how many took how long, by `metrics.SECONDS`."""


class History:
    """A ring of samples, taken by `look`."""

    def __init__(self, look: Callable[[], Sample], also: Callable[[], object] = lambda: None) -> None:
        """`also`: called at each look."""
        self._look = look
        self._also = also
        self._samples: deque[Sample] = deque(maxlen=KEPT + 1)
        self._lock = threading.Lock()
        """Guards the samples."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collectord-history", daemon=True)

    def start(self) -> None:
        """Looks now, and from now on."""
        self.sample()
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends the thread. May be repeated."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def sample(self) -> None:
        """Looks once."""
        self._also()
        sample = self._look()
        with self._lock:
            self._samples.append(sample)

    def rates(self) -> dict[str, float]:
        """Per second, over the last few seconds."""
        now = self._look()
        since = self._since(now.at - RATE_SECONDS) or now
        seconds = max(now.at - since.at, 1e-9)
        return {
            "seconds": round(now.at - since.at, 1),
            "received_rows": round((now.received - since.received) / seconds, 1),
            "landed_rows": round((now.landed - since.landed) / seconds, 1),
            "landed_bytes": round((now.bytes - since.bytes) / seconds, 1),
        }

    def latency(self) -> dict[str, dict[str, float | None]]:
        """How long syncs of the log and appends took within the last minutes, in seconds."""
        now = self._look()
        since = self._since(now.at - LATENCY_SECONDS)
        return {
            "sync": _spread(now.sync, None if since is None else since.sync),
            "append": _spread(now.append, None if since is None else since.append),
        }

    def series(self) -> dict[str, Any]:
        """At most `POINTS` points, evenly spread, the newest last: what flowed per second until each of them, and what waited
        then."""
        with self._lock:
            samples = list(self._samples)
        step = max(1, -(-(len(samples) - 1) // POINTS))
        points = samples[::-1][::step][::-1]
        pairs = list(pairwise(points))

        def per_second(read: Callable[[Sample], float]) -> list[float]:
            return [round((read(b) - read(a)) / max(b.at - a.at, 1e-9), 1) for a, b in pairs]

        def p99(read: Callable[[Sample], tuple[float, ...]]) -> list[float | None]:
            return [_spread(read(b), read(a))["p99"] for a, b in pairs]

        return {
            "seconds": round(points[-1].at - points[0].at, 1) if points else 0.0,
            "received_rows": per_second(lambda one: one.received),
            "landed_rows": per_second(lambda one: one.landed),
            "landed_bytes": per_second(lambda one: one.bytes),
            "rejected_rows": per_second(lambda one: one.rejected),
            "dropped_rows": per_second(lambda one: one.dropped),
            "waiting_rows": [b.waiting for _, b in pairs],
            "oldest_seconds": [round(b.oldest, 2) for _, b in pairs],
            "sync_p99": p99(lambda one: one.sync),
            "append_p99": p99(lambda one: one.append),
        }

    def _since(self, at: float) -> Sample | None:
        """The newest sample of that moment or before, or the oldest there is."""
        with self._lock:
            for sample in reversed(self._samples):
                if sample.at <= at:
                    return sample
            return self._samples[0] if self._samples else None

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                self.sample()
            except Exception:  # noqa: BLE001
                # A gap in a curve; the daemon's own work does not depend on it.
                _log.exception("the daemon could not look at itself")


def _spread(now: tuple[float, ...], before: tuple[float, ...] | None) -> dict[str, float | None]:
    counts = now if before is None else tuple(b - a for a, b in zip(before, now, strict=True))
    bounds = (*SECONDS, float("inf"))
    return {"count": sum(counts), "p50": quantile(bounds, counts, 0.5), "p99": quantile(bounds, counts, 0.99)}


def sample_of(metrics: Metrics, waiting: Waiting, now: float) -> Sample:
    """How a daemon stands at a (monotonic) moment."""
    return Sample(
        now,
        metrics.total("collectord_records_received_total"),
        metrics.total("collectord_records_landed_total"),
        metrics.total("collectord_bytes_landed_total"),
        metrics.total("collectord_records_rejected_total"),
        metrics.total("collectord_client_dropped_total"),
        waiting.rows,
        waiting.oldest_seconds,
        metrics.buckets("collectord_sync_duration_seconds"),
        metrics.buckets("collectord_upload_duration_seconds"),
    )
