"""Telemetry events by minute, as Application Insights' overview has them: requests, their times and failures, dependencies,
exceptions, traces. By the minute in which they became durable here; since the start, for an hour.

Threads: any; a lock of its own, held for a moment.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from collectord.buffer.event_totals import MILLISECONDS, EventTotals
from collectord.clock import Clock
from collectord.model import StreamKind
from collectord.quantile import quantile

MINUTES = 60
KINDS = (StreamKind.REQUEST, StreamKind.DEPENDENCY, StreamKind.EXCEPTION, StreamKind.TRACE)
TIMED = (StreamKind.REQUEST, StreamKind.DEPENDENCY)


@dataclass(slots=True)
class _Sum:
    count: float = 0.0
    failed: float = 0.0
    timed: float = 0.0
    milliseconds: float = 0.0
    buckets: list[float] = field(default_factory=lambda: [0.0] * (len(MILLISECONDS) + 1))

    def add(self, totals: EventTotals | _Sum) -> None:
        self.count += totals.count
        self.failed += totals.failed
        self.timed += totals.timed
        self.milliseconds += totals.milliseconds
        for place, number in enumerate(totals.buckets):
            self.buckets[place] += number


class EventMinutes:
    """A ring of minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._minutes: dict[int, dict[StreamKind, _Sum]] = {}
        """By minute of the monotonic clock."""
        self._began = clock.monotonic()

    def add(self, kind: StreamKind, totals: EventTotals) -> None:
        """A batch of events has become durable."""
        now = int(self._clock.monotonic() // 60)
        with self._lock:
            for gone in [minute for minute in self._minutes if minute <= now - MINUTES]:
                del self._minutes[gone]
            self._minutes.setdefault(now, {}).setdefault(kind, _Sum()).add(totals)

    def recent(self, minutes: int = 5) -> dict[str, Any] | None:
        """Per minute, over the last minutes, the present one with them; None if there were no events for an hour."""
        now = self._clock.monotonic()
        rows = self._rows(int(now // 60))
        if not any(rows):
            return None
        whole: dict[StreamKind, _Sum] = {}
        for row in rows[-minutes:]:
            for kind, one in row.items():
                whole.setdefault(kind, _Sum()).add(one)
        span = max(1.0, now - max(self._began, (now // 60 - minutes + 1) * 60)) / 60
        return {kind.name.lower(): _said(whole.get(kind, _Sum()), kind, span) for kind in KINDS}

    def series(self) -> dict[str, list[float | None]]:
        """A number for each of the last minutes that are over; null where there was nothing to measure, as in those that
        the daemon has not seen whole."""
        now = int(self._clock.monotonic() // 60)
        rows = self._rows(now)[:-1]
        before = max(0, len(rows) - (now - ceil(self._began / 60)))
        found: dict[str, list[float | None]] = {}
        for kind in KINDS:
            said = [_said(row.get(kind, _Sum()), kind, 1) for row in rows]
            for name in said[0]:
                unknown: list[float | None] = [None] * before
                found[f"{kind.name.lower()}.{name}"] = unknown + [one[name] for one in said[before:]]
        return found

    def _rows(self, now: int) -> list[dict[StreamKind, _Sum]]:
        """Of the minutes up to this one."""
        with self._lock:
            return [
                {kind: _copied(one) for kind, one in self._minutes.get(minute, {}).items()}
                for minute in range(now - MINUTES + 1, now + 1)
            ]


def _copied(one: _Sum) -> _Sum:
    copy = _Sum()
    copy.add(one)
    return copy


def _said(one: _Sum, kind: StreamKind, minutes: float) -> dict[str, float | None]:
    said: dict[str, float | None] = {"per_minute": round(one.count / minutes, 2)}
    if kind in TIMED:
        said["failed_percent"] = round(100 * one.failed / one.count, 2) if one.count else None
        said["average_ms"] = round(one.milliseconds / one.timed, 2) if one.timed else None
        said["p95_ms"] = quantile((*MILLISECONDS, float("inf")), one.buckets, 0.95)
    return said
