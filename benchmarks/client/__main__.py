"""`python -m benchmarks.client`: the tables of docs/client.md and docs/telemetry.md, for this machine. `core`, `features`, `events` or
`sending` prints one."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import sys
from collections.abc import Iterator

import collectord_client
import numpy as np

from benchmarks.client.events import event_rounds
from benchmarks.client.features import SHAPES, feature_rounds
from benchmarks.client.measure import (
    IDLE_TARGET,
    RECORD_TARGETS,
    TARGETS,
    collect_rounds,
    figures,
    scoring,
)  # fmt: skip

ROUNDS = 25
FEATURE_ROUNDS = 5
LOADS = 7


def verdict(found: float, most: float) -> str:
    return f"{'met' if found <= most else 'missed'}: at most {most:g}"


def short(found: float) -> str:
    return f"{found:.2f}" if found < 10 else f"{found:.0f}"


def core_table(rounds: int = ROUNDS) -> Iterator[str]:
    """What `collect()` costs the caller, by both cores."""
    found = {key: figures(all) for key, all in collect_rounds(rounds).items()}
    yield "| | compiled | 95 % | µs | p99 / p50 (overall) | Python | µs | target |"
    yield "|---|---|---|---|---|---|---|---|"
    for case, targets in TARGETS.items():
        one, other = found[case, "compiled"], found[case, "pure"]
        low, high = one["interval"]
        told = [f"{what} {verdict(found[case, core][what], most)}" for core, what, most in targets]
        yield (
            f"| {case} | {short(one['ratio'])} | {short(low)} to {short(high)} | {one['ns'] / 1000:.3f} "
            f"| {one['spread']:.1f} ({one['overall']:.1f}) | {short(other['ratio'])} | {other['ns'] / 1000:.2f} | {', '.join(told)} |"
        )
    floor = statistics.median(found[case, "compiled"]["floor"] for case in ("labels", "inputs"))
    yield f"\nOne is `deque.append(a.tobytes())`, {floor:.0f} ns."


def features_table(rounds: int = FEATURE_ROUNDS) -> Iterator[str]:
    """What the features cost the caller."""
    yield "| µs per call | " + " | ".join(f"{rows} × 10" for rows in SHAPES) + " |"
    yield "|---|" + "---|" * len(SHAPES)
    for name, by in feature_rounds(rounds).items():
        yield (f"| {name} | " + " | ".join(short(by[rows]) for rows in SHAPES) + " |")


def events_table(rounds: int = FEATURE_ROUNDS) -> Iterator[str]:
    """What telling an event costs the caller, and its row the thread that makes it."""
    yield "| µs per call | without | off | on | its row |"
    yield "|---|---|---|---|---|"
    for name, by in event_rounds(rounds).items():
        yield (
            f"| {name} | "
            + " | ".join(short(by[one]) if one in by else "" for one in ("without", "off", "on", "row"))
            + " |"
        )


def sending_table(loads: int = LOADS) -> Iterator[str]:
    """What the client costs its process in all, collecting and sending."""
    yield "| linger | records per second | CPU per record, µs | lowest to highest | target |"
    yield "|---|---|---|---|---|"
    for linger in (1.0, 0.1):
        with scoring(linger) as running:
            for rate, most in RECORD_TARGETS.items():
                all = [running.record_us(rate) for _ in range(loads)]
                middle = statistics.median(all)
                told = verdict(middle, most) if linger == 1.0 else ""
                yield f"| {linger:g} s | {rate:,} | {middle:.2f} | {min(all):.2f} to {max(all):.2f} | {told} |"
            if linger == 1.0:
                idle = statistics.median(running.idle_ms() for _ in range(3))
                pairs = [
                    (running.request_us(False), running.request_us(True), running.request_us(False))
                    for _ in range(loads)
                ]
    yield f"\nIdle and connected: {idle:.2f} ms of CPU per second ({verdict(idle, IDLE_TARGET)})."
    before, between, after = (statistics.median(three[at]["p99"] for three in pairs) for at in range(3))
    yield (
        f"A request of a record, 10,000 of them per second, p99: {between:.1f} µs with collecting; {before:.1f} and {after:.1f} "
        "without, before and after it."
    )


TABLES = {"core": core_table, "features": features_table, "events": events_table, "sending": sending_table}


def main(wanted: list[str]) -> None:
    print(
        f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
        f"numpy {np.__version__}, client {collectord_client.__version__}"
    )
    for name in wanted or TABLES:
        print(f"\n{TABLES[name].__doc__}\n")
        for line in TABLES[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
