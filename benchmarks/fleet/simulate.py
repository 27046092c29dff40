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
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from collectord.buffer.seal import SealRules, age_limit
from collectord.model import Partition
from collectord.upload.appender import MAX_STEPS
from collectord.upload.backoff import after_unknown
from collectord.upload.rollover import MAX_APPENDS

DAY, MONTH = 86_400.0, 30 * 86_400.0

T = TypeVar("T")
Life: TypeAlias = Generator[float, float, T]
"""Yields how long it is busy or waits, gets the time."""


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

    @property
    def warm_up(self) -> float:
        """What is sealed in that time is not counted."""
        return 2 * self.flush_interval


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
    """Of frames, from sealing on."""

    due: int = 0
    races: int = 0
    writes: int = 0
    reads: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds from sealing to landed, of each frame that has."""


@dataclass(slots=True)
class _Blob:
    """What all nodes share."""

    length: int = 0


class _Node:
    """One daemon with a frame per interval."""

    def __init__(self, world: World, chance: random.Random, blob: _Blob, tally: _Tally) -> None:
        self._world = world
        self._chance = chance
        self._blob = blob
        self._tally = tally
        self._known = 0
        """The position it believes in."""

    def live(self) -> Life[None]:
        rules = SealRules(1 << 20, 64 << 20, self._world.flush_interval, self._chance.randbytes(16))
        interval = age_limit(rules, Partition(bytes(16), 0, 1440))
        sealed = yield self._chance.uniform(0.0, interval)
        while True:
            # A frame of the warm-up goes into a tally that nobody reads.
            tally = self._tally if sealed >= self._world.warm_up else _Tally()
            tally.due += 1
            landed = yield from self._land(tally)
            tally.waits.append(landed - sealed)
            sealed = yield max(0.0, interval - (landed - sealed))

    def _land(self, tally: _Tally) -> Life[float]:
        """Attempts, until the frame is in the blob; returns when."""
        failures = 0
        while True:
            landed = yield from self._attempt(tally)
            if landed is not None:
                return landed
            failures += 1
            yield after_unknown(failures, None, self._chance.random())

    def _attempt(self, tally: _Tally) -> Life[float | None]:
        """Returns when the frame landed, or None if others were faster each time."""
        for _ in range(MAX_STEPS):
            trip = self._request(self._world.append_seconds)
            yield trip / 2
            won = self._blob.length == self._known
            self._blob.length += won
            now = yield trip / 2
            tally.writes += 1
            if won:
                self._known += 1
                return now
            tally.races += 1
            yield from self._look(tally)
        return None

    def _look(self, tally: _Tally) -> Life[None]:
        """The length, what stands at our place, and the header of the blob; then the position is written down."""
        trip = self._request(self._world.read_seconds)
        yield trip / 2
        found = self._blob.length
        yield trip / 2 + self._request(self._world.read_seconds) + self._request(self._world.read_seconds)
        tally.reads += 3
        yield self._world.ledger_seconds
        self._known = found

    def _request(self, median: float) -> float:
        return median * math.exp(self._chance.gauss(0.0, self._world.tail))


def simulate(nodes: int, world: World, seconds: float = 600.0, seed: int = 1) -> Outcome:
    """One blob, shared by so many nodes, each with a frame per flush interval, for so long behind the warm-up."""
    chance = random.Random(seed)
    blob, tally = _Blob(), _Tally()
    _run([_Node(world, chance, blob, tally).live() for _ in range(nodes)], world.warm_up + seconds)
    return _outcome(nodes, world, seconds, tally)


def _run(lives: Iterable[Life[None]], until: float) -> None:
    """Whoever is due first goes on first; of two at the same moment the one that has waited longer."""
    order = itertools.count()
    events = [(next(one), next(order), one) for one in lives]
    heapq.heapify(events)
    while events[0][0] < until:
        at, _, one = events[0]
        heapq.heapreplace(events, (at + one.send(at), next(order), one))


def _outcome(nodes: int, world: World, seconds: float, tally: _Tally) -> Outcome:
    waits = sorted(tally.waits)
    landed = max(1, len(waits))
    rate = len(waits) / seconds
    writes, reads = tally.writes / landed, tally.reads / landed
    return Outcome(
        nodes, rate, tally.races / landed, writes, reads,
        waits[len(waits) // 2] if waits else math.inf, waits[int(0.99 * len(waits))] if waits else math.inf,
        1.0 - len(waits) / max(1, tally.due), rate * DAY, math.ceil(rate * DAY / MAX_APPENDS),
        rate * MONTH * (writes / world.writes_per_dollar + reads / world.reads_per_dollar),
    )  # fmt: skip
