"""Rounds of one core, on demand: `python -m benchmarks.client.rounds ENDPOINT` beside a process for the other core.

It first collects what `CHECK` says, so that whoever reads the daemon's rows can check it. Then it takes lines with the name of
a case and answers each with a line of JSON: CPU nanoseconds of this thread per call, of groups of the floor and groups of
the case, which take turns. What was collected is sent between rounds. Flask is loaded with the first case that needs it: from
then on it is asked for its request in every call.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pandas as pd
from collectord_client import CORE, Client, Request
from collectord_client.azureml import ModelDataCollector, collector

GROUPS = 400
"""So that the slowest hundredth is more than one group."""
LARGE_GROUPS = 8
"""Of 10 calls with 80 KB each: what the pool of buffers holds. Beyond it memory is fresh, as in any burst."""
SMALL = np.arange(6.0).reshape(1, 6)
LARGE = np.random.default_rng(1).random((100, 200)).astype("f4")
FRAME = pd.DataFrame(SMALL, columns=[f"feat{n}" for n in range(1, 7)])
TABLE, SAID = np.random.default_rng(3).random((1000, 10)), np.random.default_rng(4).random(1000)
CHECK = [SMALL, SMALL, FRAME, FRAME, LARGE, LARGE]
"""Each twice: the second goes the short way."""

Case = tuple[Callable[[], object], Callable[[int], object], int, int]
"""The floor, the case, how many calls each has in a group."""


def cases(client: Client, large: list[bytes]) -> dict[str, Case]:
    kept: deque[bytes] = deque(maxlen=10_000)

    def floor(data: Any, into: Any, calls: int) -> Callable[[], object]:
        def run() -> None:
            append = into.append
            for _ in range(calls):
                append(data.tobytes())

        return run

    def group(call: Callable[..., object], data: Any) -> Callable[[int], object]:
        def run(calls: int) -> None:
            for _ in range(calls):
                call(data)

        return run

    def facade(calls: int) -> None:
        for _ in range(calls):
            client.collect(SMALL, "inputs")

    small = floor(SMALL, kept, 100)
    by_value = ModelDataCollector("m", "inputs", [f"feat{n}" for n in range(1, 7)]).collect
    inputs = ModelDataCollector("m", "inputs", [f"feat{n}" for n in range(1, 11)]).collect
    predictions = ModelDataCollector("m", "predictions", ["p"]).collect

    def pair(calls: int) -> None:
        for _ in range(calls):
            inputs(TABLE)
            predictions(SAID)

    return {
        "labels": (small, group(client.collector("labels").collect, SMALL), 100, 100),
        "inputs": (small, group(client.collector("inputs").collect, SMALL), 100, 100),
        "inputs in a request": (small, group(client.collector("inputs").collect, SMALL), 100, 100),
        "client.collect": (small, facade, 100, 100),
        "v1 dictionary": (small, group(by_value, SMALL), 100, 100),
        "v1 dictionary in a request": (small, group(by_value, SMALL), 100, 100),
        "frame": (small, group(client.collector("signals").collect, FRAME), 100, 100),
        "100 x 200 float32": (floor(LARGE, large, 10), group(client.collector("labels").collect, LARGE), 10, 10),
        "inputs and predictions": (small, pair, 100, 10),
        "the same in Flask": (small, pair, 100, 10),
    }


def main(endpoint: str) -> None:
    client = Client("m", "1", endpoint=endpoint, outbox_bytes=256 << 20)
    collector._client = lambda *_: client  # type: ignore[assignment]
    bound = client.collector("check")
    for data in CHECK:
        bound.collect(data)
        assert client.flush(10)
    large: list[bytes] = []
    """What the floor keeps of large arrays until the round is over: so its memory is fresh."""
    known = cases(client, large)
    print(CORE, flush=True)
    clock = time.thread_time_ns
    for line in sys.stdin:
        floor, case, unit, calls = known[line.strip()]
        times: tuple[list[float], list[float]] = ([], [])
        with ExitStack() as inside:
            if "request" in line:
                inside.enter_context(Request("0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1"))
            if "Flask" in line:
                import flask

                headers = {"x-request-id": "0e3c6c4e-7b3f-4b7a-9c3c-0a5ad8a2f1c1"}
                inside.enter_context(flask.Flask("scoring").test_request_context(headers=headers))
            for _ in range(3):
                # The thread that sends, the first page and its buffer are there then.
                case(calls)
            for _ in range(GROUPS if calls == 100 else LARGE_GROUPS):
                begun = clock()
                floor()
                between = clock()
                case(calls)
                ended = clock()
                times[0].append((between - begun) / unit)
                times[1].append((ended - between) / calls)
        large.clear()
        assert client.flush(60)
        stats = client.stats()
        assert stats["acknowledged"] == stats["collected"] and not stats["dropped"] and not stats["notes"], stats
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
