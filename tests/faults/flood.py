"""A scoring process at full speed: collects as fast as it can until its stdin ends, drops what does not fit, tells its counts.

    python flood.py ENDPOINT WHO

Its rows are (WHO, n, and four numbers made of n), n from 0 without gaps; what is dropped leaves a gap in what lands.
"""

import json
import sys
import threading

import numpy as np
from collectord_client import Client

ROWS = 1000

endpoint, who = sys.argv[1], float(sys.argv[2])
client = Client(model="m", endpoint=endpoint, outbox_bytes=8 << 20)
inputs = client.collector("inputs", feature_names=["who", "n", "a", "b", "c", "d"])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
table = np.empty((ROWS, 6))
table[:, 0] = who
n = 0
while not stop.is_set():
    numbers = np.arange(n, n + ROWS, dtype=float)
    table[:, 1] = numbers
    table[:, 2:] = numbers[:, None] / (7.0, 11.0, 13.0, 17.0)
    inputs.collect(table)
    n += ROWS
settled = client.flush(120)
# What was dropped is told within a second of its change, and the connection has to live that long.
client.close()
print(json.dumps({"rows": n, "settled": settled, **client.stats()}))
