"""A scoring process under a steady load, on demand: `python -m benchmarks.client.load ENDPOINT LINGER`; without arguments, it
scores and collects nothing.

It takes lines of JSON and answers each with another: `{"do": "burst", "rate": …, "seconds": …}` scores in bursts of 10 ms and
tells the process's CPU time until all is acknowledged; `{"do": "pace", …}` scores one record at a time and tells how long each
request took; `{"do": "idle", "seconds": …}` does nothing for as long.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from collectord_client import CORE, Client

RECORD = np.arange(6.0).reshape(1, 6)
WEIGHTS = np.linspace(0.1, 0.6, 6)
BURST = 0.01


def score(record: Any) -> float:
    """A small model: some 20 microseconds of numpy."""
    found = 0.0
    for _ in range(5):
        found += float(np.tanh(record @ WEIGHTS).sum())
    return found


def burst(collect: Callable[[Any], object] | None, rate: int, seconds: float) -> dict[str, Any]:
    each = round(rate * BURST)
    count = round(seconds / BURST)
    due = time.perf_counter()
    for _ in range(count):
        if collect is None:
            for _ in range(each):
                pass
        else:
            for _ in range(each):
                collect(RECORD)
        due += BURST
        time.sleep(max(0.0, due - time.perf_counter()))
    return {"records": each * count}


def pace(collect: Callable[[Any], object] | None, rate: int, seconds: float) -> dict[str, Any]:
    clock, took = time.perf_counter_ns, []
    due, step = clock(), 1_000_000_000 // rate
    for _ in range(round(rate * seconds)):
        begun = clock()
        score(RECORD)
        if collect is not None:
            collect(RECORD)
        ended = clock()
        took.append(ended - begun)
        due += step
        if due > ended:
            time.sleep((due - ended) / 1e9)
    took.sort()
    return {"records": len(took), **{f"p{part}": took[int(len(took) * part / 100)] / 1e3 for part in (50, 99, 99.9)}}


def main(endpoint: str = "", linger: str = "1") -> None:
    client = Client("m", "1", endpoint=endpoint, linger=float(linger)) if endpoint else None
    collect = None if client is None else client.collector("inputs").collect
    print(CORE, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        begun = time.process_time()
        if told["do"] == "idle":
            time.sleep(told["seconds"])
            found = {}
        else:
            found = {"burst": burst, "pace": pace}[told["do"]](collect, told["rate"], told["seconds"])
            assert client is None or client.flush(30)
        found["cpu"] = time.process_time() - begun
        if client is not None:
            found["stats"] = client.stats()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
