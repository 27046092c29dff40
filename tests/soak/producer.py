"""A scoring process: collects with the real client until its stdin ends, then tells its counts as JSON.

    python producer.py ENDPOINT WHO PACE

Every PACE seconds a request of some rows; row n of the process holds (WHO, n) as inputs and as predictions.
"""

import json
import sys
import threading

import numpy as np
from collectord_client import Client

endpoint, who, pace = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
client = Client(model="client", version="1", endpoint=endpoint, outbox="block", linger=0.05)
inputs = client.collector("inputs", feature_names=["who", "n"])
predictions = client.collector("predictions", feature_names=["who", "n"])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
n = 0
while not stop.wait(pace):
    rows = 1 + n % 5
    numbers = np.arange(n, n + rows, dtype=float)
    features = np.column_stack((np.full(rows, who), numbers))
    predictions.collect(features, context=inputs.collect(features))
    n += rows
settled = client.flush(120)
print(json.dumps({"rows": n, "settled": settled, **client.stats()}))
client.close()
