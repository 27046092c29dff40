"""Collects a backlog over many models with the real client, waits until it is acknowledged, and ends.

    python wide.py ENDPOINT WHO MODELS CALLS AGO

All were scored AGO days ago. Model k's rows are (WHO + k, n, n / 7, and numbers of chance that hardly compress).
"""

import sys
import time

import numpy as np
from collectord_client import Client

ROWS, COLUMNS = 500, 40

endpoint = sys.argv[1]
who, models, calls, ago = map(int, sys.argv[2:])
names = ["who", "n", "x", *(f"f{number}" for number in range(3, COLUMNS))]
table = np.random.default_rng(who).random((ROWS, COLUMNS))
clients = [
    Client(model=f"wide{model}", version="1", endpoint=endpoint, outbox="block", linger=0.05) for model in range(models)
]
collectors = [client.collector("inputs", feature_names=names) for client in clients]
for call in range(calls):
    for model, collector in enumerate(collectors):
        numbers = np.arange(call * ROWS, (call + 1) * ROWS, dtype=float)
        table[:, 0], table[:, 1], table[:, 2] = who + model, numbers, numbers / 7
        collector.collect(table, timestamp=time.time_ns() - ago * 86_400 * 10**9)
for client in clients:
    assert client.flush(60), client.stats()
    assert client.stats()["acknowledged"] == calls * ROWS, client.stats()
    client.close()
