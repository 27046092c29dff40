"""From a daemon that is back to the first acknowledgement of a client that waited for it."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client

from tests.client.fakedaemon import FakeDaemon


@pytest.mark.benchmark(group="reconnect")
def test_reconnect_after_an_outage(benchmark: Any, tmp_path: Path) -> None:
    """The daemon is away for up to two seconds and back; the clock runs from the listening socket to the acknowledgement."""
    daemon = FakeDaemon(f"unix:{tmp_path}/d.sock")
    chance = random.Random(1)
    rounds = 20
    with Client("m", "1", endpoint=daemon.endpoint, linger=0.01) as client:
        inputs = client.collector("inputs")
        inputs.collect(np.zeros((1, 6)))
        assert client.flush(10)

        def away() -> None:
            daemon.stop()
            inputs.collect(np.zeros((1, 6)))
            threading.Event().wait(chance.uniform(0, 2))
            assert not client.flush(0)
            daemon.start()

        def back() -> None:
            assert client.flush(30)

        benchmark.pedantic(back, setup=away, rounds=rounds, warmup_rounds=0)
        stats = client.stats()
    daemon.stop()
    assert stats["reconnects"] >= rounds
    assert stats["acknowledged"] == stats["collected"] == len(daemon.rows)
    benchmark.extra_info["longest_seconds"] = max(benchmark.stats.stats.data)
