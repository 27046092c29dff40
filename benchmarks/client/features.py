"""What the features of the client cost a call, CPU time of the calling thread. Pages that are full are thrown away between
groups of calls: nothing is sent."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from collectord_client import Client
from collectord_client.client import NOT_CONNECTED
from collectord_client.outbox import Outbox
from collectord_client.page import Page

GROUPS = 25
NAMES = [f"c{n}" for n in range(10)]
SHAPES = (1, 1000)
"""Rows of an array with ten columns."""


class Bin:
    """A sender that throws pages away."""

    def __init__(self) -> None:
        self._pages: list[tuple[Outbox, Page]] = []

    def enqueue(self, outbox: Outbox, page: Page) -> None:
        self._pages.append((outbox, page))

    def empty(self) -> None:
        for outbox, page in self._pages:
            outbox.settle(page.rows, None, page)
            page.clear()
        self._pages.clear()

    def wake(self) -> None: ...

    def detach(self, outbox: Outbox) -> None: ...

    def count_dropped(self, stream: object, reason: str, rows: int) -> None: ...

    def stats(self) -> dict[str, Any]:
        return dict(NOT_CONNECTED)


def microseconds(make: Callable[[Client, Any], Callable[[], object]], rows: int, **options: Any) -> float:
    """What a call takes that `make` returns for a client with these options and an array of so many rows."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, outbox_bytes=256 << 20, **options)
    thrown = Bin()
    client._outbox.carrier = thrown
    data = np.random.default_rng(1).random((rows, len(NAMES)))
    call = make(client, data)
    count = 100 if rows == 1 else 10
    times = []
    for group in range(GROUPS + 3):
        thrown.empty()
        begun = time.thread_time_ns()
        for _ in range(count):
            call()
        if group >= 3:
            times.append((time.thread_time_ns() - begun) / count / 1000)
    stats = client.stats()
    assert not stats["dropped"] and stats["collected"] + stats["sampled_out"] > 0, stats
    return statistics.median(times)


def short(client: Client, data: Any) -> Callable[[], object]:
    collect = client.collector("labels", NAMES).collect
    return lambda: collect(data)


def general(client: Client, data: Any) -> Callable[[], object]:
    collect, now = client.collector("labels", NAMES).collect, time.time_ns()
    return lambda: collect(data, timestamp=now)


def an_id_per_row(client: Client, data: Any) -> Callable[[], object]:
    collect, ids = client.collector("labels", NAMES).collect, [f"loan-{n}" for n in range(len(data))]
    return lambda: collect(data, correlation_id=ids)


def failed(client: Client, data: Any) -> Callable[[], object]:
    context = client.collector("inputs", NAMES).collect(data)
    return lambda: client.failed("HTTP 503: overloaded", context)


FEATURES: dict[str, tuple[Callable[[Client, Any], Callable[[], object]], dict[str, Any]]] = {
    "the short way": (short, {}),
    "the general way": (general, {}),
    "an id per row": (an_id_per_row, {}),
    "sampling: a request that is left out": (short, {"sampling": 1e-9}),
    "sampling: a request that is taken": (short, {"sampling": 1 - 1e-9}),
    "sampling with an id per row, half of them taken": (an_id_per_row, {"sampling": 0.5}),
    "a latency budget": (short, {"max_us_per_call": 1e9}),
    "`drop` of a column": (short, {"columns": {"c0": "drop"}}),
    "`mask` of a column": (short, {"columns": {"c0": "mask"}}),
    "`hmac` of a column": (short, {"columns": {"c0": "hmac"}, "columns_key": bytes(32)}),
    "`failed()`": (failed, {}),
}


def feature_rounds(rounds: int) -> dict[str, dict[int, float]]:
    """Microseconds per call, by feature and rows: medians over rounds in which all take turns."""
    found: dict[str, dict[int, list[float]]] = {}
    for _ in range(rounds):
        for name, (make, options) in FEATURES.items():
            for rows in SHAPES:
                found.setdefault(name, {}).setdefault(rows, []).append(microseconds(make, rows, **options))
    return {name: {rows: statistics.median(all) for rows, all in by.items()} for name, by in found.items()}
