"""CSV text beside that of its peers on the same rows in the same run: `peers.py` says which. Run with `--benchmark-enable`."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.encode.peers import ENCODERS, LIKE_FOR_LIKE, NAIVE, ROWS

EVERY = ENCODERS | LIKE_FOR_LIKE | NAIVE


@pytest.mark.parametrize("encoder", EVERY)
@pytest.mark.parametrize("name", ROWS)
def test_text(benchmark: Any, name: str, encoder: str) -> None:
    """Rows to CSV text."""
    benchmark.group = f"text {name}"
    benchmark.extra_info["rows"] = ROWS[name]
    text = benchmark(EVERY[encoder](name))
    assert bytes(text).count(b"\n") >= ROWS[name]
