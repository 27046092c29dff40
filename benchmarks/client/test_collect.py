"""What a scoring call pays for `collect()`, beside the least that copying can cost.

The outbox is emptied between rounds, by the sender of a real connection, so every round does the whole work; what arrived is
checked before anything is timed.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "clients" / "python")]

from collectord_client import Client  # noqa: E402

from benchmarks.client.measure import store_nothing  # noqa: E402
from tests.client.fakedaemon import FakeDaemon  # noqa: E402

CALLS = 1000
SMALL = np.arange(6.0).reshape(1, 6)
LARGE = np.random.default_rng(1).random((100, 200)).astype("f4")
FRAME = pd.DataFrame(SMALL, columns=[f"feat{n}" for n in range(1, 7)])
MIXED = pd.DataFrame({"a": [1], "b": [0.5], "c": ["text"], "d": [True]})


ROWS = 1000
WIDE = pd.DataFrame(np.random.default_rng(2).random((ROWS, 6)), columns=list("abcdef")).assign(
    i=range(ROWS),
    s=[f"text {k}" for k in range(ROWS)],
    t=pd.Timestamp("2026-01-01"),
    k=pd.Categorical(["x", "y"] * (ROWS // 2)),
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    daemon = FakeDaemon(f"unix:{tmp_path}/d.sock")
    with Client("m", "1", endpoint=daemon.endpoint, outbox_bytes=256 << 20) as made:
        made.collect(SMALL, "check")
        made.collect(LARGE, "check")
        made.collect(FRAME, "check")
        assert made.flush(10)
        got = [row.values for row in daemon.rows]
        assert got[0] == tuple(SMALL[0]) == got[-1]
        assert np.array_equal(np.array(got[1:101], "f4"), LARGE)
        # From here on nobody decodes: this is about the caller.
        daemon._batch = store_nothing  # type: ignore[method-assign]
        yield made
        daemon.stop()


def measure(benchmark: Any, client: Client | None, call: Callable[[], object], calls: int = CALLS) -> None:
    """Times `calls` calls per round; the round's rows are away before the next one begins."""

    def empty() -> None:
        assert client is None or client.flush(30)

    def several() -> None:
        for _ in range(calls):
            call()

    before = client.stats() if client is not None else {}
    benchmark.pedantic(several, setup=empty, rounds=20, warmup_rounds=2)
    benchmark.extra_info["calls"] = calls
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_call"] = round(benchmark.stats["min"] / calls * 1e9)
    if client is not None:
        assert client.flush(30)
        after = client.stats()
        assert after["acknowledged"] > before["acknowledged"]
        assert after["dropped"] == {}


@pytest.mark.benchmark(group="1 x 6 float64")
def test_floor_small(benchmark: Any) -> None:
    kept: deque[bytes] = deque(maxlen=10_000)
    measure(benchmark, None, lambda: kept.append(SMALL.tobytes()))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_bound_collector_small(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect(SMALL))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_inputs_and_predictions_small(benchmark: Any, client: Client) -> None:
    inputs, predictions = client.collector("inputs").collect, client.collector("predictions").collect
    result = np.array([[0.5]])
    measure(benchmark, client, lambda: predictions(result, context=inputs(SMALL)))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_client_collect_small(benchmark: Any, client: Client) -> None:
    names = [f"feat{n}" for n in range(1, 7)]
    measure(benchmark, client, lambda: client.collect(SMALL, "inputs", names))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_list_small(benchmark: Any, client: Client) -> None:
    collect, values = client.collector("inputs").collect, SMALL.tolist()
    measure(benchmark, client, lambda: collect(values))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_frame_small(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect(FRAME))


@pytest.mark.benchmark(group="1 x 6 float64")
def test_frame_of_mixed_types(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect(MIXED), 200)


@pytest.mark.benchmark(group="1 x 6 float64")
def test_mixed_list_small(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect([[1, "a", 0.5, None]]))


@pytest.mark.benchmark(group="1000 x 10 mixed")
def test_frame_of_mixed_types_large(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect(WIDE), 20)


@pytest.mark.benchmark(group="1000 x 10 mixed")
def test_an_id_per_row(benchmark: Any, client: Client) -> None:
    collect, values = client.collector("inputs").collect, np.ones((ROWS, 10))
    ids = [f"loan-{k}" for k in range(ROWS)]
    measure(benchmark, client, lambda: collect(values, correlation_id=ids), 20)


@pytest.mark.benchmark(group="100 x 200 float32")
def test_floor_large(benchmark: Any) -> None:
    kept: deque[bytes] = deque(maxlen=100)
    measure(benchmark, None, lambda: kept.append(LARGE.tobytes()), 100)


@pytest.mark.benchmark(group="100 x 200 float32")
def test_bound_collector_large(benchmark: Any, client: Client) -> None:
    collect = client.collector("inputs").collect
    measure(benchmark, client, lambda: collect(LARGE), 100)
