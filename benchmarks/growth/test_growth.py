"""What a record costs beside many others, in few rounds: `pytest benchmarks/growth --benchmark-enable`. The targets: `make bench-peers`."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

from benchmarks.growth import index, load

ROUNDS = 3


@pytest.mark.parametrize("grows", [load.clients, load.streams, load.spool])
def test_growth(benchmark, grows: Callable[[int], load.Samples]) -> None:
    found = benchmark.pedantic(grows, args=(ROUNDS,), rounds=1)
    assert set(found) == {"one", "many"}
    for name, samples in found.items():
        benchmark.extra_info[f"{name}_cpu_ns_per_record"] = round(statistics.median(samples) * 1e9)


def test_batches(benchmark) -> None:
    for rows, samples in benchmark.pedantic(load.batch_rows, args=(ROUNDS,), rounds=1).items():
        benchmark.extra_info[f"{rows}_rows_cpu_ns_per_record"] = round(statistics.median(samples) * 1e9)


def test_index(benchmark) -> None:
    times, size = benchmark.pedantic(index.writing, args=(ROUNDS,), rounds=1)
    benchmark.extra_info["filter_bytes_per_row"] = round(size / index.ROWS, 2)
    for name, samples in times.items():
        benchmark.extra_info[f"{name}_ns_per_row"] = round(statistics.median(samples) * 1e9)


def test_where(benchmark) -> None:
    for name, samples in benchmark.pedantic(index.asking, args=(ROUNDS,), rounds=1).items():
        benchmark.extra_info[f"{name}_ms_per_million_rows"] = round(statistics.median(samples) * 1e3, 2)
