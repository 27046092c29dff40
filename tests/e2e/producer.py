"""A scoring process: collects inputs and predictions with the real client until its stdin ends, then tells its counts.

    python producer.py ENDPOINT WHO

Row n of the process holds (WHO, n, n / 7) as inputs and (WHO, n, n / 7 + WHO) as predictions.
"""

import json
import sys
import threading

import numpy as np
from collectord_client import Client

endpoint, who = sys.argv[1], float(sys.argv[2])
client = Client(
    model="m",
    version="1",
    webservice="service",
    workspace="sub/group/ws",
    endpoint=endpoint,
    outbox="block",
    linger=0.02,
)
inputs = client.collector("inputs", feature_names=["who", "n", "x"])
predictions = client.collector("predictions", feature_names=["who", "n", "y"])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
n = 0
while not stop.wait(0.004):
    rows = 1 + n % 7
    numbers = np.arange(n, n + rows, dtype=float)
    context = inputs.collect(np.column_stack((np.full(rows, who), numbers, numbers / 7)))
    predictions.collect(np.column_stack((np.full(rows, who), numbers, numbers / 7 + who)), context=context)
    n += rows
settled = client.flush(90)
print(json.dumps({"rows": n, "settled": settled, **client.stats()}))
client.close()
