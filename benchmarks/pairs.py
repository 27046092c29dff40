"""Interleaved runs of ours and a peer's, and how sure a figure of them is.

A machine that does other things too slows down everybody who runs at that moment. So contestants take turns, each round
begins with another one, and a ratio is taken within each round, from two runs that stood next to each other.

A figure is the median of its samples. Its interval is that of the sign test: the k-th smallest and the k-th largest sample,
with the largest k for which the true median lies outside with a probability of at most 5 %. It assumes nothing of how times
are distributed but that rounds are independent, and one disturbed round moves it by one sample. With 15 rounds it reaches from
the 4th to the 12th (96.5 %); below 6 there is none.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PAIRS = 15
"""Rounds of a comparison."""
FEWEST = 6
"""Samples that an interval takes."""
OUTSIDE = 0.05
"""How probable it may be that the true median lies outside."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A median and where the true one lies."""

    middle: float
    low: float
    high: float
    count: int


def interval(samples: Sequence[float]) -> Interval:
    """Raises ValueError below `FEWEST` samples."""
    count = len(samples)
    if count < FEWEST:
        raise ValueError(f"{count} samples, at least {FEWEST} are needed for an interval")
    outer = below = 0
    # The chance that fewer than `outer` of the samples lie below the true median: half of what may lie outside.
    while 2 * (below + math.comb(count, outer)) <= OUTSIDE * 2**count:
        below += math.comb(count, outer)
        outer += 1
    ordered = sorted(samples)
    return Interval(statistics.median(ordered), ordered[outer - 1], ordered[count - outer], count)


def ratio(over: Sequence[float], under: Sequence[float]) -> Interval:
    """Of two contestants' samples, round by round."""
    return interval([a / b for a, b in zip(over, under, strict=True)])


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int = PAIRS,
    *,
    least: float = 0.02,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of `clock` per call, by contestant, one sample a round. A sample is of as many calls as take about `least` seconds.

    `process_time` counts all threads of this process, a peer's pool too: nothing else may be busy in it. The caller has
    checked what the contestants put out.
    """
    if not contestants:
        raise ValueError("nobody to measure")
    calls = {name: _calls(call, least, clock) for name, call in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            call = contestants[name]
            began = clock()
            for _ in range(calls[name]):
                call()
            times[name].append((clock() - began) / calls[name])
    return times


def _calls(call: Callable[[], object], least: float, clock: Callable[[], float]) -> int:
    """How many of them take `least` seconds; what is made on first use is made then."""
    call()
    began = clock()
    call()
    return max(1, math.ceil(least / max(clock() - began, 1e-9)))
