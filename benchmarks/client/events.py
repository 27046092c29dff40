"""What telling an event costs a call, CPU time of the calling thread, and what making its row costs the thread that does it."""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout

from collectord_client import Client, Request

from benchmarks.client.features import Bin

GROUPS = 25
CALLS = 400
TEXT = json.dumps({"input": "x" * 100, "output": [1.0, 2.0]})
LOGGER = logging.getLogger("benchmarks.events")
LOGGER.addHandler(logging.NullHandler())
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False

Call = Callable[[], object]


def printing(client: Client) -> Call:
    client.capture_prints()
    return plain_print(client)


def plain_print(_: Client) -> Call:
    return lambda: print(TEXT)


def recording(client: Client) -> Call:
    client.capture_logging()
    return plain_record(client)


def plain_record(_: Client) -> Call:
    return lambda: LOGGER.info("%d rows", 7)


def dependency(client: Client) -> Call:
    def call() -> None:
        with client.dependency("GET /features", target="store"):
            pass

    return call


def request(client: Client) -> Call:
    def call() -> None:
        with client.request("POST /score"):
            pass

    return call


def plain_request(_: Client) -> Call:
    def call() -> None:
        with Request("r"):
            pass

    return call


def exception(client: Client) -> Call:
    try:
        raise ValueError("odd")
    except ValueError as raised:
        error = raised
    return lambda: client.exception(error)


EVENTS: dict[str, tuple[Callable[[Client], Call], Callable[[Client], Call] | None]] = {
    "`trace`": (lambda client: lambda: client.trace("loaded"), None),
    "`trace` with three dimensions": (lambda client: lambda: client.trace("loaded", a=1, b="x", c=True), None),
    "`metric`": (lambda client: lambda: client.metric("rows", 1.5), None),
    "`print` of 130 characters of JSON": (printing, plain_print),
    "a record of logging": (recording, plain_record),
    "`with dependency`": (dependency, None),
    "`with request`": (request, plain_request),
    "`exception`": (exception, None),
}
"""What is called, and the same without us, where there is such a thing."""


def microseconds(make: Callable[[Client], Call], telemetry: bool) -> tuple[float, float]:
    """What a call takes that `make` returns, and what making its row takes."""
    client = Client("m", endpoint="unix:/nowhere/c.sock", linger=3600, outbox_bytes=256 << 20, telemetry=telemetry)
    thrown = Bin()
    client._outbox.carrier = thrown
    calls, rows = [], []
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        call = make(client)
        for group in range(GROUPS + 3):
            # No other thread makes the rows.
            client._feed._rung = True
            begun = time.thread_time_ns()
            for _ in range(CALLS):
                call()
            between = time.thread_time_ns()
            client._feed.write()
            if group >= 3:
                calls.append((between - begun) / CALLS / 1000)
                rows.append((time.thread_time_ns() - between) / CALLS / 1000)
            client._outbox.seal()
            thrown.empty()
    stats = client.stats()
    client.close(0)
    assert not stats["dropped"], stats
    assert stats["events"] in (0, (GROUPS + 3) * CALLS), stats
    return statistics.median(calls), statistics.median(rows)


def event_rounds(rounds: int) -> dict[str, dict[str, float]]:
    """By event: microseconds `without` us, `off`, `on`, and of a `row`; medians over rounds in which all take turns."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, (make, without) in EVENTS.items():
            told = found.setdefault(name, {"without": [], "off": [], "on": [], "row": []})
            if without is not None:
                told["without"].append(microseconds(without, False)[0])
            told["off"].append(microseconds(make, False)[0])
            on, row = microseconds(make, True)
            told["on"].append(on)
            told["row"].append(row)
    return {name: {what: statistics.median(all) for what, all in told.items() if all} for name, told in found.items()}
