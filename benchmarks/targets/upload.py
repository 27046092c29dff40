"""Beside the targets: what an append costs, by size and store."""

from __future__ import annotations

from benchmarks.pairs import interval
from benchmarks.targets.figure import Figure, Measured, Series
from benchmarks.upload.appends import appends


def measure(pairs: int) -> Measured:
    costs = appends(pairs)
    figures, lines = [], []
    for store, by_size in costs.items():
        per_megabyte = []
        for size, several in by_size.items():
            per_megabyte.append(interval([one.cpu * 1e9 / size for one in several]))
            what = f"{store}, {size >> 10} KiB"
            figures.append(Figure(f"{what}: CPU per MB", "ms", per_megabyte[-1]))
            figures.append(
                Figure(f"{what}: appends/s, one after the other", "", interval([1 / one.wall for one in several]))
            )
        lines.append(Series(store, [size / 1024 for size in by_size], per_megabyte))
    return Measured(figures, {"upload": lines})
