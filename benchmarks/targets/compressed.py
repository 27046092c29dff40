"""Target 2: text and compression, the same compressor for everybody. Ours tells it what it knows of the rows."""

from __future__ import annotations

from benchmarks.encode.peers import framed
from benchmarks.pairs import ratio, take_turns
from benchmarks.targets.figure import Figure, Measured, at_most
from benchmarks.targets.text import LEAST, OURS, PLAIN, compared, speeds, writers

BOUNDS: dict[str, dict[str, float]] = {
    "A": {"pyarrow": 4.0, "polars": 2.3},
    "B": {"pyarrow": 4.0, "polars": 2.5},
    "C": {"pyarrow": 2.8, "polars": 1.8},
    "D": {"pyarrow": 1.15, "polars": 1.05},
}
GZIP = "ours, gzip"
SEARCHED = {"zstd": "ours, zstd that searches", "gzip": "ours, ISA-L"}
"""Without what we know of the rows."""


def measure(pairs: int) -> Measured:
    """CPU of the whole process per frame."""
    figures, times = [], {}
    for name, bounds in BOUNDS.items():
        known = writers(name)
        known.pop(PLAIN, None)
        contestants = {who: framed(who, name) for who in known}
        contestants[GZIP] = framed(OURS, name, "gzip")
        contestants |= {who: framed(OURS, name, codec, matches=False) for codec, who in SEARCHED.items()}
        found = take_turns(contestants, pairs, least=LEAST)
        gzip, zstd, isal = (found.pop(who) for who in (GZIP, SEARCHED["zstd"], SEARCHED["gzip"]))
        times[name] = found
        figures += compared(found, name, OURS, bounds)
        figures.append(Figure(f"{name}: ours with gzip / with zstd", "×", ratio(gzip, found[OURS]), at_most(1.5)))
        figures.append(Figure(f"{name}: ours with ISA-L / with zstd that searches", "×", ratio(isal, zstd)))
    return Measured(figures, {"compressed": speeds(times)})
