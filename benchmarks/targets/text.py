"""Target 1: CSV text, one thread, ours against its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.encode.peers import ENCODERS, LIKE_FOR_LIKE, NAIVE, ROWS
from benchmarks.pairs import interval, ratio, take_turns
from benchmarks.targets.figure import Figure, Measured, Series, at_least

BOUNDS: dict[str, dict[str, float]] = {
    "A": {"pyarrow": 10.0, "polars": 3.0},
    "B": {"pyarrow": 15.0, "polars": 4.0},
    "C": {"pyarrow": 4.5, "polars": 2.0},
    "D": {"pyarrow": 2.0, "polars": 1.7},
}
PLAIN_BOUNDS: dict[str, dict[str, float]] = {"A": {"pyarrow": 7.0, "polars": 2.3}}
"""Like for like: the constants as columns of text, as the peers get them."""
LEAST = 0.05
"""Seconds of CPU that a sample is of."""
OURS, PLAIN = "collectord", "collectord-plain"
Times = dict[str, list[float]]


def measure(pairs: int) -> Measured:
    """CPU of the whole process per call: polars works in a pool, of one thread here."""
    figures, times = [], {}
    for name in BOUNDS:
        found = times[name] = take_turns(writers(name), pairs, least=LEAST)
        figures += compared(found, name, OURS, BOUNDS[name])
        if name in PLAIN_BOUNDS:
            figures += compared(found, f"{name}, like for like", PLAIN, PLAIN_BOUNDS[name])
    return Measured(figures, {"text": speeds(times)})


def writers(name: str) -> dict[str, Callable[[], object]]:
    """Everybody who can write the set; each has been checked. A peer without a time zone is another only where there is a time."""
    timed = name in ("A", "B")
    known = ENCODERS | (NAIVE if timed else {}) | (LIKE_FOR_LIKE if name in PLAIN_BOUNDS else {})
    return {who: make(name) for who, make in known.items()}


def compared(times: Times, what: str, ours: str, bounds: Mapping[str, float]) -> list[Figure]:
    """Each peer's time by ours."""
    rows = ROWS[what[0]]
    each = interval([one / rows * 1e9 for one in times[ours]]).middle
    return [
        Figure(
            f"{what}: {peer} / ours", "×", ratio(times[peer], times[ours]),
            at_least(bounds[peer]) if peer in bounds else None, f"ours {each:,.0f} ns per row",
        )
        for peer in times
        if peer not in (OURS, PLAIN)
    ]  # fmt: skip


def speeds(times: Mapping[str, Times]) -> list[Series]:
    """Million rows per second of CPU, by set, of everybody who wrote all sets."""
    everybody = set.intersection(*(set(found) for found in times.values()))
    return [
        Series(
            who,
            list(times),
            [interval([ROWS[name] / one / 1e6 for one in found[who]]) for name, found in times.items()],
        )
        for who in next(iter(times.values()))
        if who in everybody
    ]
