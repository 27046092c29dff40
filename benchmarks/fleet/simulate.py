"""Nodes that append to one blob: lost races, requests, waiting, blocks and money. `python -m benchmarks.fleet`.

A discrete-event simulation. Each node follows the recipe of `collectord/upload/appender.py`: append at the position it
believes in; refused, ask for the length, look at what stands there and at the header, write the new position down,
try again; after `MAX_STEPS` go away for a while. Positions are counted in appends, not in bytes. The pauses are those of
the daemon (`backoff.after_unknown`, `seal.age_limit`), the times of requests are drawn: a median with a tail. A blob takes one
append at a time.

What it leaves out: a store that slows down, nodes that restart, parts that are full (a new one costs each node a few
requests). Those are in the tests with a real emulator.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Generator
from dataclasses import dataclass

from collectord.buffer.seal import SealRules, age_limit
from collectord.model import Partition
from collectord.upload.appender import MAX_STEPS
from collectord.upload.backoff import after_unknown
from collectord.upload.rollover import MAX_APPENDS

DAY, MONTH = 86_400.0, 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class World:
    """What is assumed of the store and of the daemons. Times in seconds."""

    append_seconds: float = 0.012
    read_seconds: float = 0.005
    tail: float = 0.5
    """Sigma of the logarithm of a request's time."""
    ledger_seconds: float = 0.002
    flush_interval: float = 60.0
    writes_per_dollar: float = 10_000 / 0.05
    """Price list of Azure, hot tier, locally redundant, East US; set yours."""
    reads_per_dollar: float = 10_000 / 0.004


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured of one blob in the steady state."""

    nodes: int
    appends_per_second: float
    races_per_append: float
    writes_per_append: float
    reads_per_append: float
    median_seconds: float
    """From sealing to landed."""
    p99_seconds: float
    backlogged: float
    """Share of the frames that were due and have not landed at the end."""
    blocks_per_day: float
    parts_per_day: int
    dollars_per_month: float


@dataclass(slots=True)
class _Tally:
    landed: int = 0
    races: int = 0
    writes: int = 0
    reads: int = 0
    due: int = 0


def simulate(nodes: int, world: World, seconds: float = 600.0, seed: int = 1) -> Outcome:
    """One blob, shared by so many nodes, each with a frame per flush interval. The first two intervals are not counted."""
    chance = random.Random(seed)
    length = [0]
    waits: list[float] = []
    tally = _Tally()
    warm = 2 * world.flush_interval
    order = itertools.count()
    events: list[tuple[float, int, Generator[float, float, None]]] = []

    def request(median: float) -> float:
        return median * math.exp(chance.gauss(0.0, world.tail))

    def node() -> Generator[float, float, None]:
        """Yields how long it is busy or waits, gets the time."""
        known = 0
        rules = SealRules(1 << 20, 64 << 20, world.flush_interval, chance.randbytes(16))
        interval = age_limit(rules, Partition(bytes(16), 0, 1440))
        now = yield chance.uniform(0.0, interval)
        while True:
            sealed = now
            counts = sealed >= warm
            tally.due += counts
            failures = 0
            while True:
                for _ in range(MAX_STEPS):
                    trip = request(world.append_seconds)
                    now = yield trip / 2
                    won = length[0] == known
                    if won:
                        length[0] += 1
                    now = yield trip / 2
                    tally.writes += counts
                    if won:
                        break
                    tally.races += counts
                    # The length, what stands at our place, and the header of the blob.
                    trip = request(world.read_seconds)
                    now = yield trip / 2
                    found = length[0]
                    now = yield trip / 2 + request(world.read_seconds) + request(world.read_seconds)
                    tally.reads += 3 * counts
                    now = yield world.ledger_seconds
                    known = found
                else:
                    failures += 1
                    now = yield after_unknown(failures, None, chance.random())
                    continue
                break
            known += 1
            if counts:
                tally.landed += 1
                waits.append(now - sealed)
            now = yield max(0.0, interval - (now - sealed))

    for _ in range(nodes):
        one = node()
        heapq.heappush(events, (next(one), next(order), one))
    while events and events[0][0] < warm + seconds:
        at, _, one = heapq.heappop(events)
        heapq.heappush(events, (at + one.send(at), next(order), one))
    waits.sort()
    landed = max(1, tally.landed)
    rate = tally.landed / seconds
    writes, reads = tally.writes / landed, tally.reads / landed
    return Outcome(
        nodes, rate, tally.races / landed, writes, reads,
        waits[len(waits) // 2] if waits else math.inf, waits[int(0.99 * len(waits))] if waits else math.inf,
        1.0 - tally.landed / max(1, tally.due), rate * DAY, math.ceil(rate * DAY / MAX_APPENDS),
        rate * MONTH * (writes / world.writes_per_dollar + reads / world.reads_per_dollar),
    )  # fmt: skip
