"""What the client costs its process in all, collecting and sending, and what the features cost a call."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.client.__main__ import features_table, sending_table


@pytest.mark.benchmark(group="in all")
def test_sending(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = benchmark.pedantic(lambda: list(sending_table()), rounds=1)
    with capsys.disabled():
        print("\n" + "\n".join(lines))


@pytest.mark.benchmark(group="features")
def test_features(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = benchmark.pedantic(lambda: list(features_table()), rounds=1)
    with capsys.disabled():
        print("\n" + "\n".join(lines))
