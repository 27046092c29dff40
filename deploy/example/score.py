"""A model that adds up its features, as a pod has it: scores random rows forever and collects what it saw and said."""

from __future__ import annotations

import random
import signal
import sys
import time

from collectord_client import Client

FEATURES = ["age", "income", "visits"]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    client = Client(model="example", version="1", webservice="collectord-example")
    inputs = client.collector("inputs", feature_names=FEATURES)
    predictions = client.collector("predictions", feature_names=["score"])
    scored = 0
    try:
        while True:
            row = [random.random() for _ in FEATURES]
            context = inputs.collect([row])
            predictions.collect([[sum(row)]], context=context)
            scored += 1
            if scored % 60 == 0:
                stats = client.stats()
                print(
                    f"scored {scored}, acknowledged {stats['acknowledged']} rows, waiting {stats['waiting']}, "
                    f"dropped {stats['dropped']}"
                )
            time.sleep(seconds)
    finally:
        client.close()
        print(f"scored {scored}: {client.stats()}")


if __name__ == "__main__":
    main()
