"""Appends per second and CPU per megabyte, to a directory and to Azurite: `pytest benchmarks/upload --benchmark-enable`."""

from __future__ import annotations

import statistics

from benchmarks.upload.appends import appends


def test_appends(benchmark) -> None:
    costs = benchmark.pedantic(appends, args=(5,), rounds=1)
    assert costs["directory"]
    for store, by_size in costs.items():
        for size, several in by_size.items():
            cpu, wall = (statistics.median(getattr(one, what) for one in several) for what in ("cpu", "wall"))
            benchmark.extra_info[f"{store} {size >> 10} KiB"] = (
                f"{1 / wall:.0f} appends/s, {cpu * 1e3:.2f} ms CPU, {cpu * 1e9 / size:.2f} ms CPU per MB"
            )
