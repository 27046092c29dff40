"""`collect()` by both cores, compiled and Python, against the least that keeping a copy costs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.client.__main__ import ROUNDS, core_table


@pytest.mark.benchmark(group="both cores")
def test_both_cores(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = benchmark.pedantic(lambda: list(core_table(ROUNDS)), rounds=1)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
